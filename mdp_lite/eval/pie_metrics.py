"""PIE-Bench's metrics that need no weights, as its evaluate.py computes them.

What a mask leaves out is set to 0 in both pictures and still counts in the mean over all pixels, so
that a larger edit has better figures. Where a mask leaves out everything the figure is the text
"nan", and means pass it over.
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

Figure = float | str  # "nan" where nothing is left

SCALES = {"mse": 1e4, "ssim": 1e2, "structure": 1e3}  # as the published tables print them
PARTS = ("", "_unedit_part", "_edit_part")
METRICS = tuple(f"{name}{part}" for part in PARTS for name in ("psnr", "mse", "ssim"))


def figures(source: Image.Image, edited: Image.Image, mask: NDArray[np.bool_]) -> dict[str, Figure]:
    """All METRICS of an edited picture against its source."""
    before, after = pixels(source), pixels(square(edited))
    if before.shape != after.shape:
        got = f"{tuple(before.shape[2:])} and {tuple(after.shape[2:])}"
        raise ValueError(f"pictures must have one size, got {got}")
    found: dict[str, Figure] = {}
    inside = torch.from_numpy(mask)
    for part, kept in zip(PARTS, (torch.ones_like(inside), ~inside, inside), strict=True):
        empty = part and not kept.any()
        for name, value in compared(before * kept, after * kept).items():
            found[f"{name}{part}"] = "nan" if empty else value
    return found


def compared(a: Tensor, b: Tensor) -> dict[str, float]:
    """Of pictures (1, 3, y, x) in [0, 1]: mean squared error, its PSNR in dB, and SSIM.

    SSIM is torchmetrics' of today: windows at the rim count, of pictures that are mirrored there.
    """
    rim = (WINDOW // 2,) * 4
    framed = (F.pad(one, rim, mode="reflect") for one in (a, b))
    mse = (a - b).double().square().mean().item()
    psnr = 10 * math.log10(1 / mse) if mse else math.inf
    return {"psnr": psnr, "mse": mse, "ssim": ssim(*framed, peak=1.0).item()}


def square(picture: Image.Image) -> Image.Image:
    """The picture; of one that is no square (a collage) its lower right corner of 512 x 512."""
    width, height = picture.size
    if width == height:
        return picture
    return picture.crop((width - SIDE, height - SIDE, width, height))


def pixels(picture: Image.Image) -> Tensor:
    """(1, 3, y, x) in [0, 1]."""
    values = np.array(picture.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(values).permute(2, 0, 1)[None]


def mean(values: Sequence[Figure]) -> float:
    """The mean of what are numbers; NaN of none."""
    known = [value for value in values if not isinstance(value, str)]
    return sum(known) / len(known) if known else math.nan


def format_count(name: str, value: float) -> float:
    """A mean as the published tables print it."""
    return value * SCALES.get(name.split("_")[0], 1.0)
