"""Recording the layers of a source's path, so that masked edits compute one rectangle alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mdp_lite.engine import flops, pages
from mdp_lite.engine.windowed import WindowedUNet
from mdp_lite.engine.windows import Size, find_window
from mdp_lite.method.execute import EditTask
from mdp_lite.method.mdp import model_inputs
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.directions import check_guidance_every
from mdp_lite.pipeline.edit import build_tasks, locate_all
from mdp_lite.pipeline.finite import is_finite
from mdp_lite.pipeline.layers import (
    WANTS,
    LayersPlan,
    RecordedLayers,
    RecordedStep,
    list_recorded_steps,
)
from mdp_lite.pipeline.masks import Mask
from mdp_lite.pipeline.request import Request, mask_of
from mdp_lite.pipeline.runner import HasRunner, ModelRunner, runner_of

HALO = 4  # cells around the mask's rectangle that are computed anew, too; docs/speed.md says why


class _Recording(NamedTuple):
    """A request that is ready to be recorded."""

    task: EditTask
    mask: Mask
    plan: LayersPlan
    size: Size


def plan_layers(model: ModelRunner | HasRunner, request: Request, halo: int = HALO) -> LayersPlan:
    """What record_layers of this request will take, before it does; the errors are the same.

    >>> request = Request(source, "a blue house", mask=(16, 16, 40, 40))
    >>> plan_layers(editor, request, halo=1).window
    Window(top=3, bottom=11, left=3, right=11)
    """
    return _prepare(runner_of(model), request, halo).plan


@torch.no_grad()
def record_layers(
    model: ModelRunner | HasRunner, request: Request, folder: str | Path | None = None,
    halo: int = HALO,
) -> RecordedLayers:  # fmt: skip
    """Run a source's path once more and keep of every layer what lies around an edit's mask.

    Later edits of the source with layers=... compute only the rectangle of the mask, with so many
    cells around it as halo says, at the steps that this request calls; other steps they compute
    whole. Their prompts, variants, guidance_every and smaller masks are free. The result is nearly
    that of the same edit without layers, the more so the larger the halo; docs/speed.md says how
    nearly, and what a cell costs. Outside the mask it is the source's as ever.

    model is an Editor or its runner, on a CPU in the mode eager. request has a mask, or its source
    does; its guidance_every counts as 1. If what is kept would take more than half of the free
    memory, it lies in a mapped file without a name in folder (by default the system's for temporary
    files). Raises BadInput.

    >>> layers = record_layers(editor, Request(source, "a blue house", mask=(16, 16, 40, 40)))
    >>> editor.edit(source, "a blue house on the grass", layers=layers).finished
    True
    """
    runner, where = runner_of(model), _check_folder(folder)
    task, mask, plan, size = _prepare(runner, request, halo)
    assert runner.engine.windowed is not None  # _prepare checked it
    windowed, every = runner.engine.windowed(plan.window, size), list_recorded_steps(task)
    room = pages.Pages(plan.nbytes, pages.choose_folder(plan.nbytes, where))
    steps = dict[float, RecordedStep]()
    for i, reads in every:
        step = _record_step(windowed, task, i, "null" in reads)
        if is_finite(step.recorded[-1]):
            recorded = [room.copy(one) for one in step.recorded]
            steps[float(task.grid.t[i])] = step._replace(recorded=recorded)
    mask = mask._replace(unet_rows=0, unet_calls=0)  # its cost is the recording's
    return RecordedLayers(plan, task.source, runner.models.origin, mask, steps, size)


def _check_folder(value: Any) -> Path | None:
    """A folder that is there, or None."""
    if value is None:
        return None
    if not isinstance(value, str | Path) or not Path(value).is_dir():
        raise BadInput(f"folder must be one that is there, got {str(value)!r:.200}", "folder")
    return Path(value)


def _record_step(windowed: WindowedUNet, task: EditTask, i: int, guided: bool) -> RecordedStep:
    """Step i of the source's path, with the edit's null row if it is guided.

    An inpainting model reads the edit's mask, not the source's, as it will in the edit.
    """
    source, guidance = task.source, task.guidance.select_step(i)
    rows = (guidance.null if guided else None, source.c)
    x, c = model_inputs(source.x[i], *rows, channels=guidance.channels)
    return RecordedStep(i, c, windowed.record(x, task.grid.t[i], c))


def _prepare(runner: ModelRunner, request: Request, halo: int) -> _Recording:
    if check.whole("halo", halo) < 0:
        raise BadInput(f"halo must be 0 or more, got {halo}", "halo")
    if runner.engine.windowed is None:
        got = f"{runner.device.type} and {runner.engine.mode}"
        raise BadInput(f"recorded layers {WANTS}, got {got}")
    [located] = locate_all(runner, [request])
    check_guidance_every(request.guidance_every)
    [task] = build_tasks(runner, [replace(located, guidance_every=1)])  # other edits ask all rows
    mask = mask_of(located)
    if mask is None:
        raise BadInput("layers are recorded around a mask: the request and its source have none")
    window, every = find_window(mask.cells, halo), list_recorded_steps(task)
    height, width = task.source.x.shape[-2:]
    unet, tokens = runner.models.unet, task.source.c.shape[1]
    cost = flops.window(unet.config, window, (height, width), tokens, task.source.c.dtype)
    rows, calls = sum(len(reads) for _, reads in every), len(every) + mask.unet_calls
    nbytes = rows * cost.kept_bytes
    plan = LayersPlan(window, rows + mask.unet_rows, calls, nbytes, cost.share)
    return _Recording(task, mask, plan, (height, width))
