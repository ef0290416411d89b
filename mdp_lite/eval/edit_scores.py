"""What an edit of the suite is scored by: the fields it changed, what it kept, and its distances.

Pictures are (b, 3, 64, 64) in [-1, 1].
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mdp_lite.eval.cases import Case
from mdp_lite.eval.edits import changed
from mdp_lite.eval.metrics import psnr, ssim
from mdp_lite.eval.reader import Reader, Reading, read
from mdp_lite.eval.score import Figures, drawn
from mdp_lite.eval.world import bare, mask
from mdp_lite.images import to_tensor

SEEN = (
    0.3  # of 2, black to white: what differs more from the scene without its object is the object
)
OVERLAP = 0.5  # intersection over union from which on an object has kept its place and size


def scores(
    reader: Reader, cases: Sequence[Case], before: Tensor, after: Tensor, answers: bool
) -> Figures:
    """All measures of edits from pictures before to pictures after, one number a case.

    right: the changed fields read as wanted; fields: all others read as before; kept: that, and
    where true answers are known the object has its place and size (overlap); both: right and kept.
    source: PSNR in dB to the picture before.
    """
    found = verdicts(reader, cases, before, after)
    if answers:
        truth, inside = drawn(case.after for case in cases), regions(cases)
        overlaps = placed(cases, after)
        found["overlap"] = overlaps
        found |= {
            "psnr": psnr(after, truth).tolist(),
            "psnr inside": psnr(after, truth, inside).tolist(),
            "psnr outside": psnr(after, truth, ~inside).tolist(),
            "ssim": ssim(after, truth).tolist(),
            "ssim inside": ssim(after, truth, inside).tolist(),
            "ssim outside": ssim(after, truth, ~inside).tolist(),
        }
        pairs = zip(found["fields"], overlaps, strict=True)
        found["kept"] = [float(same and overlap >= OVERLAP) for same, overlap in pairs]
    else:
        found["kept"] = list(found["fields"])
    pairs = zip(found["right"], found["kept"], strict=True)
    return found | {
        "both": [float(right and kept) for right, kept in pairs],
        "source": psnr(after, before).tolist(),
    }


def verdicts(reader: Reader, cases: Sequence[Case], before: Tensor, after: Tensor) -> Figures:
    """right and fields (0 or 1 a case), as a reader sees the pictures before and after."""
    readings = zip(cases, read(reader, before), read(reader, after), strict=True)
    found = [judged(case, old, new) for case, old, new in readings]
    right, fields = ([float(part) for part in column] for column in zip(*found, strict=True))
    return {"right": right, "fields": fields}


def judged(case: Case, old: Reading, new: Reading) -> tuple[bool, bool]:
    """Whether all fields that were to change have their values, and all others those of before."""
    fields = changed(case.before, case.after)
    right = all(new[name] == getattr(case.after, name) for name in fields)
    return right, all(new[name] == old[name] for name in old if name not in fields)


def unlike(reader: Reader, cases: Sequence[Case], pictures: Tensor) -> list[bool]:
    """Whether each picture shows none of what its edit is to change already."""
    return [
        all(found[name] != getattr(case.after, name) for name in changed(case.before, case.after))
        for case, found in zip(cases, read(reader, pictures), strict=True)
    ]


def regions(cases: Sequence[Case]) -> Tensor:
    """The pixels (b, y, x) that an edit may change: those its fields own, before and after."""
    owned = [
        np.logical_or.reduce([
            mask(record, name)
            for name in changed(case.before, case.after)
            for record in (case.before, case.after)
        ])
        for case in cases
    ]  # fmt: skip
    return torch.from_numpy(np.stack(owned))


def placed(cases: Sequence[Case], pictures: Tensor) -> list[float]:
    """How much of the true answer's object is where the picture has its own, as a share of both.

    An object is what differs from the true answer without it. One that was to move has no place to
    keep, only its size: the share is then the smaller area in the larger.
    """
    without = torch.cat([to_tensor(bare(case.after)) for case in cases])
    want, got = (seen(some, without) for some in (drawn(c.after for c in cases), pictures))
    moved = torch.tensor(["position" in changed(case.before, case.after) for case in cases])
    areas = torch.stack([want.sum((1, 2)), got.sum((1, 2))]).double()
    shares = areas.amin(0) / areas.amax(0)
    overlap = (want & got).sum((1, 2)) / (want | got).sum((1, 2))
    return torch.where(moved, shares, overlap.double()).nan_to_num(0).tolist()


def seen(pictures: Tensor, without: Tensor) -> Tensor:
    """The pixels (b, y, x) where a picture shows more than the scene without its object."""
    return (pictures - without).abs().amax(1) > SEEN
