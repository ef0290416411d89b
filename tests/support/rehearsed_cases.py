"""What people do with an Editor, as cases that a rehearsed GPU and a CPU both compute."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mdp_lite import Editor, once
from mdp_lite.batcher.client import client_editor, run_batcher
from mdp_lite.method.schedule import Weights
from mdp_lite.names import SCHEDULES, VARIANTS
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Source

N = 6
CUDA = torch.device("cuda", 0)
NEAR = 2e-4  # of a latent's largest value: a rehearsed GPU and a CPU
PROMPT, TARGET = "a red house on the grass", "a blue house on the grass"
WINDOW: dict[str, Any] = {"t_max": 5, "t_m": 3}
BOX = (8, 8, 24, 24)
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {}, "strength": {"strength": 0.4}, "source": {"strength": 0.0},
    "a box": {"mask": BOX}, "a found mask": {"mask": "auto"}, "proximal": {"proximal": 0.7},
    "no guidance": {"guidance_scale": 1.0}, "a negative prompt": {"negative_prompt": "night"},
    "a weight below 0": {"variant": "beta", "weight": -0.5, **WINDOW},
    "a deadline": {"deadline": 60.0}, "proximal in a box": {"proximal": 0.6, "mask": BOX},
}  # fmt: skip
Case = Callable[[Editor], Tensor]


def list_cases(picture: Image.Image, gradients: bool = True) -> dict[str, Case]:
    """All cases by name; each computes a latent. gradients: also null-text inversion."""
    cases: dict[str, Case] = {"generate": lambda editor: make(editor).path.x[-1]}
    for method in METHODS:
        if gradients or method != "null-text":
            cases[f"invert by {method}"] = partial(invert, method=method, picture=picture)
    for variant in VARIANTS:
        for schedule in SCHEDULES:
            how = {"variant": variant, "schedule": schedule, **WINDOW}
            cases[f"{variant} {schedule}"] = partial(edit, **how)
    cases |= {name: partial(edit, **how) for name, how in OPTIONS.items()}
    return cases | {
        "a blend": lambda editor: edit(editor, [("a boat", 0.5), (TARGET, 0.5)]),
        "a mask of cells": edit_cells, "tables of weights": edit_table, "a tilt": tilt,
        "several": edit_several, "a sweep": sweep, "once": lambda editor: once(
            editor, PROMPT, TARGET, 7, num_inference_steps=N).latent,
        "two pictures": partial(invert_two, picture=picture), "a preview": preview,
        "a saved source": save_and_load, "another size": lambda editor: editor.edit(
            make(editor, width=40, height=24), TARGET).latent,
        "recorded noise": lambda editor: editor.edit(
            make(editor, record_noise=True), TARGET).latent,
        "a batcher": batch_one, "two clients": batch_two,
    }  # fmt: skip


def make(editor: Editor, **how: Any) -> Source:
    """The source of most cases."""
    return editor.generate(PROMPT, 7, N, **how)


def edit(editor: Editor, prompt: Any = TARGET, **how: Any) -> Tensor:
    """An edit of it, twice: what comes again is recorded."""
    source = make(editor)
    editor.edit(source, prompt, **how)
    return editor.edit(source, prompt, **how).latent


def invert(editor: Editor, method: str, picture: Image.Image) -> Tensor:
    """An edit of a picture that this method inverted."""
    how = Inversion(method, inner_steps=2) if method == "null-text" else method
    return editor.edit(editor.invert(picture, PROMPT, how, N), TARGET, **WINDOW).latent


def invert_two(editor: Editor, picture: Image.Image) -> Tensor:
    """The second of two pictures that were inverted together."""
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    sources = editor.inverts([picture, mirrored], [PROMPT, "a boat"], "replay", N)
    return editor.edit(sources[1], TARGET).latent


def edit_cells(editor: Editor) -> Tensor:
    """With a mask of latent cells that lies on the device."""
    source = make(editor)
    cells = torch.zeros(source.path.x.shape[-2:])
    cells[2:6, 2:6] = 1
    return editor.edit(source, TARGET, mask=cells.to(editor.device)).latent


def edit_table(editor: Editor) -> Tensor:
    """With weights that lie on the device."""
    columns = torch.full((4, N), 0.3, dtype=torch.float64).to(editor.device)
    return editor.edit(make(editor), TARGET, weights=Weights(*columns)).latent


def tilt(editor: Editor) -> Tensor:
    """Uni-Edit's weight of MDP-beta, which depends on the predictions."""
    zeros = torch.zeros(N, dtype=torch.float64)
    weights = Weights(zeros, zeros, zeros, zeros, tilt=zeros - 4)
    return editor.edit(make(editor), TARGET, weights=weights).latent


def edit_several(editor: Editor) -> Tensor:
    """The second of two edits in calls of up to eight rows."""
    source = make(editor)
    requests = [Request(source, TARGET), Request(source, "a boat", "x")]
    return editor.edits(requests, max_rows=8)[1].latent


def sweep(editor: Editor) -> Tensor:
    """The last edit of a sweep."""
    windows = [(5, 3), (6, 2)]
    return (
        editor.sweep(make(editor), [TARGET, "a boat"], ["epsilon", "beta"], windows)
        .edits[-1]
        .latent
    )


def preview(editor: Editor) -> Tensor:
    """A state on the way, of which a preview is made."""
    *_, last = editor.steps([Request(make(editor), TARGET, **WINDOW)])
    editor.preview(last.states[0])
    return last.states[0].x


def save_and_load(editor: Editor) -> Tensor:
    """A source that was saved and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source.safetensors"
        editor.save_source(make(editor), path)
        return editor.edit(editor.load_source(path), TARGET).latent


def batch_one(editor: Editor) -> Tensor:
    """An edit by the only client of a batcher."""
    with run_batcher(editor, max_rows=8) as batcher, batcher.client() as client:
        return edit(client_editor(editor, batcher, client))


def batch_two(editor: Editor) -> Tensor:
    """An edit while another client waits, so that rows go through batches."""
    with run_batcher(editor, max_rows=8) as batcher, batcher.client() as idle:
        with batcher.client() as client:
            del idle
            return edit(client_editor(editor, batcher, client))


def load(checkpoint: Path, device: str = "cuda", mode: str = "graph") -> Editor:
    """A model on a rehearsed GPU, in float32."""
    return Editor.from_pretrained(checkpoint, device, "float32", engine=mode)


def near(a: Tensor, b: Tensor) -> bool:
    """Whether a result of a rehearsed GPU is the CPU's."""
    return bool((a.cpu() - b).abs().max() <= NEAR * b.abs().max())


def fail(error: Exception | None) -> None:
    """Raise an error, if it is one."""
    if error:
        raise error
