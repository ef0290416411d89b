"""Devices: which are there, what is chosen without one, what each computes in, what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mdp_lite import BadInput, Editor
from mdp_lite.checkpoint.assign import auto_dtype
from mdp_lite.engine import devices
from mdp_lite.engine.engine import choose_mode
from mdp_lite.names import ENGINES
from mdp_lite.pipeline import check
from support.apple import apple_gpu

CPU, CUDA, MPS = (torch.device(kind) for kind in devices.KINDS)


def patch(monkeypatch: pytest.MonkeyPatch, owner: Any, **answers: Any) -> None:
    """Let functions of torch give these answers, whatever they are asked."""
    for name, answer in answers.items():
        monkeypatch.setattr(owner, name, lambda *_, answer=answer, **__: answer)


@pytest.mark.parametrize(
    ("device", "wide"), [(CPU, torch.float64), (CUDA, torch.float64), (MPS, torch.float32)]
)
def test_wide_numbers(device: torch.device, wide: torch.dtype) -> None:
    assert devices.wide_dtype(device) == wide


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, CUDA), (True, False, CUDA), (False, True, MPS), (False, False, CPU)],
)
def test_the_device_without_a_choice(
    cuda: bool, mps: bool, chosen: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(monkeypatch, torch.cuda, is_available=cuda)
    patch(monkeypatch, torch.backends.mps, is_available=mps)
    assert check.device(None) == chosen


@pytest.mark.parametrize(("built", "lacks"), [(True, "this Mac"), (False, "this torch")])
def test_no_mps(built: bool, lacks: str, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    patch(monkeypatch, torch.backends.mps, is_available=False, is_built=built)
    says = f"device mps is not there: {lacks} has no MPS, want cpu or cuda"
    with pytest.raises(BadInput, match=says):
        Editor.from_pretrained(checkpoint, "mps")


def test_a_mac_has_one() -> None:
    with apple_gpu():
        assert check.device("mps:0").type == check.device(None).type == "mps"
        with pytest.raises(BadInput, match="device mps:1 is not there, 1 mps devices found"):
            check.device("mps:1")


@pytest.mark.parametrize("mode", ENGINES)
def test_engines_on_mps(mode: str, checkpoint: Path) -> None:
    """It runs eagerly; what it has not is refused by name before anything is loaded."""
    with apple_gpu():
        if mode in ("auto", "eager"):
            assert choose_mode(mode, MPS) == "eager"
            return
        with pytest.raises(BadInput, match=f"engine {mode} .* got mps"):
            Editor.from_pretrained("nowhere", "mps", engine=mode)


def test_no_packages_on_mps(tmp_path: Path) -> None:
    with apple_gpu(), pytest.raises(BadInput, match="engine aot .* got mps"):
        Editor.from_pretrained("nowhere", packages=tmp_path)


FILES = [  # the dtype of a file, and what it becomes on macOS 13 and from 14 on
    (torch.float32, torch.float32, torch.float32),
    (torch.float16, torch.float16, torch.float16),
    (torch.bfloat16, torch.float16, torch.bfloat16),
    (torch.float8_e4m3fn, torch.float16, torch.float16),
]


@pytest.mark.parametrize(("stored", "old", "new"), FILES)
def test_the_dtype_on_mps(stored: torch.dtype, old: torch.dtype, new: torch.dtype) -> None:
    tensors = {"weight": torch.zeros(2).to(stored)}
    for system, dtype in ((13, old), (14, new)):
        with apple_gpu(system):
            assert auto_dtype(MPS, tensors) == dtype


def test_bfloat16_on_an_old_system() -> None:
    says = "dtype bfloat16 on mps needs macOS 14 or later: want float16 or float32"
    with apple_gpu(13), pytest.raises(BadInput, match=says):
        Editor.from_pretrained("nowhere", "mps", "bfloat16")


def test_waiting_and_freeing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each on the device that has work or memory, and never on one that is not there."""
    calls: list[str] = []
    for kind, module in (("cuda", torch.cuda), ("mps", torch.mps)):
        for name in ("synchronize", "empty_cache"):
            note = lambda *_, what=f"{kind} {name}": calls.append(what)  # noqa: E731
            monkeypatch.setattr(module, name, note)
    for device in (CPU, CUDA, MPS):
        devices.synchronize(device)
    assert calls == ["cuda synchronize", "mps synchronize"]
    for cuda, mps in ((False, False), (True, False), (False, True)):
        patch(monkeypatch, torch.cuda, is_initialized=cuda)
        patch(monkeypatch, torch.backends.mps, is_available=mps)
        devices.free_memory()
    assert calls[2:] == ["cuda empty_cache", "mps empty_cache"]
