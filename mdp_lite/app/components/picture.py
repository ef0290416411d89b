"""The picture to edit and where it may change: the component, and what Python reads of its value.

The value is {"picture": {"url", "width", "height", "name"} or None, "mask": {"where", "png",
"feather"}, "examples": [{"id", "url", "label"}], "problem": a sentence or None}. Browsers send it
back, so every field that is read here is checked first.
"""

import base64
import binascii
import io
from typing import Any, NamedTuple

import gradio as gr
from PIL import Image

from mdp_lite.app.components.build import build_component
from mdp_lite.app.form import MAX_FEATHER, WHERES
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pictures.png_chunks import SIGNATURE
from mdp_lite.pipeline import check
from mdp_lite.pipeline.masks import to_grey

MAX_SIDE = 1024  # pixels of a mask's longer side
MAX_BYTES = 20 * 2**20  # of a picture's file; the page says so before it is sent
MAX_URL = 4 * 2**20  # characters of a mask as a data URL
PREFIX = "data:image/png;base64,"
EVERYWHERE: dict[str, Any] = {"where": "everywhere", "png": None, "feather": 0}


class Region(NamedTuple):
    """Where an edit may happen: a word of WHERES, feather in the picture's pixels, the mask.

    The mask ("L", white is edited) has the picture's size; it is None unless where is "painted".
    """

    where: str
    feather: int
    mask: Image.Image | None


def build_picture(value: dict[str, Any] | None = None) -> gr.HTML:
    """The component. A hidden gr.File with the id picture-file must stand on the same page.

    Events: change (any new value, also one that Python sent), input (a person changed the mask),
    clear (a person removed the picture), example_select with {id}.
    """
    limits = {"side": MAX_SIDE, "feather": MAX_FEATHER, "bytes": MAX_BYTES}
    return build_component("picture", value or empty_value(), limits=limits)


def empty_value(examples: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The component's value without a picture; examples are {"id", "url", "label"}."""
    return {"picture": None, "mask": EVERYWHERE, "examples": examples or [], "problem": None}


def read_mask(value: Any, size: tuple[int, int]) -> Image.Image | None:
    """The mask of a value: see read_region."""
    return read_region(value, size).mask


def read_region(value: Any, size: tuple[int, int]) -> Region:
    """Where the edit may happen, from a component's value; size is the picture's (width, height).

    Raises BadInput for a value that this page does not send, and for a mask that marks nothing.
    """
    mask = _read_dict("value of the picture", value).get("mask") or EVERYWHERE
    mask = _read_dict("mask", mask)
    where = check.one_of("where", mask.get("where"), WHERES)
    feather = check.whole("feather", mask.get("feather", 0))
    if not 0 <= feather <= MAX_FEATHER:
        raise BadInput(f"feather must be from 0 to {MAX_FEATHER}, got {feather}")
    painted = decode_mask(mask.get("png"), size) if where == "painted" else None
    return Region(where, feather, painted)


def decode_mask(url: Any, size: tuple[int, int]) -> Image.Image:
    """A painted mask ("L", white is edited) from a data URL, scaled to size.

    Raises BadInput for another URL, one that is too long or no PNG, too many pixels, and for a mask
    without white.
    """
    grey = to_grey(_open_png(_read_bytes(url)).convert("L"))
    if grey.getbbox() is None:
        raise BadInput("paint where the edit may happen first, or let it happen everywhere")
    return grey if grey.size == size else grey.resize(size, Image.Resampling.BILINEAR)


def encode_mask(mask: Image.Image) -> str:
    """A mask ("L") as the data URL that a value has, at most MAX_SIDE on the longer side."""
    small = mask.convert("L")
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BILINEAR)
    return PREFIX + base64.b64encode(images.png_bytes(small, None)).decode("ascii")


def _read_dict(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{name} must be an object, got {type(value).__name__}")
    return value


def _read_bytes(url: Any) -> bytes:
    if not isinstance(url, str) or not url.startswith(PREFIX):
        raise BadInput(f"mask must be a PNG as a data URL, got {str(url)[:40]!r}")
    if len(url) > MAX_URL:
        raise BadInput(f"mask must have at most {MAX_URL >> 20} MiB, got {len(url)} characters")
    try:
        return base64.b64decode(url.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise BadInput("mask must be a PNG in base64, got other characters") from None


def _open_png(data: bytes) -> Image.Image:
    """The decoded PNG; its size is checked before it is decoded."""
    if not data.startswith(SIGNATURE):
        raise BadInput("mask must be a PNG, got another file")
    width, height = images.measure_picture(io.BytesIO(data), "mask", MAX_SIDE**2, "mask")
    if max(width, height) > MAX_SIDE:
        raise BadInput(f"mask must be within {MAX_SIDE}x{MAX_SIDE} pixels, got {width}x{height}")
    return images.decode_picture(io.BytesIO(data), "mask", MAX_SIDE**2, "mask")
