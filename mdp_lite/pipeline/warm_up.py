"""Warm-up: compile or record what edits will need before the first one waits for it."""

from collections.abc import Iterable, Sequence
from itertools import product

import torch
from torch import Tensor

from mdp_lite.method.execute import EditTask
from mdp_lite.method.mdp import Reads, add_channels
from mdp_lite.method.plan import plan
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import Grid, zero_weights
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.runner import HasRunner, ModelRunner, runner_of

# The rows of an edit's calls with guidance; without it there is no null row.
EDIT_READS: tuple[Reads, ...] = (("null", "c"), ("null", "c", "source"), ("null", "source"))


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

    model is an Editor or its runner. rows are the UNet rows of a call: 2 for one guided edit. width
    and height are in pixels, by default the model's. With only, a graph that is not recorded by now
    raises BadInput later instead of being recorded then. Call it from the thread that calls the
    models: with a batcher by batcher.call. Afterwards deadlines know how long decoding takes.

    >>> warm_up(editor, rows=[2], num_inference_steps=4)
    """
    runner, rows = runner_of(model), check.several("rows", rows)
    for count in rows:
        if check.whole("rows of a call", count) < 1:
            raise BadInput(f"rows of a call must be 1 or more, got {count}")
    check.flag("only", only)
    grid, size = runner.grid(num_inference_steps), runner.image_size(width, height)
    _call_models(runner, rows, grid, size)
    if runner.engine.recorder:
        runner.engine.recorder.closed = only


def _call_models(
    runner: ModelRunner, rows: Sequence[int], grid: Grid, size: tuple[int, int]
) -> None:
    """Calls of so many rows, one encoding and decoding, and a step of each kind of edit."""
    x, c = runner.noise(0, *size), runner.condition("", size)
    latent = add_channels(x, runner.blank_channels(size)).to(c)
    for count in rows:
        some = (one.expand(count, *one.shape[1:]) for one in (latent, c))
        runner.unet(next(some), grid.t[0], next(some))
    runner.encode(runner.decode(0 * x))
    single_step = runner.engine.single_step
    for task in _build_tasks(runner, grid, x, c) if single_step else ():
        for reads in EDIT_READS:
            some = reads if task.guidance.null is not None else reads[1:]
            single_step(task, 0, some, x, runner.v_prediction)  # type: ignore[misc]


def _build_tasks(runner: ModelRunner, grid: Grid, x: Tensor, c: Tensor) -> list[EditTask]:
    """Edits with guidance and without, local pull and without, of sources by DDIM and by DDPM."""
    n, zeros = len(grid.t), zero_weights(len(grid.t))
    tables = (zeros, zeros._replace(local=zeros.x))
    flat = x.expand(n, *x.shape)
    sources = [
        Trajectory(x.expand(n + 1, *x.shape), flat, c, noise=noise) for noise in (None, flat)
    ]
    size = runner.latent_size(x)
    guidances = [runner.guidance("", " ", g, size) for g in (1.0, 2.0)]
    return [
        EditTask(grid, guidance, source, weights, plan(weights, grid))
        for guidance, source, weights in product(guidances, sources, tables)
    ]
