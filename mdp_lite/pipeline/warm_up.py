"""Warm-up: compile or record what edits will need before the first one waits for it."""

from collections.abc import Iterable, Sequence
from itertools import product

import torch
from torch import Tensor

from mdp_lite.method.execute import EditTask, SingleStep
from mdp_lite.method.mdp import Reads, add_channels
from mdp_lite.method.plan import plan
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import Grid, zero_weights
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.runner import HasRunner, ModelRunner, runner_of

# The rows of an edit's calls with guidance; without it there is no null row.
EDIT_READS: tuple[Reads, ...] = (("null", "c"), ("null", "c", "source"), ("null", "source"))
STEP_ROWS = (1, 2, 3)  # of one edit's steps, which run as calls where a whole step can't


@torch.no_grad()
def warm_up(
    model: ModelRunner | HasRunner,
    rows: Iterable[int] = (1, 2),
    width: int | None = None,
    height: int | None = None,
    num_inference_steps: int | None = None,
    only: bool = False,
) -> None:
    """Compile or record now what edits of this size need, so that no edit waits for it.

    model is an Editor or its runner. rows are the UNet rows of a call: 2 for one guided edit, more
    for several at once. width and height are in pixels, by default the model's. Edits of every
    variant, schedule and number of steps are covered, with a mask and without, with proximal
    guidance, and of sources by every inversion. With only, work that has no graph by now raises
    BadInput later instead of being recorded then. Call it from the thread that calls the models:
    with a batcher by batcher.call. Afterwards deadlines know how long decoding takes.

    >>> warm_up(editor, rows=[2], num_inference_steps=4)
    """
    runner, rows = runner_of(model), check.several("rows", rows)
    for count in rows:
        if check.whole("rows of a call", count) < 1:
            raise BadInput(f"rows of a call must be 1 or more, got {count}")
    check.flag("only", only)
    grid, size = runner.grid(num_inference_steps), runner.image_size(width, height)
    recorder = runner.engine.recorder
    if recorder is None:
        _call_models(runner, rows, grid, size)
        return
    usual, recorder.new_shapes, recorder.permanent = recorder.new_shapes, "record", True
    try:
        for _ in range(2):  # the second use of a shape records it
            _call_models(runner, sorted({*rows, *STEP_ROWS}), grid, size)
        usual = "refuse" if only else usual
    finally:
        recorder.new_shapes, recorder.permanent = usual, False


def _call_models(
    runner: ModelRunner, rows: Sequence[int], grid: Grid, size: tuple[int, int]
) -> None:
    """One encoding and decoding, calls of so many rows, and a step of each kind of edit.

    Large ones come first: graphs share memory, and smaller ones then find what they need in it.
    """
    x, c = runner.noise(0, *size), runner.condition("", size)
    latent = add_channels(x, runner.blank_channels(size)).to(c)
    runner.encode(runner.decode(0 * x))
    for count in sorted(rows, reverse=True):
        some = (one.expand(count, *one.shape[1:]) for one in (latent, c))
        runner.unet(next(some), grid.t[0], next(some))
    if runner.engine.single_step:
        _take_steps(runner, runner.engine.single_step, grid, x, c)


def _take_steps(
    runner: ModelRunner, single_step: SingleStep, grid: Grid, x: Tensor, c: Tensor
) -> None:
    """A step of each kind of edit, those with the most rows first."""
    tasks = _build_tasks(runner, grid, x, c)
    kinds = [
        (task, reads if task.guidance.null is not None else reads[1:])
        for task, reads in product(tasks, EDIT_READS)
    ]
    for task, reads in sorted(kinds, key=lambda kind: -len(kind[1])):
        single_step(task, 0, reads, x, runner.v_prediction)


def _build_tasks(runner: ModelRunner, grid: Grid, x: Tensor, c: Tensor) -> list[EditTask]:
    """Edits of sources by DDIM and by DDPM, with a local pull and without.

    Their guidance is none, plain or proximal. A mask needs no other graph, nor do null rows.
    """
    n = len(grid.t)
    zeros = zero_weights(n).change(lambda column: column.to(x))
    tables = (zeros, zeros._replace(local=zeros.x))
    flat = x.expand(n, *x.shape)
    sources = [
        Trajectory(x.expand(n + 1, *x.shape), flat, c, noise=noise) for noise in (None, flat)
    ]
    size = runner.latent_size(x)
    kinds = ((1.0, None), (2.0, None), (2.0, 0.5))
    guidances = [runner.edit_guidance("", " ", g, None, q, size) for g, q in kinds]
    return [
        EditTask(grid, guidance, source, weights, plan(weights, grid))
        for guidance, source, weights in product(guidances, sources, tables)
    ]
