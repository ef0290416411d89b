"""Where an edit happens: a picture, a box or latent cells, brought to pixels and to cells.

White (1) is edited, black (0) stays the source. What is transparent in a mask picture counts as
black. Pixels are the picture's own, before it was fitted; a cell is one place (y, x) of the latent.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageChops, ImageFilter
from torch import Tensor

from mdp_lite.method.mdp import Denoiser, asked
from mdp_lite.method.sample import Path
from mdp_lite.method.schedule import Grid
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import Frame, Size
from mdp_lite.pipeline import check

LOOKS = 5  # steps of the source's path that an automatic mask looks at
CUT = 0.15  # share of the greatest difference that counts: best of 0.1 to 0.5 on drawn edits

Where = Image.Image | tuple[int, int, int, int] | Tensor | str  # "auto" is the one text


class Mask(NamedTuple):
    """pixels ("L", of the picture's own size), cells (y, x) in 0..1, and what finding it cost."""

    pixels: Image.Image
    cells: Tensor
    unet_rows: int = 0
    unet_calls: int = 0


def read(where: Any, frame: Frame, factor: int) -> Mask:
    """A mask picture, a box or latent cells, checked; an edit has to have some place."""
    if isinstance(where, Tensor):
        return from_cells(_checked(where, frame, factor), frame, factor)
    if isinstance(where, Image.Image):
        pixels = _grey(where, frame.size)
    elif isinstance(where, tuple | list):
        pixels = _boxed(where, frame.size)
    else:
        want = "a PIL image, a box (x0, y0, x1, y1), a tensor of latent cells or auto"
        raise ValueError(f"mask must be {want}, got {where!r:.80}")
    cells = to_cells(pixels, frame, factor)
    if not cells.any():
        lost = " in the part of the picture that the model sees" if pixels.getbbox() else ""
        raise ValueError(f"mask must be white somewhere, got only black{lost}")
    return Mask(pixels, cells)


def to_cells(pixels: Image.Image, frame: Frame, factor: int) -> Tensor:
    """Each cell (y, x) has the brightest of the pixels that it touches, in 0..1.

    So no part of what was marked is cut off by the edge of a cell; padding is black.
    """
    grey = np.asarray(pixels, dtype=np.float64) / 255
    across, down = (_touched(frame, axis, factor) for axis in (0, 1))
    rows = np.stack([grey[part].max(0, initial=0) for part in down])
    return torch.from_numpy(np.stack([rows[:, part].max(1, initial=0) for part in across], axis=1))


def from_cells(cells: Tensor, frame: Frame, factor: int) -> Mask:
    """Latent cells as a mask; a pixel has the value of the cell that its middle lies in."""
    grey = np.ceil(255 * cells.double().cpu().numpy()).astype(np.uint8)
    shown = Image.fromarray(grey.repeat(factor, 0).repeat(factor, 1))
    (left, top, right, bottom), black = frame.seen, Image.new("L", frame.size)
    part = shown.resize((right - left, bottom - top), Image.Resampling.NEAREST, frame.held)
    black.paste(part, (left, top))
    return Mask(black, cells)


def pasted(
    made: Image.Image, picture: Image.Image, pixels: Image.Image, feather: int
) -> Image.Image:
    """What was made where the mask is not black, the picture's own pixels where it is.

    feather is how many pixels inside the mask's edge the change fades over.
    """
    inside = pixels.point([0] + [255] * 255)
    if feather:
        soft = inside.filter(ImageFilter.BoxBlur(feather))  # 1/2 along a straight edge
        inside = ImageChops.darker(soft.point([max(0, 2 * v - 255) for v in range(256)]), inside)
    return Image.composite(made, picture, inside)


@torch.no_grad()
def differing(unet: Denoiser, grid: Grid, path: Path, c: Tensor, among: Tensor) -> Tensor:
    """The cells (y, x), 0 or 1, where c (1, l, d) asks for other noise than the source's condition.

    As in DiffEdit (Couairon et al. 2022), |e(x_t, c) - e(x_t, c_A)| is averaged over channels and
    levels of noise and cut at a share of what it reaches; but x_t are the source path's own, so
    that no noise is drawn. Only cells that are not 0 in among (y, x) count; where nothing differs,
    all cells are 1.
    """
    n = len(grid.t)
    apart = torch.zeros_like(path.x[0, 0, 0])
    for i in [n * (2 * k + 1) // (2 * LOOKS) for k in range(LOOKS)]:
        x, rows = asked(path.x[i], c, path.c)
        to, of = unet(x, grid.t[i].to(x.device), rows).to(apart).chunk(2)
        look = (to - of).abs().mean(1)[0] * (among > 0).to(x.device)
        apart += look / look.max().clamp(min=1e-12)  # all levels count alike
    return (apart >= CUT * apart.max()).to(apart)


def _checked(cells: Tensor, frame: Frame, factor: int) -> Tensor:
    want = (frame.target[1] // factor, frame.target[0] // factor)
    if tuple(cells.shape) != want:
        got = tuple(cells.shape)
        raise ValueError(f"mask must have the latent's {want} cells (y, x), got {got}")
    if not ((cells >= 0) & (cells <= 1)).all():
        raise ValueError("mask must be finite and from 0 to 1")
    if not cells.any():
        raise ValueError("mask must be above 0 somewhere, got only 0")
    return cells


def _grey(mask: Image.Image, size: Size) -> Image.Image:
    """A mask picture of any mode as grey, in the picture's own pixels."""
    shown = images.rgb(mask, "mask", "black").convert("L")
    if shown.size != size:
        (w, h), (width, height) = shown.size, size
        raise ValueError(f"mask must have the picture's size {width}x{height}, got {w}x{h}")
    return shown


def _boxed(box: Any, size: Size) -> Image.Image:
    """A box in the picture's own pixels as a mask."""
    if len(box) != 4:
        raise ValueError(f"a box must be four whole numbers (x0, y0, x1, y1), got {box!r}")
    x0, y0, x1, y1 = (check.whole("each number of a box", value) for value in box)
    if not (0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]):
        want = f"0 <= x0 < x1 <= {size[0]} and 0 <= y0 < y1 <= {size[1]}"
        raise ValueError(f"a box must have {want}, got {tuple(box)}")
    pixels = Image.new("L", size)
    pixels.paste(255, (x0, y0, x1, y1))
    return pixels


def _touched(frame: Frame, axis: int, factor: int) -> list[slice]:
    """The picture's own pixels that each cell along an axis (0 across, 1 down) touches."""
    first, last = frame.held[axis], frame.held[axis + 2]
    start, stop = frame.seen[axis], frame.seen[axis + 2]
    cells = []
    for edge in range(0, frame.target[axis], factor):
        width, held = stop - start, last - first
        a, b = (min(max(side, first), last) - first for side in (edge, edge + factor))
        cells.append(slice(start + a * width // held, start - (-b * width // held)))
    return cells
