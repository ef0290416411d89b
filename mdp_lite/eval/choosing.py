"""Choosing the best of a few edits of one source, without the true answer.

Two things can be measured: which of the two texts the model itself recognises in an edit, and how
much of the source is preserved outside the region that the two texts disagree on. Of the edits in
which the model recognises the target nearly as well as in the best one, the edit is chosen that
preserves most of the source.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.eval.rivals.task import CallRow, EditedLatents, RivalTask, call_unet
from mdp_lite.eval.sweep import EvalCell, run_cells
from mdp_lite.method.ddim import renoise, v_to_eps
from mdp_lite.pipeline.masks import MASK_CUT

NOISE_LEVELS = (0.3, 0.5, 0.7)  # at which edits are compared, as shares of the way down the grid
SHARE = 0.5  # of the best agreement that is enough; tuned on the tune split
MIDDLE = (0.5,)  # one noise level, for a choice of few rows
LEASHES = (0.5, 1.0, 2.0)  # shares of the local leash, of its look and its pull, to choose from


class TextComparison(NamedTuple):
    """Clean latents as the model sees them under both texts.

    agreement (b,): how much better the target's text explains the noise on them than the source's
    text (as in Li et al. 2023, arXiv 2303.16203, Eq. 5). difference (b, y, x): between the two
    predictions.
    """

    agreement: Tensor
    difference: Tensor


def list_windows(n: int) -> list[EvalCell]:
    """The windows to choose from: epsilon's and x's from short to long."""
    late = round(0.94 * n)
    some = [EvalCell("epsilon", late, round(share * n)) for share in (0.16, 0.36, 0.52, 0.68)]
    return some + [EvalCell("x", n, round(share * n)) for share in (0.16, 0.36, 0.52)]


def list_local_leashes(n: int, leashes: Sequence[float]) -> list[EvalCell]:
    """The local leash at several shares; above 1 its look goes past the source."""
    return [EvalCell("epsilon", n, round(0.34 * n), 1.0, leash, True) for leash in leashes]


def choose(
    task: RivalTask, cells: Sequence[EvalCell], own_noise: bool, z: Tensor, share: float = SHARE,
    levels: Sequence[float] = NOISE_LEVELS,
) -> EditedLatents:  # fmt: skip
    """The best of some windows for each of b edits; z is the noise that compares them, at levels.

    It costs two UNet rows for each edit and for the source at each level, beside the edits.
    """
    latents, rows = run_cells(
        task.unet, task.grid, task.source, task.guidance, cells, own_noise, task.v_prediction
    )
    candidates, source = list(latents.values()), task.source.x[-1]
    difference = compare_texts(task, source, z, levels).difference
    outside = difference <= MASK_CUT * difference.amax((1, 2), keepdim=True)
    agreements = torch.stack([compare_texts(task, x, z, levels).agreement for x in candidates])
    lost = torch.stack([mean_change(x - source, outside) for x in candidates])
    best = pick_best(agreements, lost, share)
    x = torch.stack(candidates)[best, torch.arange(len(best))]
    return EditedLatents(x, rows + 2 * len(levels) * (1 + len(candidates)))


def pick_best(agreements: Tensor, lost: Tensor, share: float) -> Tensor:
    """The index (b,) of the best of k edits, by their agreements (k, b) and losses (k, b).

    An agreement is enough if it has the share of the way from the worst to the best.
    """
    low, high = agreements.amin(0), agreements.amax(0)
    enough = agreements >= low + share * (high - low)
    return torch.where(enough, lost, torch.inf).argmin(0)


def compare_texts(
    task: RivalTask, x: Tensor, z: Tensor, levels: Sequence[float] = NOISE_LEVELS
) -> TextComparison:
    """Predict the noise z on clean latents x (b, 4, y, x) under both texts, and compare."""
    results = []
    for level in levels:
        i = int(level * len(task.grid.t))
        a = task.grid.a[i]
        noisy = renoise(x, z, a)
        rows = [CallRow(noisy, task.source.c), CallRow(noisy, task.guidance.c)]
        pair = call_unet(task.unet, task.grid.t[i], rows)
        source, target = (v_to_eps(e, noisy, a) if task.v_prediction else e for e in pair)
        better = ((source - z) ** 2 - (target - z) ** 2).mean((1, 2, 3))
        results.append(TextComparison(better, (source - target).abs().mean(1)))
    agreements, differences = zip(*results, strict=True)
    return TextComparison(torch.stack(agreements).mean(0), torch.stack(differences).mean(0))


def mean_change(change: Tensor, outside: Tensor) -> Tensor:
    """Mean squared change (b,) of latents (b, 4, y, x) outside, or 0 if nothing is outside."""
    count = outside.sum((1, 2)).clamp(min=1)
    return (change.square().mean(1) * outside).sum((1, 2)) / count
