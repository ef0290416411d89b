"""One edit of a picture that is never seen: the source goes only as far as the edit reads it."""

from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.method.execute import Task, run, tree
from mdp_lite.method.plan import Known, Plan, plan
from mdp_lite.method.sample import Conditions, Path, record, walk
from mdp_lite.method.schedule import Grid, Weights
from mdp_lite.pipeline import check
from mdp_lite.pipeline.request import described
from mdp_lite.pipeline.result import Cost
from mdp_lite.pipeline.runner import Codec, HasCodec, codec_of


class Once(NamedTuple):
    """An edit's picture, its latent (1, 4, y, x), the plan, and the cost with the source's."""

    image: Image.Image
    latent: Tensor
    plan: Plan
    cost: Cost


@torch.no_grad()
def once(
    model: Codec | HasCodec, source_prompt: str, prompt: str, seed: int = 0,
    variant: str | None = None, num_inference_steps: int | None = None,
    guidance_scale: float | None = None, negative_prompt: str = "",
    width: int | None = None, height: int | None = None,
    t_max: float | None = None, t_m: float | None = None, schedule: str | None = None,
) -> Once:  # fmt: skip
    """What Editor.generate and Editor.edit make of two prompts and a seed, in fewer rows.

    An edit reads the source no further than its window, or its leash, so that is sampled to there.
    """
    codec = codec_of(model)
    grid, sides = codec.grid(num_inference_steps), codec.sides(width, height)
    g = codec.guidance(guidance_scale)
    under, to = (codec.conditions(one, negative_prompt, g) for one in (source_prompt, prompt))
    n, x = len(grid.t), codec.noise(check.seed(seed), *sides)
    weights = described(n, codec.models.defaults, variant, t_max, t_m, schedule)
    steps = plan(weights, grid, _known(under, to))
    rows = read(steps, weights)
    path = _path(codec, grid, x, under, rows)
    nodes = tree([Task(grid, to, path, weights, steps)])
    *_, [reached] = run(codec.unet, nodes, codec.v, alone=codec.engine.alone)
    spent = Cost(steps.unet_rows + rows * under.rows, steps.unet_calls + rows)
    return Once(codec.picture(reached.step.x), reached.step.x, steps, spent)


def read(plan: Plan, weights: Weights) -> int:
    """How many steps of the source's path a plan reads; conditions are no part of the path."""
    along = [leg.stop for leg in plan.legs if leg.kind != "call"]
    mixed = (weights.eps != 0) | (weights.x != 0)
    calls = [leg.stop for leg in plan.legs if leg.kind == "call" and bool(mixed[leg.start].any())]
    return max([*along, *calls], default=0)


def _path(codec: Codec, grid: Grid, x: Tensor, to: Conditions, rows: int) -> Path:
    """The first steps of a path, and zeros for the rest."""
    n = len(grid.t)
    short = Grid(*(column[:rows] for column in grid))
    path = record(x, list(walk(codec.unet, short, x, to, v=codec.v)), to.c) if rows else None
    whole = Path(x.new_zeros(n + 1, *x.shape), x.new_zeros(n, *x.shape), to.c)
    whole.x[0] = x
    if path:
        whole.x[: rows + 1], whole.eps[:rows] = path.x, path.eps
    return whole


def _known(source: Conditions, to: Conditions) -> Known:
    """As requests.known says it of a source that this model samples."""
    guided = to.null is not None
    return Known(
        guided=guided,
        same=torch.equal(to.c, source.c),
        own=True,
        null_is_c=guided and torch.equal(to.null, to.c),  # type: ignore[arg-type]
        null_is_source=guided and torch.equal(to.null, source.c),  # type: ignore[arg-type]
    )
