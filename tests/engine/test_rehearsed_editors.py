"""Several editors, settings and failures on a GPU that is not there."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.batcher.client import client_editor, run_batcher
from mdp_lite.engine.capture import CudaCapture
from mdp_lite.engine.fusing import Fused, find_failure
from mdp_lite.engine.gpu import GpuSettings
from mdp_lite.engine.step_graphs import CapturedStep
from mdp_lite.pipeline.warm_up import warm_up
from mdp_lite_kernels import geglu
from support.rehearsal import Rehearsal
from support.rehearsed_cases import CUDA, TARGET, N, fail, load, make, near


def test_a_graph_holds_its_weights_when_another_editor_lays_them_anew(
    gpu: Rehearsal, checkpoint: Path, want: Tensor
) -> None:
    plain = GpuSettings(channels_last=False, fused=Fused(qkv=False))
    editor = Editor.from_pretrained(checkpoint, "cuda", "float32", engine="graph", gpu=plain)
    source = make(editor)
    editor.edit(source, TARGET)
    Editor(editor.models, editor.device, engine="graph", gpu=GpuSettings(tf32=True))
    assert near(editor.edit(source, TARGET).latent, want)


def test_clients_of_a_batcher_change_no_setting_of_torch(gpu: Rehearsal, checkpoint: Path) -> None:
    settings = GpuSettings(tf32=True)
    editor = Editor.from_pretrained(checkpoint, "cuda", "float32", gpu=settings)
    with run_batcher(editor) as batcher, batcher.client() as client:
        client_editor(editor, batcher, client)
    assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
    load(checkpoint)
    assert not torch.backends.cuda.matmul.allow_tf32


def test_without_a_c_compiler_torchs_own_operations_are_used(
    gpu: Rehearsal, checkpoint: Path, want: Tensor, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def refuse(*_: Any) -> None:
        raise RuntimeError("Failed to find C compiler")

    find_failure.cache_clear()
    monkeypatch.setattr(geglu, "takes", lambda projection: True)
    monkeypatch.setattr(geglu, "triton_geglu", refuse)
    with caplog.at_level(logging.WARNING, "mdp_lite"):
        editor = load(checkpoint)
    find_failure.cache_clear()
    assert "Failed to find C compiler" in caplog.text
    assert near(editor.edit(make(editor), TARGET).latent, want)


def test_a_warm_up_whose_captures_fail_leaves_an_editor_that_edits(
    gpu: Rehearsal, checkpoint: Path, want: Tensor
) -> None:
    editor = load(checkpoint)
    gpu.on_launch = lambda name, tape: fail(torch.OutOfMemoryError("no memory") if tape else None)
    warm_up(editor, [1, 2], num_inference_steps=N, only=True)
    gpu.on_launch = None
    assert near(editor.edit(make(editor), TARGET).latent, want)


def test_the_error_that_is_logged_is_that_of_the_work(gpu: Rehearsal) -> None:
    def work() -> list[Tensor]:
        if gpu.recording:
            raise RuntimeError("the cause")
        return [torch.ones(1, device=CUDA)]

    try:
        raise RuntimeError("an older error")
    except RuntimeError:
        with pytest.raises(RuntimeError, match="the cause"):
            CudaCapture(CUDA)(work)


@pytest.mark.slow
def test_equal_prompts_and_steps_that_are_not_finite_have_graphs_too(
    gpu: Rehearsal, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = load(checkpoint)
    warm_up(editor, [1, 2], num_inference_steps=N, only=True)
    source = make(editor)
    editor.edit(source, TARGET, negative_prompt=TARGET)
    monkeypatch.setattr(CapturedStep, "__call__", lambda *_: None)  # as with NaN
    editor.edit(source, TARGET, "beta", t_max=5, t_m=3, schedule="linear")
