"""Where an edit happens: a picture, a box or latent cells, converted to pixels and to cells.

White (1) is edited, black (0) stays the source; between them the edit is a share. to_grey alone
decides what a mask picture means, for the Editor, the command line, batches and the service.
Pixels are those of the picture before it was fitted; a cell is one place (y, x) of the latent.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter
from torch import Tensor

from mdp_lite.method.mdp import Denoiser, model_inputs
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import Grid
from mdp_lite.names import BadInput
from mdp_lite.pictures import colour, images
from mdp_lite.pictures.fit import Fit, Size
from mdp_lite.pipeline import check

MASK_STEPS = 5  # steps of the source's path that an automatic mask compares
MASK_CUT = (
    0.15  # share of the greatest difference that counts; best of 0.1 to 0.5 on synthetic edits
)

# Levels up to BLACK of 255 are black, and as near to white they are white: files that were saved as
# JPEG, or whose black is 1, have such noise. At JPEG's quality 75 black and white shapes have noise
# only in the 8x8 blocks that an edge cuts. 12 covers 95% of it, and 0.07% of all black pixels are
# above it, so that a mask's edge stays within a few pixels of where it was drawn.
BLACK = 12
LEVELS = [0] * (BLACK + 1) + list(range(BLACK + 1, 255 - BLACK)) + [255] * (BLACK + 1)

# A picture (or its path), a box, latent cells, or the text "auto".
MaskSpec = Image.Image | str | Path | NDArray[Any] | tuple[int, int, int, int] | Tensor


class Mask(NamedTuple):
    """pixels ("L", of the picture's size), cells (y, x) in 0..1, and what finding it cost.

    channels (1, k, y, x) are what an inpainting UNet reads of it and of the picture around it.
    """

    pixels: Image.Image
    cells: Tensor
    unet_rows: int = 0
    unet_calls: int = 0
    channels: Tensor | None = None


def read_mask(spec: Any, fit: Fit, factor: int) -> Mask:
    """A mask from a picture, a box or latent cells. Raises BadInput, also for an empty mask.

    A picture is a PIL image, a path, or an array of uint8 or bool; to_grey says what it means.
    """
    if isinstance(spec, Tensor):
        return from_cells(_check_cells(spec, fit, factor), fit, factor)
    drawn = isinstance(spec, tuple | list)
    pixels = _draw_box(spec, fit.image_size) if drawn else _read_picture(spec, fit.image_size)
    cells = to_cells(pixels, fit, factor)
    if not cells.any():
        lost = "in the part of the picture that the model sees"
        raise BadInput(f"mask must be white somewhere, got only black {lost}")
    return Mask(pixels, cells)


def to_grey(mask: Image.Image) -> Image.Image:
    """What a mask picture of any mode means, as grey: white is edited, black stays.

    If it has transparency, that alone counts, as in OpenAI's API: transparent pixels are edited,
    opaque ones stay. An opaque picture, whatever its mode, is edited where it is white. Noise near
    black and white is removed (see BLACK); values between them stay, for soft edges. The mask's own
    colour profile is ignored: its values are no colours. Raises BadInput.
    """
    try:
        plain = images.upright(mask.copy())
    except images.DAMAGE as error:
        raise BadInput(f"mask must be whole, got a damaged one ({error})") from None
    plain.info.pop("icc_profile", None)
    transparency = _read_transparency(plain)
    if transparency is not None:
        return transparency
    return images.rgb(plain, "mask", "black").convert("L").point(LEVELS)


def marks_by_transparency(mask: Image.Image) -> bool:
    """Whether to_grey reads this mask picture by its transparency, not by black and white."""
    return _read_transparency(mask) is not None


def to_cells(pixels: Image.Image, fit: Fit, factor: int) -> Tensor:
    """Each cell (y, x) gets the brightest of the pixels that it touches, in 0..1.

    So the edge of a cell cuts off nothing that was marked; padding is black.
    """
    grey = np.asarray(pixels)
    across, down = (_touching_pixels(fit, axis, factor) for axis in (0, 1))
    rows = np.stack([grey[part].max(0, initial=0) for part in down])
    cells = np.stack([rows[:, part].max(1, initial=0) for part in across], axis=1)
    return torch.from_numpy(cells.astype(np.float64) / 255)


def from_cells(cells: Tensor, fit: Fit, factor: int) -> Mask:
    """Latent cells as a mask; a pixel has the value of the cell that its centre lies in."""
    cells = cells.cpu()
    grey = np.ceil(255 * cells.double().numpy()).astype(np.uint8)
    image = Image.fromarray(grey.repeat(factor, 0).repeat(factor, 1))
    (left, top, right, bottom), pixels = fit.source_box, Image.new("L", fit.image_size)
    part = image.resize((right - left, bottom - top), Image.Resampling.NEAREST, fit.target_box)
    pixels.paste(part, (left, top))
    return Mask(pixels, cells)


def paste(
    edited: Image.Image, picture: Image.Image, pixels: Image.Image, feather: int
) -> Image.Image:
    """The edited picture where the mask is white, the original's pixels where it is black.

    Grey is a mixture, so a soft edge has no seam. The change also fades over feather pixels inside
    the mask's edge.
    """
    if feather:
        inside = pixels.point([0] + [255] * 255)
        soft = inside.filter(ImageFilter.BoxBlur(feather))  # 1/2 along a straight edge
        pixels = ImageChops.darker(soft.point([max(0, 2 * v - 255) for v in range(256)]), pixels)
    return Image.composite(edited, picture, pixels)


@torch.no_grad()
def find_differences(
    unet: Denoiser, grid: Grid, path: Trajectory, c: Tensor, inside: Tensor
) -> Tensor:
    """The cells (y, x), 0 or 1, where c (1, l, d) predicts other noise than the source's condition.

    As in DiffEdit (Couairon et al. 2022), |e(x_t, c) - e(x_t, c_A)| is averaged over channels and
    noise levels and cut at a share of its maximum; but x_t are the source path's latents, so no
    noise is drawn. Only cells that are not 0 in inside (y, x) count. If nothing differs, all cells
    are 1.
    """
    n = len(grid.t)
    apart = torch.zeros_like(path.x[0, 0, 0])
    for i in [n * (2 * k + 1) // (2 * MASK_STEPS) for k in range(MASK_STEPS)]:
        x, rows = model_inputs(path.x[i], c, path.c, channels=path.channels)
        to, of = unet(x, grid.t[i].to(x.device), rows).to(apart).chunk(2)
        look = (to - of).abs().mean(1)[0] * (inside > 0).to(x.device)
        apart += look / look.max().clamp(min=1e-12)  # all levels have equal weight
    return (apart >= MASK_CUT * apart.max()).to(apart)


def _check_cells(cells: Tensor, fit: Fit, factor: int) -> Tensor:
    want = (fit.target_size[1] // factor, fit.target_size[0] // factor)
    if tuple(cells.shape) != want:
        got = tuple(cells.shape)
        raise BadInput(f"mask must have the latent's {want} cells (y, x), got {got}")
    if not ((cells >= 0) & (cells <= 1)).all():
        raise BadInput("mask must be finite and from 0 to 1")
    if not cells.any():
        raise BadInput("mask must be above 0 somewhere, got only 0")
    return cells


def _read_picture(spec: Any, size: Size) -> Image.Image:
    """A picture, its path or its array as a grey mask of the picture's size."""
    if isinstance(spec, str | Path):
        spec = images.open_picture(spec, what="mask")
    elif isinstance(spec, np.ndarray):
        spec = _from_array(spec)
    if not isinstance(spec, Image.Image):
        want = "a picture, its path or array, a box (x0, y0, x1, y1), a tensor of latent cells"
        raise BadInput(f"mask must be {want} or auto, got {spec!r:.80}")
    grey = to_grey(spec)
    if grey.size != size:
        (w, h), (width, height) = grey.size, size
        raise BadInput(f"mask must have the picture's size {width}x{height}, got {w}x{h}")
    if not grey.getbbox():
        noise = f"levels up to {BLACK} of 255 are black"
        raise BadInput(f"mask must be white somewhere, got only black ({noise})")
    return grey


def _from_array(mask: NDArray[Any]) -> Image.Image:
    """An array (h, w) of uint8 or bool, or (h, w, 3) or (h, w, 4) of uint8, as a picture."""
    if mask.dtype == np.bool_ and mask.ndim == 2:
        mask = np.where(mask, np.uint8(255), np.uint8(0))
    if mask.dtype != np.uint8 or not (mask.ndim == 2 or mask.shape[2:] in ((3,), (4,))):
        want = "(h, w) of uint8 or bool, or (h, w, 3) or (h, w, 4) of uint8"
        raise BadInput(f"mask must be an array {want}, got {mask.shape} of {mask.dtype}")
    return Image.fromarray(mask)


def _read_transparency(mask: Image.Image) -> Image.Image | None:
    """How transparent each pixel is, white for wholly; None if all are opaque, but for noise."""
    if not mask.has_transparency_data:
        return None
    if mask.mode in colour.DEEP:  # 16-bit grey, with one of its levels transparent
        clear = np.asarray(mask) == mask.info["transparency"]
        grey = Image.fromarray(np.where(clear, np.uint8(255), np.uint8(0)))
    else:
        grey = ImageChops.invert(mask.convert("RGBA").getchannel("A"))
    grey = grey.point(LEVELS)
    return grey if grey.getbbox() else None


def _draw_box(box: Any, size: Size) -> Image.Image:
    """A box in the picture's pixels as a mask."""
    if len(box) != 4:
        raise BadInput(f"a box must be four whole numbers (x0, y0, x1, y1), got {box!r}")
    x0, y0, x1, y1 = (check.whole("each number of a box", value) for value in box)
    if not (0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]):
        want = f"0 <= x0 < x1 <= {size[0]} and 0 <= y0 < y1 <= {size[1]}"
        raise BadInput(f"a box must have {want}, got {tuple(box)}")
    pixels = Image.new("L", size)
    pixels.paste(255, (x0, y0, x1, y1))
    return pixels


def _touching_pixels(fit: Fit, axis: int, factor: int) -> list[slice]:
    """The picture's pixels that each cell along an axis (0 across, 1 down) touches."""
    first, last = fit.target_box[axis], fit.target_box[axis + 2]
    start, stop = fit.source_box[axis], fit.source_box[axis + 2]
    cells = []
    for edge in range(0, fit.target_size[axis], factor):
        width, length = stop - start, last - first
        a, b = (min(max(side, first), last) - first for side in (edge, edge + factor))
        cells.append(slice(start + a * width // length, start - (-b * width // length)))
    return cells
