"""`mdp-lite doctor` on a GPU, which is rehearsed: devices, memory, and graphs that fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mdp_lite.editor import Editor
from mdp_lite.engine.fusing import Fused
from mdp_lite.engine.gpu import GpuSettings
from mdp_lite.eval.cases import make_cases
from mdp_lite.eval.doctor import model, numbers, speed, system
from mdp_lite.eval.doctor.command import doctor
from mdp_lite.eval.doctor.model import LoadedModel
from support.doctor import by_name, make_loaded, quiet_console, read_options
from support.rehearsal import Rehearsal, RehearsedTensor
from support.rehearsed_graphs import Tape
from support.rehearsing import rehearsal

Patch = pytest.MonkeyPatch


@pytest.fixture
def gpu(monkeypatch: Patch) -> Iterator[Rehearsal]:
    """Two rehearsed GPUs, for whose kind torch has code; deep copies of a model work there."""
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80", "sm_90"])
    # A rehearsed tensor has no deep copy, and it can't change its dtype where it is.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    copy = lambda one, memo: torch.nn.Parameter(one.detach().clone(), requires_grad=False)  # noqa: E731
    monkeypatch.setattr(RehearsedTensor, "__deepcopy__", copy, raising=False)
    monkeypatch.setattr(speed, "BUDGET", 0.1)
    monkeypatch.setattr(speed, "matmul_rate", lambda dtype, device: 1e10)
    monkeypatch.setattr(speed, "copy_rate", lambda device: 1e10)
    monkeypatch.setattr(speed, "OVERHEAD", 100)  # a rehearsal takes its time
    with rehearsal(devices=2) as one:
        yield one
    torch.__future__.set_overwrite_module_params_on_conversion(False)


@pytest.fixture
def loaded(gpu: Rehearsal, checkpoint: Path, monkeypatch: Patch) -> LoadedModel:
    """The random model, of which a check makes few steps."""
    case = make_cases("color", 1, short=True)[0]
    for room in (numbers, model):
        monkeypatch.setattr(room, "make_case", lambda loaded: (case, 3))
    return make_loaded(Editor.from_pretrained(checkpoint, "cuda", "float32"))


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--device", "cuda:1", "--dtype", "float16")])
def test_every_check_passes(words: tuple[str, ...], gpu: Rehearsal, checkpoint: Path) -> None:
    report = doctor(read_options(str(checkpoint), *words), quiet_console())
    found = by_name(report.data)
    states = {name: one["state"] for name, one in found.items() if one["state"] != "pass"}
    assert states == {} and not report.failed, [found[name] for name in states]
    assert (
        found["capture"]["figures"]["graphs"] > 0 and found["model"]["figures"]["engine"] == "graph"
    )
    assert [one["name"] for one in found["devices"]["figures"]["gpus"]] == ["a rehearsed GPU"] * 2
    assert set(found["precision"]["figures"]["distances"]) == {"float16", "bfloat16"}
    assert found["memory"]["figures"]["measured_bytes"] < 10**8  # torch's count, not the process's


def test_graphs_are_checked_with_the_settings_of_the_run(
    loaded: LoadedModel, monkeypatch: Patch
) -> None:
    seen, settings = list[object](), GpuSettings(fused=Fused(geglu=False))
    loaded.editor.runner.gpu = settings

    def build(models: object, device: object, *, engine: str, gpu: object = None) -> Editor:
        seen.append(gpu)
        return loaded.editor

    monkeypatch.setattr(numbers, "Editor", build)
    numbers.check_capture(loaded)
    assert seen == [settings] * 2


@pytest.mark.slow
def test_a_capture_that_fails_is_named(loaded: LoadedModel, gpu: Rehearsal) -> None:
    def fail(name: str, tape: Tape | None) -> None:
        if tape and name == "silu":
            tape.broken = name
            raise RuntimeError("CUDA error: operation not permitted")

    assert numbers.check_capture(loaded).state == "pass"
    gpu.on_launch = fail
    one = numbers.check_capture(loaded)
    assert (one.state, one.figures["graphs"]) == ("fail", 0)
    assert "it runs eagerly" in one.text and "--engine eager" in one.advice
    assert one.figures["distances"]["float32"] <= numbers.BOUNDS[torch.float32]


def test_replays_that_compute_nothing(loaded: LoadedModel, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Tape, "replay", lambda tape: None)
    one = numbers.check_capture(loaded)
    assert one.state == "fail" and one.figures["graphs"] > 0 and one.figures["warnings"] == []


def test_a_gpu_that_torch_has_no_code_for(gpu: Rehearsal, monkeypatch: Patch) -> None:
    assert system.check_devices(read_options()).state == "pass"
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80"])
    one = system.check_devices(read_options())
    assert one.state == "fail" and "code for a rehearsed GPU" in one.advice


def test_more_memory_than_planned(loaded: LoadedModel, gpu: Rehearsal) -> None:
    assert model.check_memory(loaded).state == "pass"
    extra = torch.zeros(100_000_000, dtype=torch.uint8, device="cuda")
    one = model.check_memory(loaded)
    assert one.state == "fail" and len(extra) and one.figures["share"] > 2
