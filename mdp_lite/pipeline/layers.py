"""The recorded layers of a source's path, and a denoiser that takes from them all but a window.

An edit with a mask keeps its latents on the source's outside the mask. So what the UNet's layers
compute there is nearly what they computed on the source's path at the same step, and only the
mask's rectangle is computed anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.checkpoint.identity import Origin
from mdp_lite.engine.engine import BuildWindowed
from mdp_lite.engine.windowed import WindowedUNet
from mdp_lite.engine.windows import Size, Window
from mdp_lite.method.execute import EditTask
from mdp_lite.method.mdp import Denoiser, Reads
from mdp_lite.method.plan import Plan, call_steps
from mdp_lite.method.sample import Trajectory
from mdp_lite.names import BadInput
from mdp_lite.pipeline.finite import is_finite
from mdp_lite.pipeline.masks import Mask

WANTS = "need a CPU, the mode eager, and no batcher"


class RecordedStep(NamedTuple):
    """What the layers kept at step i: tensors with a row for each condition c (b, l, d)."""

    i: int
    c: Tensor
    recorded: Sequence[Tensor]


class LayersPlan(NamedTuple):
    """What recording a source's layers takes, and what edits then save.

    window is the rectangle of latent cells that edits compute anew. unet_rows and unet_calls are
    those of the recording, nbytes is what it keeps. share is what a row of an edit then costs, as a
    share of a whole row's FLOPs.

    >>> request = Request(source, "a blue house", mask=(16, 16, 40, 40))
    >>> plan_layers(editor, request).unet_rows == editor.plan(request).unet_rows
    True
    """

    window: Window
    unet_rows: int
    unet_calls: int
    nbytes: int
    share: float


@dataclass(frozen=True)
class RecordedLayers:
    """The layers of a source's path at the steps that an edit calls; see record_layers.

    Any number of edits of that source within the window read it, in any thread. It does not change.
    """

    plan: LayersPlan
    path: Trajectory
    origin: Origin
    mask: Mask
    steps: Mapping[float, RecordedStep]
    size: Size

    def __repr__(self) -> str:
        """One line for people, not the tensors."""
        height, width = self.plan.window.size
        size, n = f"{self.plan.nbytes / 2**20:.1f} MiB", len(self.steps)
        return f"<RecordedLayers of {n} steps around {height}x{width} cells: {size}>"

    def count_rows(self, plan: Plan) -> float:
        """An edit's UNet rows by their FLOPs: one of a recorded step is `share` of a whole one.

        >>> request = Request(source, "a blue house", mask=(16, 16, 40, 40))
        >>> plan, layers = editor.plan(request), record_layers(editor, request)
        >>> layers.count_rows(plan) < plan.unet_rows
        True
        """
        recorded = {one.i for one in self.steps.values()}
        rows = ((one.start in recorded, len(one.reads)) for one in plan.segments)
        return sum(self.plan.share * count if known else count for known, count in rows)


class WindowedDenoiser:
    """A denoiser that computes the window of each recorded step, and all of the others.

    unet computes whole calls: of steps that were not recorded, or whose window is not finite.
    """

    def __init__(self, layers: RecordedLayers, unet: Denoiser, windowed: WindowedUNet) -> None:
        self._steps, self._unet, self._windowed = layers.steps, unet, windowed

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x)."""
        step = self._steps.get(float(t.flatten()[0]))
        if step is None:
            return self._unet(x, t, c)
        recorded = select_rows(step, c)
        out = self._windowed.recompute(recorded, x, t, c)
        return out if is_finite(out) else self._unet(x, t, c)


def select_rows(step: RecordedStep, c: Tensor) -> Sequence[Tensor]:
    """What was kept for the rows of a call with c (b, l, d).

    A row with a recorded condition reads that one's row; any other is the edit's and reads the last
    one, the source's.
    """
    found = [_find_row(step.c, row) for row in c]
    if found == list(range(len(step.c))):
        return step.recorded
    rows = torch.tensor(found, device=c.device)
    return [one.index_select(0, rows) for one in step.recorded]


def _find_row(conditions: Tensor, row: Tensor) -> int:
    equal = [torch.equal(one, row) for one in conditions]
    return equal.index(True) if True in equal else len(equal) - 1


class LayersUse(NamedTuple):
    """An edit that is to run: the layers that it reads, if any, its mask, and its task."""

    layers: RecordedLayers | None
    mask: Mask | None
    task: EditTask


def choose_denoiser(
    unet: Denoiser, build: BuildWindowed | None, uses: Sequence[LayersUse], origin: Origin,
    max_rows: int,
) -> Denoiser:  # fmt: skip
    """unet itself, or one that reads the layers which edits have; all must have the same.

    Raises BadInput for layers of another model, source, window or null condition.
    """
    layers = uses[0].layers if uses else None
    if any(one.layers is not layers for one in uses):
        raise BadInput("edits that run together must all have the same layers, or none")
    if layers is None:
        return unet
    if build is None:
        raise BadInput(f"edits with layers {WANTS}")
    if max_rows:
        raise BadInput(f"edits with layers run one step a call: want max_rows 0, got {max_rows}")
    for _, mask, task in uses:
        check_layers(layers, mask, task, origin)
    return WindowedDenoiser(layers, unet, build(layers.plan.window, layers.size))


def check_layers(layers: RecordedLayers, mask: Mask | None, task: EditTask, origin: Origin) -> None:
    """Raise BadInput unless the layers are of the task's model and path and cover its mask."""
    if origin != layers.origin or not torch.equal(task.source.x, layers.path.x):
        raise BadInput("layers must be of the edit's source, recorded by the same model")
    cells = layers.mask.cells if mask is None else mask.cells
    outside = cells.clone()
    outside[layers.plan.window.cells] = 0
    if outside.any():
        window = tuple(layers.plan.window)
        raise BadInput(f"the mask must lie in the layers' window {window} (cells), it does not")
    for one in task.plan.segments:
        if one.kind == "call":
            _check_null(layers, task, one.start, one.reads)


def _check_null(layers: RecordedLayers, task: EditTask, i: int, reads: Reads) -> None:
    null = task.guidance.select_step(i).null
    step = layers.steps.get(float(task.grid.t[i]))
    if step is None or null is None or "null" not in reads:
        return
    if not any(torch.equal(one, null[0].to(one)) for one in step.c):
        raise BadInput(
            "layers were recorded without guidance or for another negative prompt: record them "
            "for a request with this edit's"
        )


def list_recorded_steps(task: EditTask) -> list[tuple[int, Reads]]:
    """The steps at which a task calls the UNet, and which rows of its source answer for it."""
    reads = {one.start: one.reads for one in task.plan.segments}
    rows: dict[int, Reads] = {i: ("source",) for i in call_steps(task.plan)}
    return [(i, ("null", *rows[i]) if "null" in reads[i] else rows[i]) for i in rows]
