"""The stages for a first GPU that no CPU can run, with stand-ins for the device's part."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import kernels
from benchmarks.gpu_first import compiled, kernel_times, profile_step
from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.gpu_first.profile_step import find_kind, report_profile
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite_kernels import shapes

CPU, GPU = Setting(torch.device("cpu"), True), Setting(torch.device("cuda"), False)
DeviceType = torch.autograd.DeviceType


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    return Findings(tmp_path / "findings.json")


def double(x: torch.Tensor) -> torch.Tensor:
    return x + x


def wrong(x: torch.Tensor) -> torch.Tensor:
    return x


def make_cases(dtype: torch.dtype) -> list[kernels.Case]:
    x = torch.ones(8, dtype=dtype)
    return [
        kernels.Case("a good one", double, double, (x,), 32),
        kernels.Case("a wrong one", wrong, double, (x,), 32),
        kernels.Case("another", double, double, (x,), 16),
    ]


@pytest.fixture
def fake_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions run at once, and every side takes its own fixed time."""
    times = {"kernel": [4.0], "eager": [8.0], "compiled": [5.0]}
    monkeypatch.setattr(shapes, "TRITON", True)
    monkeypatch.setattr(kernel_times, "name_lacking_compiler", lambda: None)
    monkeypatch.setattr(kernels, "bandwidth", lambda: 16.0)
    monkeypatch.setattr(kernels, "cases", make_cases)
    monkeypatch.setattr(kernels, "capture", lambda f, inputs: (lambda: f(*inputs), f(*inputs)))
    monkeypatch.setattr(
        kernels, "time_in_turns", lambda runs, rounds: {name: times[name] for name in runs}
    )
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)


def test_kernels_are_compared_and_a_wrong_one_stops_no_other(
    findings: Findings, fake_device: None
) -> None:
    kernel_times.compare_kernels(GPU, findings)
    assert findings.figures["a good one float16: eager"] == {
        "kernel": 4.0, "eager": 8.0, "of a copy": 0.5,
    }  # fmt: skip
    assert findings.figures["another bfloat16: eager"]["of a copy"] == 0.25
    assert findings.figures["another float16: compiled"]["compiled"] == 5.0
    assert len(findings.figures) == 1 + 2 * 3
    assert {one["what"] for one in findings.checks} == {
        f"a wrong one {name}, kernel is right"
        for name in ("float16: eager", "bfloat16: eager", "float16: compiled")
    }
    assert all(not one["ok"] and "within" in one["seen"] for one in findings.checks)


def test_kernels_are_left_out_on_a_cpu(findings: Findings) -> None:
    kernel_times.compare_kernels(CPU, findings)
    assert findings.skipped and findings.figures == {}


def event(key: str, took: float, kernel: bool = False, count: int = 1) -> Any:
    device = DeviceType.CUDA if kernel else DeviceType.CPU
    return SimpleNamespace(
        key=key, count=count, device_type=device, self_device_time_total=took, self_cpu_time_total=0
    )


EVENTS = [
    event("aten::cudnn_convolution", 60.0), event("aten::native_group_norm", 20.0),
    event("aten::addmm", 10.0), event("cudaLaunchKernel", 0.0, count=40),
    event("sm90_xmma_fprop", 60.0, True, 20), event("RowwiseMoments", 20.0, True, 10),
    event("gemm", 10.0, True, 5), event("own_kernel", 10.0, True, 5),
]  # fmt: skip


def test_shares_of_a_profile_count_kernels_that_aten_did_not_launch(findings: Findings) -> None:
    report_profile(findings, EVENTS, on_gpu=True)
    assert findings.figures["shares"] == {
        "convolution": 0.6, "norm": 0.2, "matrix product": 0.1, "outside of ATen": 0.1,
    }  # fmt: skip
    assert findings.figures["microseconds"] == 100.0
    assert findings.figures["kernel launches"] == 40
    assert findings.figures["kernels"][0] == ["sm90_xmma_fprop", 20, 60.0]


@pytest.mark.parametrize(("name", "kind"), [
    ("aten::cudnn_convolution", "convolution"), ("aten::native_layer_norm", "norm"),
    ("aten::_flash_attention_forward", "attention"), ("aten::mm", "matrix product"),
    ("aten::mul", "elementwise and other"), ("aten::copy_", "copy"), ("aten::silu",
     "elementwise and other"), ("aten::bmm", "matrix product"),
])  # fmt: skip
def test_the_kind_of_an_operator(name: str, kind: str) -> None:
    assert find_kind(name) == kind


def test_operators_that_only_look_are_not_counted() -> None:
    x = torch.ones(4, 6)
    with profile_step.OperatorCounter() as counter:
        (x.view(6, 4).t() + 1).contiguous()
    assert counter.names >= {"view", "t", "add"}
    assert counter.count == 2 and counter.bytes == 4 * x.nbytes


def test_a_compiled_step_without_a_compiler_says_so(
    findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **named: Any) -> Editor:
        raise BadInput("engine compile needs a C++ compiler")

    monkeypatch.setattr(compiled, "Editor", refuse)
    compiled.time_compiled(CPU, findings)
    assert findings.skipped == "engine compile needs a C++ compiler"
