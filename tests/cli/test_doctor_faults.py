"""Each check of `mdp-lite doctor` fails if what it checks is broken, and passes if it is not."""

import errno
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.engine import engine as engines
from mdp_lite.eval import resources
from mdp_lite.eval.doctor import installed, model, numbers, places, speed, system
from mdp_lite.eval.doctor.check import Check, run_check
from mdp_lite.eval.doctor.command import MODEL_CHECKS
from mdp_lite.eval.doctor.model import LoadedModel
from mdp_lite.method.schedule import zero_weights
from mdp_lite.models.transformer import SDPA
from mdp_lite_weights.hub import HubSetup
from support.doctor import make_loaded, read_options

Patch = pytest.MonkeyPatch
COMPUTE = {"engine", "precision", "reconstruction", "speed"}  # checks that every CPU makes


@pytest.fixture
def loaded(editor: Editor) -> LoadedModel:
    return make_loaded(editor)


def assert_fails(one: Check, *words: str) -> None:
    """It fails with these words and with advice."""
    assert one.state == "fail" and one.advice, one
    assert [word for word in words if word not in one.text + one.advice] == []


# --- the machine -------------------------------------------------------------------------------


def test_more_threads_than_cores(monkeypatch: Patch, tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr(resources, "CORE_LIMIT", limit)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    limit.write_text("150000 100000\n")  # one and a half cores
    one = system.check_environment(read_options())
    cores = one.figures["cores"]
    assert cores <= 2
    assert_fails(one, "8 threads", f"OMP_NUM_THREADS={cores}")
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    assert system.check_environment(read_options()).state == "pass"


@pytest.mark.parametrize(("text", "most"), [("50000 100000", 1), ("max 100000", None), ("", None)])
def test_cores_are_those_of_the_container(
    text: str, most: int | None, monkeypatch: Patch, tmp_path: Path
) -> None:
    monkeypatch.setattr(resources, "CORE_LIMIT", tmp_path / "cpu.max")
    free = resources.count_cores()
    (tmp_path / "cpu.max").write_text(text)
    assert resources.count_cores() == (free if most is None else most)


def test_memory_is_that_of_the_container(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(resources, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(resources, "CONTAINER", tmp_path)
    assert resources.read_memory() == (None, None)
    (tmp_path / "meminfo").write_text("MemTotal:  4000 kB\nMemFree: 1 kB\nMemAvailable:  3000 kB\n")
    assert resources.read_memory() == (4_096_000, 3_072_000)
    (tmp_path / "memory.stat").write_text("file 9\nanon 600\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert resources.read_memory() == (1000, 400)
    (tmp_path / "memory.max").write_text("max\n")
    assert resources.read_memory() == (4_096_000, 3_072_000)


def test_a_package_that_is_missing_or_old(monkeypatch: Patch) -> None:
    lines = ["torch>=2.11", "einops>=0.8.2", 'fastapi>=0.165; extra == "serve"']
    versions = {"torch": "2.11.0+cpu", "einops": "0.8.10", "fastapi": "0.165"}
    monkeypatch.setattr(metadata, "requires", lambda name: lines)
    monkeypatch.setattr(installed, "find_version", versions.get)
    for check in (installed.check_versions, installed.check_extras):
        assert check(read_options()).state == "pass"
    versions |= {"einops": "0.8.1", "fastapi": "0.9"}
    words = ("einops 0.8.2 or later is needed, got 0.8.1", "pip install --upgrade einops")
    assert_fails(installed.check_versions(read_options()), *words)
    words = ("fastapi 0.165 or later is needed, got 0.9", "pip install --upgrade 'mdp-lite[serve]'")
    assert_fails(installed.check_extras(read_options()), *words)
    del versions["torch"], versions["fastapi"]
    assert_fails(installed.check_versions(read_options()), "torch missing", "got none")
    extras = installed.check_extras(read_options())
    assert extras.state == "pass" and "serve" in extras.figures["absent"]


def test_without_metadata_the_versions_are_said(monkeypatch: Patch) -> None:
    monkeypatch.setattr(installed, "NAME", "mdp-lite-that-is-not-installed")
    one = installed.check_versions(read_options())
    assert one.state == "pass" and set(one.figures["packages"]) >= set(installed.CORE)


@pytest.mark.parametrize(
    ("architectures", "runs"),
    [
        (["sm_80", "sm_90"], True), (["sm_86"], True), (["sm_80", "compute_80"], True),
        (["sm_90"], False), (["compute_90"], False), (["sm_75", "compute_75"], True),
        (["sm_75"], False), (["sm_120a"], False), ([], True),
    ],
)  # fmt: skip
def test_which_code_runs_on_a_gpu_of_8_9(architectures: list[str], runs: bool) -> None:
    assert system.has_code(8, 9, architectures) is runs


def test_a_driver_that_torch_does_not_use(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(system, "list_gpus", list)
    monkeypatch.setattr(system.shutil, "which", lambda name: None)
    (tmp_path / "version").write_text("NVRM version: 580.1\nGCC\n")
    assert system.check_devices(read_options()).state == "pass"
    monkeypatch.setattr(system, "DRIVER", tmp_path / "version")
    assert_fails(system.check_devices(read_options()), "NVIDIA driver", "torch for CUDA")
    assert system.check_devices(read_options("--device", "cpu")).state == "pass"


def test_advice_for_a_device_that_is_not_here() -> None:
    assert_fails(system.check_devices(read_options("--device", "mps")), "macOS", "--device cpu")
    assert "CUDA" not in system.check_devices(read_options("--device", "mps")).advice
    assert_fails(system.check_devices(read_options("--device", "cuda:7")), "CUDA")


def test_a_gpu_that_torch_has_no_code_for(monkeypatch: Patch) -> None:
    one = {"name": "New", "capability": "12.0", "memory_bytes": 9, "free_memory_bytes": 8}
    monkeypatch.setattr(system, "list_gpus", lambda: [one | {"has_code": False}])
    assert_fails(system.check_devices(read_options("--device", "cpu")), "code for New")


def test_a_cache_that_can_not_be_written_and_a_full_disk(
    monkeypatch: Patch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert_fails(places.check_disk(read_options("--cache", f"{tmp_path}/file/x")), "cache of")

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    good = read_options("--cache", str(tmp_path / "new"))
    assert places.check_disk(good).state == "pass" and not (tmp_path / "new").exists()
    with monkeypatch.context() as patch:
        patch.setattr(places.atomic, "check", refuse)
        assert_fails(places.check_disk(good), "Read-only file system", "cache of sources")
    monkeypatch.setattr(places, "MIN_FREE", 10**18)
    assert_fails(places.check_disk(good), "free 1e+06 TB for: working folder")


def test_a_hub_cache_that_can_not_be_written(monkeypatch: Patch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    setup = HubSetup(tmp_path / "file" / "hub", "https://hub", False, False)
    monkeypatch.setattr(places, "read_setup", lambda: setup)
    assert_fails(places.check_hub(read_options()), "HF_HOME", "no token", "not asked")
    assert places.check_hub(read_options("--offline")).state == "pass"
    setup = replace(setup, cache=tmp_path)
    (tmp_path / "models--a--b").mkdir()
    one = places.check_hub(read_options())
    assert one.state == "pass" and one.figures["models"] == 1 and not one.figures["has_token"]


# --- kernels and numbers -----------------------------------------------------------------------


def test_a_wrong_attention(loaded: LoadedModel, monkeypatch: Patch) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return 1.01 * SDPA(q, k, v)

    options = read_options("--device", "cpu")
    assert numbers.check_engine(loaded).state == "pass"
    monkeypatch.setattr(engines, "choose_attention", lambda *_: attend)
    monkeypatch.setattr(numbers, "choose_attention", lambda device: attend)
    assert_fails(numbers.check_kernel(options), "float32 1.0e-02 (bound 1e-04)")
    assert_fails(numbers.check_engine(make_loaded(loaded.editor)), "engine eager", "--engine")


def test_a_native_kernel_that_is_missing(monkeypatch: Patch) -> None:
    options = read_options("--device", "cpu")
    assert numbers.check_kernel(options).state in ("pass", "skipped")
    reason = "attention is torch's: it was installed without a C compiler"
    monkeypatch.setattr(numbers, "list_missing", lambda device: [reason])
    monkeypatch.setattr(numbers, "choose_attention", lambda device: SDPA)
    monkeypatch.setattr(numbers, "could_run_kernel", lambda device: True)
    assert_fails(numbers.check_kernel(options), reason)
    monkeypatch.setattr(numbers, "could_run_kernel", lambda device: False)
    assert numbers.check_kernel(options)[1:3] == ("skipped", reason)


def test_sixteen_bits_that_are_far(loaded: LoadedModel, monkeypatch: Patch) -> None:
    assert numbers.check_precision(loaded).state == "pass"
    call = numbers.call_in
    for factor, words in ((1.1, "bfloat16 1.0e-01"), (float("nan"), "bfloat16 nan")):
        monkeypatch.setattr(numbers, "call_in", lambda *args, f=factor: f * call(*args))
        assert_fails(numbers.check_precision(loaded), words, "--dtype float32")


def test_copies_that_do_not_fit_are_not_made(loaded: LoadedModel, monkeypatch: Patch) -> None:
    monkeypatch.setattr(numbers, "find_free_memory", lambda device: 100_000)
    one = numbers.check_precision(loaded)
    assert one.state == "skipped" and "100 kB of memory are free" in one.text


def test_an_engine_whose_results_vary(loaded: LoadedModel) -> None:
    assert numbers.check_reconstruction(loaded).state == "pass"
    denoise = loaded.editor.runner.unet
    vary: Any = lambda x, t, c: (out := denoise(x, t, c)) + 0.01 * torch.randn_like(out)  # noqa: E731
    loaded.editor.runner.unet = vary
    assert_fails(numbers.check_reconstruction(loaded), "float32")


def test_a_wrong_estimate(loaded: LoadedModel, monkeypatch: Patch) -> None:
    assert model.check_memory(loaded._replace(bytes_before=None)).state == "skipped"
    plan = model.plan_memory
    size = plan(loaded.editor, make_request(loaded)).peak_bytes
    monkeypatch.setattr(model, "read_peak", lambda device: size)
    known = loaded._replace(bytes_before=0)
    assert model.check_memory(known).state == "pass"
    for factor in (0.4, 1.2, 3):
        monkeypatch.setattr(model, "read_peak", lambda device, f=factor: int(f * size))
        assert_fails(model.check_memory(known), f"({factor:.0%})", "plan is wrong")
    monkeypatch.setattr(model, "read_peak", lambda device: size)
    for factor in (2.5, 0.1):  # the parts of a plan that are the model's own
        monkeypatch.setattr(
            model, "plan_memory",
            lambda editor, request, f=factor: plan(editor, request)._replace(
                library_bytes=int(f * model.LIBRARY_BYTES)),
        )  # fmt: skip
        assert_fails(model.check_memory(known), "by the plan")


def make_request(loaded: LoadedModel) -> Any:
    case, steps = model.make_case(loaded)
    source = loaded.editor.generate(case.source, case.seed, steps)
    return model.Request(source, case.target)


def test_what_else_lives_in_the_process_does_not_count(
    loaded: LoadedModel, monkeypatch: Patch
) -> None:
    size = model.plan_memory(loaded.editor, make_request(loaded)).peak_bytes
    monkeypatch.setattr(model, "read_peak", lambda device: size + 5 * 10**9)
    crowded = loaded._replace(bytes_before=model.LIBRARY_BYTES + 5 * 10**9)
    assert model.check_memory(crowded).figures["share"] == 1


def test_steps_that_are_too_slow(loaded: LoadedModel, monkeypatch: Patch) -> None:
    monkeypatch.setattr(speed, "matmul_rate", lambda dtype, device: 1e10)
    monkeypatch.setattr(speed, "copy_rate", lambda device: 1e10)
    monkeypatch.setattr(speed, "time_steps", lambda editor, request: [0.09, 0.3, 0.3])
    one = speed.check_speed(loaded)
    assert one.state == "pass" and one.text.startswith(
        "300 ms a step of 2 UNet rows (fastest 90 ms); at"
    )
    limit = speed.SLOW * one.figures["limit_seconds"] + speed.OVERHEAD
    monkeypatch.setattr(speed, "time_steps", lambda editor, request: [1.01 * limit] * 3)
    assert_fails(speed.check_speed(loaded), "ms a step of 2 UNet rows", "busy")


def test_a_step_is_timed_whole(loaded: LoadedModel, monkeypatch: Patch) -> None:
    monkeypatch.setattr(speed, "BUDGET", 0)
    denoise = loaded.editor.runner.unet

    def wait(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        time.sleep(0.1)
        return denoise(x, t, c)

    loaded.editor.runner.unet = wait  # type: ignore[assignment]
    source = loaded.editor.generate("a house", 1, 3)
    request = model.Request(source, "a boat", weights=zero_weights(3))
    times = speed.time_steps(loaded.editor, request)
    assert len(times) == 2 and min(times) >= 0.1  # the first step also prepares the edit


def test_a_model_with_nan(checkpoint: Path) -> None:
    editor = Editor.from_pretrained(checkpoint, device="cpu")
    spoilt = make_loaded(editor)
    assert model.check_weights(spoilt).state == "pass"
    with torch.no_grad():
        dict(editor.models.unet.named_parameters())["conv_out.bias"][0] = float("nan")
    one = model.check_weights(spoilt)
    assert_fails(one, "1 of these have NaN or infinity, the first is UNet, conv_out.bias")
    found = {
        name: run_check(name, lambda c=check: c(spoilt)) for name, check in MODEL_CHECKS.items()
    }
    assert {name for name, one in found.items() if one.state == "fail"} >= COMPUTE | {"weights"}
    assert all(one.advice for one in found.values() if one.state == "fail")


def test_graphs_need_a_gpu(loaded: LoadedModel) -> None:
    one = numbers.check_capture(loaded)
    assert one.state == "skipped" and "CUDA graphs need a CUDA device" in one.text
