"""Fitting a picture of any size to the model, and undoing it.

Sizes are (width, height), boxes (left, top, right, bottom), all in whole pixels.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

LANCZOS = Image.Resampling.LANCZOS

Size = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Fit:
    """How a picture is brought to the model's size, and how the result is put back.

    The source_box of the picture is resized to fill the target_box of the target; around it the
    target repeats the pixels at its edge.
    """

    mode: str
    image_size: Size
    target_size: Size
    source_box: Box
    target_box: Box

    def apply(self, picture: Image.Image) -> Image.Image:
        """An RGB picture of image_size -> the model's picture, of target_size."""
        part = _resize(picture, self.source_box, _extent(self.target_box))
        left, top, right, bottom = self.target_box
        width, height = self.target_size
        around = ((top, height - bottom), (left, width - right), (0, 0))
        return Image.fromarray(np.pad(np.asarray(part), around, mode="edge"))

    def undo(self, image: Image.Image, picture: Image.Image) -> Image.Image:
        """The model's picture, of target_size, put back into the picture it was fitted from."""
        whole = picture.copy()
        part = _resize(image, self.target_box, _extent(self.source_box))
        whole.paste(part, self.source_box[:2])
        return whole

    def describe(self) -> str:
        """What was done to the picture, for people; "" if nothing was."""
        done = {
            "cropped at the centre": self.source_box != (0, 0, *self.image_size),
            "resized": _extent(self.source_box) != _extent(self.target_box),
            "padded": self.target_box != (0, 0, *self.target_size),
        }
        return " and ".join(word for word, true in done.items() if true)


def plan_fit(mode: str, image_size: Size, target_size: Size) -> Fit:
    """The fit of a picture to a target by one of names.FITS, around its centre.

    "crop" fills the target and cuts what is outside its aspect ratio; "pad" shows the whole picture
    and fills the rest; "resize" changes the aspect ratio; "own" pads and never resizes.
    """
    (w, h), (width, height) = image_size, target_size
    source, target = image_size, target_size
    wide = w * height > h * width
    if mode == "crop":
        source = (_scale(h, width, height, w), h) if wide else (w, _scale(w, height, width, h))
    elif mode == "pad":
        target = (
            (width, _scale(h, width, w, height)) if wide else (_scale(w, height, h, width), height)
        )
    elif mode == "own":
        target = image_size
    boxes = _center(source, image_size), _center(target, target_size)
    return Fit(mode, image_size, target_size, *boxes)


def _scale(side: int, a: int, b: int, limit: int) -> int:
    """side * a / b in whole pixels, from 1 to limit."""
    return min(max(round(side * a / b), 1), limit)


def _center(inner: Size, outer: Size) -> Box:
    left, top = ((b - a) // 2 for a, b in zip(inner, outer, strict=True))
    return left, top, left + inner[0], top + inner[1]


def _extent(box: Box) -> Size:
    return box[2] - box[0], box[3] - box[1]


def _resize(picture: Image.Image, box: Box, size: Size) -> Image.Image:
    """Resize a part of a picture; without a change of size the pixels stay bit for bit."""
    return picture.crop(box) if _extent(box) == size else picture.resize(size, LANCZOS, box)
