"""Mask pictures of every mode that mark one region, by white or by transparency."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageDraw

W, H = SIZE = (48, 40)
Region = NDArray[np.bool_]


def ellipse(size: tuple[int, int] = SIZE) -> Region:
    """Where to edit: an ellipse around the middle."""
    image = Image.new("1", size)
    ImageDraw.Draw(image).ellipse((size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2), fill=1)
    return np.asarray(image)


def levels(black: int = 0, white: int = 255, region: Region | None = None) -> NDArray[np.uint8]:
    where = ellipse() if region is None else region
    return np.where(where, np.uint8(white), np.uint8(black))


def grey(black: int = 0, white: int = 255) -> Image.Image:
    return Image.fromarray(levels(black, white))


def with_alpha(color: Any, alpha: Image.Image, mode: str = "RGBA") -> Image.Image:
    """A picture of a color, or of a picture, with an alpha channel."""
    image = color if isinstance(color, Image.Image) else Image.new(mode[:-1], alpha.size, color)
    image = image.copy()
    image.putalpha(alpha)
    return image


def through_file(image: Image.Image, kind: str = "PNG", **how: Any) -> Image.Image:
    """A picture saved and read again."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    back = Image.open(file)
    back.load()
    return back


def deep(values: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint16) * 257)


def opaque() -> Image.Image:
    return Image.new("L", SIZE, 255)


def profiled() -> Image.Image:
    """A grey mask with a colour profile, which must not move its values."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return through_file(grey().convert("RGB"), icc_profile=profile)


def random_rgb() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8))
