"""Recording the guidance directions of a source, which edits with guidance_every move theirs by."""

from dataclasses import replace
from typing import Any

import torch

from mdp_lite.files.atomic import warn_once
from mdp_lite.method.inversion import predict_along
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import record
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.result import Cost, Source, add_costs
from mdp_lite.pipeline.runner import ModelRunner

ANY_SCALE = 2.0
UNRECORDED = (
    "the source has no recorded guidance directions, so edits with guidance_every only keep theirs "
    "from step to step, which is less exact: see record_direction"
)


def check_guidance_every(value: Any) -> int:
    """Of how many guided steps in a row one asks the null row."""
    if check.whole("guidance_every", value) < 1:
        raise BadInput(f"guidance_every must be 1 or more, got {value}", "guidance_every")
    return value


@torch.no_grad()
def add_directions(runner: ModelRunner, source: Source) -> Source:
    """The source with e - e_null at each latent of its path; one that has them is given back.

    Raises BadInput for a model without a null row.
    """
    path, n = source.path, len(source.grid.t)
    if path.direction is not None:
        return source
    guidance = _guide_along(runner, source)
    if guidance.null is guidance.c:
        return replace(source, path=path._replace(direction=torch.zeros_like(path.eps)))
    steps = predict_along(runner.unet, source.grid, path.x, guidance, runner.v_prediction)
    found = record(path.x[0], list(steps), path.c, directed=True)
    path = path._replace(direction=found.direction)
    return replace(source, path=path, cost=add_costs(source.cost, Cost(2 * n, n)))


def _guide_along(runner: ModelRunner, source: Source) -> Guidance:
    """Guidance along a source's path at a scale that asks both rows; which one makes no matter."""
    path, xl = source.path, source.xl
    if runner.embeds_guidance:
        raise BadInput("a model that reads the guidance scale (LCM) has no guidance direction")
    size, nulls = runner.latent_size(path.x), path.null
    negative, own = source.negative_prompt, path.channels
    return runner.edit_guidance(source.prompt, negative, ANY_SCALE, nulls, None, size, xl, own)


def warn_unrecorded(source: Source, guidance_every: int) -> None:
    """Log once that directions can't move with those of a source that has none."""
    if guidance_every > 1 and source.path.direction is None:
        warn_once(UNRECORDED)
