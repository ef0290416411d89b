"""PIE-Bench's metrics that need no network, as its evaluate.py computes them.

Pixels outside a mask are set to 0 in both pictures but still count in the mean over all pixels, so
a larger edit has better figures. If a mask is empty, the figure is the text "nan", and means skip
it. perception.py has those by networks; there too the protocol wins over what one would expect.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mdp_lite.eval.metrics import WINDOW, ssim
from mdp_lite.eval.pie import SIDE
from mdp_lite.names import BadInput

Figure = float | str  # "nan" if the mask is empty

SCALES = {"mse": 1e4, "ssim": 1e2, "structure": 1e3}  # as the published tables print them
PARTS = ("", "_unedit_part", "_edit_part")
METRICS = tuple(f"{name}{part}" for part in PARTS for name in ("psnr", "mse", "ssim"))


def compute_metrics(
    source: Image.Image, edited: Image.Image, mask: NDArray[np.bool_]
) -> dict[str, Figure]:
    """All METRICS of an edited picture against its source. Raises BadInput for unequal sizes."""
    a, b = to_pixels(source), to_pixels(crop_square(edited))
    if a.shape != b.shape:
        got = f"{tuple(a.shape[2:])} and {tuple(b.shape[2:])}"
        raise BadInput(f"pictures must have one size, got {got}")
    figures: dict[str, Figure] = {}
    inside = torch.from_numpy(mask)
    for part, region in zip(PARTS, (torch.ones_like(inside), ~inside, inside), strict=True):
        empty = part and not region.any()
        for name, value in compare(a * region, b * region).items():
            figures[f"{name}{part}"] = "nan" if empty else value
    return figures


def compare(a: Tensor, b: Tensor) -> dict[str, float]:
    """Mean squared error of pictures (1, 3, y, x) in [0, 1], its PSNR in dB, and SSIM.

    SSIM is that of today's torchmetrics: pictures are mirrored at the rim, and windows there count.
    """
    rim = (WINDOW // 2,) * 4
    mirrored = (F.pad(one, rim, mode="reflect") for one in (a, b))
    mse = (a - b).double().square().mean().item()
    psnr = 10 * math.log10(1 / mse) if mse else math.inf
    return {"psnr": psnr, "mse": mse, "ssim": ssim(*mirrored, peak=1.0).item()}


def crop_square(picture: Image.Image) -> Image.Image:
    """The picture if it is square, else (a collage) its lower right corner of 512 x 512."""
    width, height = picture.size
    if width == height:
        return picture
    return picture.crop((width - SIDE, height - SIDE, width, height))


def to_pixels(picture: Image.Image) -> Tensor:
    """A picture as (1, 3, y, x) in [0, 1]."""
    values = np.array(picture.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(values).permute(2, 0, 1)[None]


def mean(values: Sequence[Figure]) -> float:
    """The mean of the figures that are numbers; NaN if there are none."""
    known = [value for value in values if not isinstance(value, str)]
    return sum(known) / len(known) if known else math.nan


def to_table_units(name: str, value: float) -> float:
    """A mean of this metric in the units of the published tables."""
    return value * SCALES.get(name.split("_")[0], 1.0)
