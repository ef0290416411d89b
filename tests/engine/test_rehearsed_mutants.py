"""Faults put into a step on purpose: a rehearsed GPU sees every one of them."""

import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.engine import engine
from mdp_lite.method.mdp import step_output
from support.rehearsal import Rehearsal
from support.rehearsed_cases import TARGET, N, make
from support.rehearsing import rehearsal

NEAR = 2e-4
Spoil = Callable[[Tensor], Tensor]


@pytest.fixture
def gpu() -> Iterator[Rehearsal]:
    with rehearsal() as one:
        yield one


@pytest.fixture(scope="module")
def want(editor: Editor) -> Tensor:
    """The CPU's edit of weights that change from step to step."""
    return edit(editor)


def edit(editor: Editor) -> Tensor:
    source = make(editor)
    how: dict[str, Any] = {"t_max": 5, "t_m": 4, "schedule": "linear"}
    return [editor.edit(source, TARGET, **how).latent.cpu() for _ in range(2)][-1]


def spoil_step(monkeypatch: pytest.MonkeyPatch, spoil: Spoil) -> None:
    """The UNet's answer goes through spoil in every step of an editor that is loaded after this."""

    def spoiled(out: Tensor, *args: Any) -> Any:
        return step_output(spoil(out), *args)

    monkeypatch.setattr(engine, "fused_step_output", spoiled)


def far(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def load(checkpoint: Path) -> Editor:
    return Editor.from_pretrained(checkpoint, "cuda", "float32", engine="graph")


def test_as_it_is(gpu: Rehearsal, checkpoint: Path, want: Tensor) -> None:
    assert far(edit(load(checkpoint)), want) <= NEAR
    assert not gpu.violations and gpu.counts["replays"] > N


def test_a_host_wait_in_the_step(
    gpu: Rehearsal, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_step(monkeypatch, lambda out: out * (1 + 0 * out.sum().item()))
    edit(load(checkpoint))
    assert any("_local_scalar_dense in a capture" in what for what, _ in gpu.violations)


@pytest.mark.slow
def test_the_value_of_a_cpu_tensor(
    gpu: Rehearsal, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_step(monkeypatch, lambda out: out * torch.tensor(1.0))
    edit(load(checkpoint))
    assert any("0-d CPU tensor is recorded" in what for what, _ in gpu.violations)


@pytest.mark.slow
def test_a_number_that_python_counts(
    gpu: Rehearsal, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, want: Tensor
) -> None:
    steps = count(1)
    spoil_step(monkeypatch, lambda out: out * (1 + next(steps) / 10))
    assert far(edit(load(checkpoint)), want) > 10 * NEAR


@pytest.mark.slow
def test_memory_that_is_freed_before_the_replay(
    gpu: Rehearsal, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_lived = [torch.ones(1, device="cuda")]
    spoil_step(monkeypatch, lambda out: out * short_lived[0])
    editor = load(checkpoint)
    edit(editor)
    assert not gpu.violations
    short_lived[0] = torch.ones(1, device="cuda")
    edit(editor)
    assert any("memory that was freed" in what for what, _ in gpu.violations)


@pytest.mark.parametrize(("mode", "seen"), [("global", True), ("thread_local", False)])
def test_a_job_that_begins_during_a_capture(gpu: Rehearsal, mode: str, seen: bool) -> None:
    x, graph, stream = torch.ones(3, device="cuda"), torch.cuda.CUDAGraph(), torch.cuda.Stream()
    thread = threading.Thread(target=lambda: torch.zeros(4, device="cuda"))

    def capture() -> None:
        with torch.cuda.graph(graph, stream=stream, capture_error_mode=mode):
            thread.start()
            thread.join()
            x.add_(1)

    if seen:
        pytest.raises(RuntimeError, capture).match("previous error during capture")
    else:
        capture()
    assert bool(gpu.violations) == seen


def test_a_capture_on_the_stream_of_another_device() -> None:
    with rehearsal(devices=2):
        x, graph = torch.ones(3, device="cuda:1"), torch.cuda.CUDAGraph()
        with pytest.warns(UserWarning, match="The CUDA Graph is empty"):
            with torch.cuda.graph(graph, stream=torch.cuda.Stream("cuda:0")):
                x.add_(1)


def test_operands_on_two_devices() -> None:
    with rehearsal(devices=2) as gpu:
        x = torch.ones(3, device="cuda:0")
        for other in (torch.ones(3), torch.ones(3, device="cuda:1")):
            with pytest.raises(RuntimeError, match="to be on the same device"):
                x + other
        assert sum(gpu.mismatches.values()) == 2


def test_apple_has_no_float64() -> None:
    with rehearsal("mps"):
        x = torch.ones(3, device="mps")
        assert (x * 2).tolist() == [2, 2, 2] and x.device.type == "mps"
        with pytest.raises(TypeError, match="MPS has no float64"):
            x.double()
