"""Fitting a picture of any size to the model, and undoing it.

Sizes are (width, height), boxes (left, top, right, bottom), all in whole pixels.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

FITS = ("crop", "pad", "resize", "own")
LANCZOS = Image.Resampling.LANCZOS

Size = tuple[int, int]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Frame:
    """How a picture of a size was fitted to the model's target size.

    The part seen of the picture was resized to fill the part held of the target; the rest of the
    target repeats the pixels at its edge.
    """

    fit: str
    size: Size
    target: Size
    seen: Box
    held: Box

    def fitted(self, picture: Image.Image) -> Image.Image:
        """An RGB picture of the size -> what the model reads, of the target size."""
        held = _resized(picture, self.seen, _extent(self.held))
        left, top, right, bottom = self.held
        width, height = self.target
        around = ((top, height - bottom), (left, width - right), (0, 0))
        return Image.fromarray(np.pad(np.asarray(held), around, mode="edge"))

    def undone(self, made: Image.Image, picture: Image.Image) -> Image.Image:
        """What the model made, of the target size, put back into the picture it was fitted from."""
        whole = picture.copy()
        whole.paste(_resized(made, self.held, _extent(self.seen)), self.seen[:2])
        return whole

    def told(self) -> str:
        """What was done to the picture, for people; "" where nothing was."""
        done = {
            "cropped at the centre": self.seen != (0, 0, *self.size),
            "resized": _extent(self.seen) != _extent(self.held),
            "padded": self.held != (0, 0, *self.target),
        }
        return " and ".join(word for word, true in done.items() if true)


def frame(fit: str, size: Size, target: Size) -> Frame:
    """The frame of one of FITS around the centre of a picture.

    "crop" fills the target and leaves out what is beyond its aspect ratio; "pad" shows the whole
    picture and fills the rest; "resize" bends it to the target; "own" pads and never resizes.
    """
    (w, h), (width, height) = size, target
    seen, held = size, target
    if fit == "crop":
        wide = w * height > h * width
        seen = (_share(h, width, height, w), h) if wide else (w, _share(w, height, width, h))
    elif fit == "pad":
        wide = w * height > h * width
        held = (
            (width, _share(h, width, w, height)) if wide else (_share(w, height, h, width), height)
        )
    elif fit == "own":
        held = size
    return Frame(fit, size, target, _centred(seen, size), _centred(held, target))


def _share(side: int, a: int, b: int, most: int) -> int:
    """side * a / b in whole pixels, from 1 to most."""
    return min(max(round(side * a / b), 1), most)


def _centred(inner: Size, outer: Size) -> Box:
    left, top = ((b - a) // 2 for a, b in zip(inner, outer, strict=True))
    return left, top, left + inner[0], top + inner[1]


def _extent(box: Box) -> Size:
    return box[2] - box[0], box[3] - box[1]


def _resized(picture: Image.Image, box: Box, size: Size) -> Image.Image:
    """A part of a picture at another size; its pixels bit for bit where the size is its own."""
    return picture.crop(box) if _extent(box) == size else picture.resize(size, LANCZOS, box)
