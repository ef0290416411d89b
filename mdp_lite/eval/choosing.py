"""Choosing among a few edits of one source without the true answer.

Two things can be measured: which of the two texts the model itself finds in an edit, and how much
of the source is left where the texts have no quarrel. The edit that leaves the most of the source
is taken, of those that the model finds to show the target nearly as well as the best one does.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.eval.rivals.asked import Asked, Edited, Row, called
from mdp_lite.eval.sweep import Cell, swept
from mdp_lite.method.ddim import renoise, v_to_eps
from mdp_lite.pipeline.masks import CUT

LOOKS = (0.3, 0.5, 0.7)  # of the way down the grid, where noise is put on what is looked at
SHARE = 0.5  # of the best agreement that is enough: chosen on the tune split


class Look(NamedTuple):
    """What the model makes of clean latents under both texts.

    agreement (b,): how much better the target's text explains the noise on them than the source's
    does (as in Li et al. 2023, arXiv 2303.16203, Eq. 5); apart (b, y, x): where the two differ.
    """

    agreement: Tensor
    apart: Tensor


def handful(n: int) -> list[Cell]:
    """The windows that are tried: epsilon's and x's from short ones to long ones."""
    late = round(0.94 * n)
    some = [Cell("epsilon", late, round(share * n)) for share in (0.16, 0.36, 0.52, 0.68)]
    return some + [Cell("x", n, round(share * n)) for share in (0.16, 0.36, 0.52)]


def choose(
    asked: Asked, cells: Sequence[Cell], sampled: bool, z: Tensor, share: float = SHARE
) -> Edited:
    """The edit at the best of some windows, for each of b; z is the noise to look through."""
    found, rows = swept(asked.unet, asked.grid, asked.source, asked.to, cells, sampled, asked.v)
    tried, before = list(found.values()), asked.source.x[-1]
    outside = (seen := look(asked, before, z)).apart <= CUT * seen.apart.amax((1, 2), keepdim=True)
    agreements = torch.stack([look(asked, x, z).agreement for x in tried])
    lost = torch.stack([left_out(x - before, outside) for x in tried])
    best = picked(agreements, lost, share)
    x = torch.stack(tried)[best, torch.arange(len(best))]
    return Edited(x, rows + 2 * len(LOOKS) * (1 + len(tried)))


def picked(agreements: Tensor, lost: Tensor, share: float) -> Tensor:
    """Which of k edits is taken (b,), by how they agree and what they lost (k, b).

    Between the worst agreement and the best, what has the share of the way is good enough.
    """
    low, high = agreements.amin(0), agreements.amax(0)
    enough = agreements >= low + share * (high - low)
    return torch.where(enough, lost, torch.inf).argmin(0)


def look(asked: Asked, x: Tensor, z: Tensor) -> Look:
    """The model's own view of clean latents x (b, 4, y, x) through noise z."""
    found = []
    for place in LOOKS:
        i = int(place * len(asked.grid.t))
        a = asked.grid.a[i]
        noisy = renoise(x, z, a)
        rows = [Row(noisy, asked.source.c), Row(noisy, asked.to.c)]
        pair = called(asked.unet, asked.grid.t[i], rows)
        source, target = (v_to_eps(e, noisy, a) if asked.v else e for e in pair)
        better = ((source - z) ** 2 - (target - z) ** 2).mean((1, 2, 3))
        found.append(Look(better, (source - target).abs().mean(1)))
    agreements, aparts = zip(*found, strict=True)
    return Look(torch.stack(agreements).mean(0), torch.stack(aparts).mean(0))


def left_out(change: Tensor, outside: Tensor) -> Tensor:
    """Mean squared change (b,) of latents (b, 4, y, x) outside, or 0 where there is no outside."""
    count = outside.sum((1, 2)).clamp(min=1)
    return (change.square().mean(1) * outside).sum((1, 2)) / count
