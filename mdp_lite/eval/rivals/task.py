"""What all rivals share: the task, calls of the UNet, and guided DDIM steps.

A source stays on its recorded path. If it was generated, its branch would follow that path anyway.
If it was inverted, the offsets of PnP Inversion do the same (Ju et al. 2023, arXiv 2310.01506,
Algorithm 1: o_t = z*_{t-1} - z_{t-1} is added to the source's branch, and never to the target's).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.ddim import renoise, split_prediction
from mdp_lite.method.mdp import Guidance, guide
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import Grid
from mdp_lite.models.transformer import SDPA, Attend
from mdp_lite.models.unet import UNet
from mdp_lite.names import BadInput


class RivalTask(NamedTuple):
    """b edits at once: their source paths, the guidance towards their targets, and the model."""

    unet: UNet
    grid: Grid
    source: Trajectory
    guidance: Guidance
    v_prediction: bool = False


class EditedLatents(NamedTuple):
    """Clean latents (b, 4, y, x), and the UNet rows that each of them took."""

    x: Tensor
    rows: int


class CallRow(NamedTuple):
    """One row of a UNet call, for b edits: latents x (b, 4, y, x), conditions c (b or 1, l, d)."""

    x: Tensor
    c: Tensor


def null_row(task: RivalTask, i: int) -> Tensor:
    """The null condition (b or 1, l, d) of step i. Raises BadInput for guidance 1."""
    null = task.guidance.select_step(i).null
    if null is None:
        raise BadInput("rivals guide: guidance must be other than 1, got no null row")
    return null


def call_unet(
    unet: UNet, t: Tensor, rows: Sequence[CallRow], attend: Attend = SDPA
) -> list[Tensor]:
    """The prediction (b, 4, y, x) for each row, all from one call of the UNet."""
    b, dtype = len(rows[0].x), rows[0].c.dtype
    x = torch.cat([row.x.to(dtype) for row in rows])
    c = torch.cat([row.c.expand(b, -1, -1) for row in rows])
    return [e.to(rows[0].x.dtype) for e in unet(x, t, c, attend).chunk(len(rows))]


def ddim_step(task: RivalTask, i: int, x: Tensor, e_null: Tensor, e: Tensor) -> Tensor:
    """x_i -> x_{i+1} by DDIM along the guided prediction (Ho & Salimans 2022, Eq. 6)."""
    _, a, b, *_ = task.grid.select_step(i)
    guided = guide(torch.cat([e_null, e]), True, task.guidance.g)
    x0, eps = split_prediction(guided, x, a, task.v_prediction)
    return renoise(x0, eps, b)
