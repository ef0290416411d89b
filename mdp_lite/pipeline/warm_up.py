"""Making what an engine makes once, compiled calls and graphs, before an edit waits for it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mdp_lite.method.execute import Reads, Task
from mdp_lite.method.plan import plan
from mdp_lite.method.sample import Path, no_weights
from mdp_lite.method.schedule import Grid
from mdp_lite.pipeline import check
from mdp_lite.pipeline.runner import Codec, HasCodec, codec_of

# The rows of an edit's calls, with guidance and without.
READS: tuple[Reads, ...] = (("null", "c"), ("null", "c", "source"), ("null", "source"))


@torch.no_grad()
def warm_up(
    model: Codec | HasCodec,
    rows: Sequence[int] = (1, 2),
    width: int | None = None,
    height: int | None = None,
    num_inference_steps: int | None = None,
    only: bool = False,
) -> None:
    """Compile or record what edits of this size and these rows of a call need, before they come.

    only: a graph that was not recorded by now is an error later, not a wait.
    """
    codec = codec_of(model)
    for count in rows:
        if check.whole("rows of a call", count) < 1:
            raise ValueError(f"rows of a call must be 1 or more, got {count}")
    _call(codec, rows, codec.grid(num_inference_steps), codec.sides(width, height))
    if codec.engine.maker:
        codec.engine.maker.closed = only


def _call(codec: Codec, rows: Sequence[int], grid: Grid, sides: tuple[int, int]) -> None:
    """Calls of so many rows, one encoding and decoding, a step of each kind of edit."""
    x = codec.noise(0, *sides)
    c = codec.condition("")
    for count in rows:
        codec.unet(x.expand(count, *x.shape[1:]).to(c), grid.t[0], c.expand(count, *c.shape[1:]))
    codec.latent(codec.picture(0 * x))
    if codec.engine.alone:
        for task in _tasks(codec, grid, x, c):
            for reads in READS if task.to.null is not None else [reads[1:] for reads in READS]:
                codec.engine.alone(task, 0, reads, x, codec.v)


def _tasks(codec: Codec, grid: Grid, x: Tensor, c: Tensor) -> list[Task]:
    """Edits with guidance and without, of a source that went by DDIM or by DDPM."""
    n, weights = len(grid.t), no_weights(len(grid.t))
    flat = x.expand(n, *x.shape)
    paths = [Path(x.expand(n + 1, *x.shape), flat, c, noise=noise) for noise in (None, flat)]
    steered = [codec.conditions("", " ", g) for g in (1.0, 2.0)]
    legs = plan(weights, grid)
    return [Task(grid, to, path, weights, legs) for to in steered for path in paths]
