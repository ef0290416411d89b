"""What the stages for a first GPU do, on a CPU and on a rehearsed GPU; faults are planted."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu_first import (
    captures,
    environment,
    limits,
    profile_step,
    pytest_runs,
    steps,
    timing,
)
from benchmarks.gpu_first import random_model as models
from benchmarks.gpu_first.findings import Findings, Setting
from mdp_lite.checkpoint.assign import BuildOnMeta
from mdp_lite.editor import Editor
from mdp_lite.engine import capture
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import CLIPConfig
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from support.checkpoints import UNET_CONFIG, VAE_CONFIG
from support.places import ROOT
from support.rehearsing import rehearsal

CPU, GPU = (Setting(torch.device(name), True) for name in ("cpu", "cuda"))
WORK = {
    "environment": environment.describe_environment, "limits": limits.measure_limits,
    "failed-capture": captures.fail_a_capture, "jobs": captures.let_jobs_arrive,
    "steps": steps.time_float16, "settings": steps.try_settings_float32,
    "profile": profile_step.profile_step,
}  # fmt: skip


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    return Findings(tmp_path / "findings.json")


def failed(findings: Findings) -> list[str]:
    return [one["what"] for one in findings.checks if not one["ok"]]


QUICK = [name for name in WORK if name not in ("steps", "settings")]


@pytest.mark.representative("environment", "limits", "failed-capture", "profile")
@pytest.mark.parametrize("name", [*QUICK, pytest.param("settings", marks=pytest.mark.slow)])
def test_a_stage_runs_on_a_cpu(name: str, findings: Findings) -> None:
    WORK[name](CPU, findings)
    assert failed(findings) == [] and findings.skipped is None
    assert findings.figures or findings.checks


@pytest.mark.slow
def test_a_step_has_samples_a_median_and_an_interval(findings: Findings) -> None:
    WORK["steps"](CPU, findings)
    assert failed(findings) == []
    for what in ("a step", "a UNet call", "an edit"):
        times = findings.figures[f"eager: ms {what}"]
        assert len(times["samples"]) == timing.FEW
        assert 0 < min(times["samples"]) <= times["low"] <= times["median"] <= times["high"]
    assert findings.figures["model"]["FLOPs of a step"] > 0


class HostEvent:
    """torch.cuda.Event by the host's clock: a rehearsed GPU has none."""

    def __init__(self, enable_timing: bool) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at += 1

    def elapsed_time(self, other: "HostEvent") -> float:
        return self.at + other.at


@contextmanager
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(torch.cuda, "Event", HostEvent)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
    with rehearsal() as gpu:
        yield gpu


@pytest.mark.slow
def test_a_failed_capture_on_a_rehearsed_gpu_leaves_all_as_before(findings: Findings) -> None:
    with rehearsal() as gpu:
        captures.fail_a_capture(GPU, findings)
        assert any("in a capture" in what for what, _ in gpu.violations)
    assert failed(findings) == []


@contextmanager
def leave_the_stream(pool: Any, stream: Any) -> Iterator[Any]:
    """A capture that gives the stream back only if it ends well, and hides the cause."""
    graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
    torch.cuda.set_stream(stream)
    with torch.cuda.graph(graph, pool, stream):
        yield graph
    torch.cuda.set_stream(before)


@pytest.mark.slow
def test_the_stage_sees_a_stream_that_is_not_given_back(
    findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "_capture", leave_the_stream)
    monkeypatch.setattr(capture, "_find_cause", lambda error: error)
    with rehearsal():
        captures.fail_a_capture(GPU, findings)
    assert {"the log says why", "the stream is given back"} <= set(failed(findings))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["steps", "settings", "jobs"])
