"""What every rival is given and does alike: sources on their paths, calls, and guided DDIM steps.

A source stays on its recorded path: where that was generated its branch would walk there anyway,
and where it was inverted this is what PnP Inversion's offsets do (Ju et al. 2023, arXiv 2310.01506,
Algorithm 1: o_t = z*_{t-1} - z_{t-1} is added to the source's branch, and never to the target's).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.ddim import renoise, seen
from mdp_lite.method.mdp import guide
from mdp_lite.method.sample import Conditions, Path, levels
from mdp_lite.method.schedule import Grid
from mdp_lite.models.transformer import SDPA, Attend
from mdp_lite.models.unet import UNet


class Asked(NamedTuple):
    """b edits at once: their source paths, where they shall go, and the model; v: it predicts v."""

    unet: UNet
    grid: Grid
    source: Path
    to: Conditions
    v: bool = False


class Edited(NamedTuple):
    """Clean latents (b, 4, y, x), and the UNet rows that one of them took."""

    x: Tensor
    rows: int


class Row(NamedTuple):
    """One row of a call for all edits: latents x (b, 4, y, x) and conditions c (b or 1, l, d)."""

    x: Tensor
    c: Tensor


def null_row(asked: Asked, i: int) -> Tensor:
    """The null condition (b or 1, l, d) of step i."""
    null = asked.to.at(i).null
    if null is None:
        raise ValueError("rivals guide: guidance must be other than 1, got no null row")
    return null


def called(unet: UNet, t: Tensor, rows: Sequence[Row], attend: Attend = SDPA) -> list[Tensor]:
    """The predictions (b, 4, y, x) of some rows, one after the other in one call."""
    b, dtype = len(rows[0].x), rows[0].c.dtype
    x = torch.cat([row.x.to(dtype) for row in rows])
    c = torch.cat([row.c.expand(b, -1, -1) for row in rows])
    return [e.to(rows[0].x.dtype) for e in unet(x, t, c, attend).chunk(len(rows))]


def stepped(asked: Asked, i: int, x: Tensor, e_null: Tensor, e: Tensor) -> Tensor:
    """DDIM from x_i along the guided prediction (Ho & Salimans 2022, Eq. 6): x_{i+1}."""
    at = levels(asked.grid, i)
    guided = guide(torch.cat([e_null, e]), True, asked.to.g)
    x0, eps = seen(guided, x, at.a, asked.v)
    return renoise(x0, eps, at.b)
