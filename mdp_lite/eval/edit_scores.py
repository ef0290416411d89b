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
from mdp_lite.pictures.images import to_tensor

SEEN = 0.3  # of 2, black to white: what differs more from the scenery is the object
OVERLAP = 0.4  # intersection over union from which on an object has kept its place and size


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
    """How much of the object is where it was or where the true answer has it, as a share of both.

    Its shape may be the old one or the new one, whichever fits. One that was to move has no place
    to keep, only its size: the share is then the smaller area in the larger.
    """
    records = [[case.before for case in cases], [case.after for case in cases]]
    scenery = [torch.cat([to_tensor(bare(record)) for record in some]) for some in records]
    whole = [drawn(some) for some in records]
    had, want = (seen(a, b, b) for a, b in zip(whole, scenery, strict=True))
    got = seen(pictures, *scenery)
    overlap = torch.maximum(shared(had, got), shared(want, got))
    moved = torch.tensor(["position" in changed(case.before, case.after) for case in cases])
    areas = torch.stack([want.sum((1, 2)), got.sum((1, 2))]).double()
    shares = areas.amin(0) / areas.amax(0)
    return torch.where(moved, shares, overlap).nan_to_num(0).tolist()


def shared(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (b,) of pixels (b, y, x)."""
    return (a & b).sum((1, 2)).double() / (a | b).sum((1, 2))


def seen(pictures: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The pixels (b, y, x) that show more than a scene without its object, before or after.

    What lies between the two, as the sky of an edit that went half the way, is scenery still.
    """
    along = after - before
    length = along.square().sum(1, keepdim=True).clamp(min=1e-12)
    share = ((pictures - before) * along).sum(1, keepdim=True) / length
    return (pictures - before - share.clamp(0, 1) * along).abs().amax(1) > SEEN