def test_a_stage_runs_on_a_rehearsed_gpu(
    name: str, findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rehearsed(monkeypatch):
        WORK[name](GPU, findings)
    assert failed(findings) == []
    if name == "steps":
        assert findings.figures["memory, largest first"]["graphs"] > 0
        assert "graph is eager" in [one["what"] for one in findings.checks]


def spoil(edit: Callable[..., Any], by: Callable[[int], bool]) -> Callable[..., Any]:
    """The edits of some jobs are wrong."""
    return lambda editor, batcher, k, sizes: edit(editor, batcher, k, sizes) + by(k)


def test_the_stage_sees_a_job_with_a_wrong_picture_and_one_that_fails(
    findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = spoil(captures.edit_as_client, lambda k: k == 1)

    def run(editor: Editor, batcher: Any, k: int, sizes: Any) -> Any:
        if k == 2:
            logging.getLogger("mdp_lite").warning("no graph for a step, it runs eagerly")
            raise ValueError("lost")
        return wrong(editor, batcher, k, sizes)

    monkeypatch.setattr(captures, "edit_as_client", run)
    captures.let_jobs_arrive(CPU, findings)
    assert failed(findings) == [
        "no capture is lost", "no job raises", "every job ends", "every job has its own picture",
    ]  # fmt: skip


def test_the_random_model_has_the_published_number_of_parameters() -> None:
    with BuildOnMeta():
        parts = UNet(models.UNET), VAE(models.VAE_CONFIG), CLIPTextEncoder(models.TEXT)
    counts = [sum(one.numel() for one in part.parameters()) for part in parts]
    assert counts == [859_520_964, 83_653_863, 123_060_480]


def test_the_random_model_edits_and_is_read_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the narrow networks of other tests in place of SD 1.5's."""
    monkeypatch.setattr(models, "UNET", replace(UNET_CONFIG, cross_attention_dim=24))
    monkeypatch.setattr(models, "VAE_CONFIG", VAE_CONFIG)
    monkeypatch.setattr(models, "TEXT", CLIPConfig(700, 24, 48, 1, 2))
    own = models.build_models(Setting(CPU.device, False), torch.float32)
    assert own.c_shape == (77, 24) and own.unet.config.cross_attention_dim == 24
    editor = Editor(own, CPU.device)
    edit = editor.edit(editor.generate("a tent", 3, 3), "a boat")
    assert edit.latent.isfinite().all() and edit.latent.abs().max() < 100
    bundled = own.tokenizer.each[0].folders[0]
    models.write_folder(own, bundled, tmp_path / "model")
    again = Editor.from_pretrained(tmp_path / "model", "cpu", "float32")
    assert again.models.c_shape == own.c_shape
    want, got = (one.generate("a tent", 3, 2, 7.5).path.x[-1] for one in (editor, again))
    assert torch.equal(want, got)


def test_random_weights_keep_activations_near_one() -> None:
    layer = torch.nn.Linear(400, 300)
    drawn = dict(models.draw_weights(layer, torch.device("cpu")))
    layer.load_state_dict(drawn)
    out = layer(torch.randn(50, 400)).detach()
    assert 0.8 < float(out.std()) < 1.2 and drawn["bias"].abs().max() < 1


def test_a_written_model_is_the_same_model(tmp_path: Path) -> None:
    own = models.build_models(CPU, torch.float32)
    bundled = own.tokenizer.each[0].folders[0]
    size = models.write_folder(own, bundled, tmp_path / "model")
    assert size > sum(one.nbytes for one in own.unet.parameters())
    again = Editor.from_pretrained(tmp_path / "model", "cpu", "float32")
    editors = again, Editor(own, CPU.device)
    one, other = (editor.generate("a tent", 3, 2, 4.0).path.x[-1] for editor in editors)
    assert torch.equal(one, other)


def test_waits_are_counted_as_torch_warns_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    def set_mode(mode: str) -> None:
        if mode == "warn":
            warnings.warn("Synchronization debug mode does not detect all", stacklevel=1)

    def run() -> None:
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", set_mode)
    assert timing.count_waits(run, torch.device("cuda")) == 3


def test_counts_of_a_test_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites><testsuite><testcase name='a'/><testcase name='b'><skipped/></testcase>"
        "<testcase name='c'><failure message='far off&#10;more'/></testcase>"
        "<testcase name='d'><error>no device</error></testcase></testsuite></testsuites>"
    )
    assert pytest_runs.read_counts(report) == {
        "passed": 1, "skipped": 1, "failed": {"c": "far off", "d": "no device"},
    }  # fmt: skip


def test_without_a_compiler_stages_say_so(
    findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    pytest_runs.run_compile_tests(CPU, findings)
    assert findings.skipped and "C compiler" in findings.skipped


def test_the_tests_that_stages_run_are_there() -> None:
    assert all((ROOT / one).is_file() for one in (*pytest_runs.GPU_TESTS, pytest_runs.TRITON_CASES))
