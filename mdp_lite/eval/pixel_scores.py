"""PaintBench's measures: which share of the pixels is right, where they were to change or to stay.

From its docs/metric.md and src/eval.py (github.com/PaintBench/PaintBench, commit e91d8ef). Pictures
are (b, 3, y, x) in [-1, 1]; they are compared as files of 8 bits a channel.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.eval.metrics import quantize

THRESHOLDS = range(11)  # of the colour difference; the measures are means over all of them
# sRGB's primaries in CIE XYZ under D65, and the white of that light (IEC 61966-2-1).
TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE = (0.95047, 1.0, 1.08883)


class PixelScores(NamedTuple):
    """Shares (b,): of the pixels to change that are right, of those to stay, and the overlap.

    overlap = right and changed / (to change or wrongly changed). Where nothing is to change, or to
    stay, that share is 1.
    """

    edit: Tensor
    preservation: Tensor
    overlap: Tensor


def score_pixels(picture: Tensor, source: Tensor, truth: Tensor) -> PixelScores:
    """The shares of edits, of their sources and true answers; means over THRESHOLDS.

    A pixel is right if its colour is at most the threshold from the true one.
    """
    old, want = quantize(source.double()), quantize(truth.double())
    to_change = (old != want).any(1)
    apart = color_difference(picture, truth)
    each = [_score_at(apart <= limit, to_change) for limit in THRESHOLDS]
    return PixelScores(*(torch.stack(column).mean(0) for column in zip(*each, strict=True)))


def _score_at(right: Tensor, to_change: Tensor) -> PixelScores:
    """The shares (b,) by which pixels (b, y, x) are right."""
    changed = (right & to_change).sum((1, 2)).double()
    wrong = (~right & ~to_change).sum((1, 2)).double()
    edits, others = (mask.sum((1, 2)).double() for mask in (to_change, ~to_change))
    return PixelScores(
        _divide(changed, edits), _divide(others - wrong, others), _divide(changed, edits + wrong)
    )


def _divide(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole, 1.0)


def color_difference(picture: Tensor, other: Tensor) -> Tensor:
    """CIE76: the distance (b, y, x) of two colours in L*a*b*; 2 is just noticeable."""
    return (to_lab(picture) - to_lab(other)).norm(dim=1)


def to_lab(picture: Tensor) -> Tensor:
    """sRGB in [-1, 1], rounded to 8 bits, -> CIE 1976 L*a*b* (b, 3, y, x) under D65."""
    rgb = (quantize(picture.double()) + 1) / 2
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("kc,bcyx->bkyx", linear.new_tensor(TO_XYZ), linear)
    xyz = xyz / linear.new_tensor(WHITE).view(3, 1, 1)
    root = xyz.clamp(min=0) ** (1 / 3)
    f_x, f_y, f_z = torch.where(xyz > (6 / 29) ** 3, root, xyz * (29 / 6) ** 2 / 3 + 4 / 29).unbind(
        1
    )
    return torch.stack([116 * f_y - 16, 500 * (f_x - f_y), 200 * (f_y - f_z)], dim=1)
