"""Colour management: a picture with a colour profile is converted to sRGB when it is read.

Models are trained on sRGB and everything that mdp_lite writes is sRGB, so a screen shows the pixels
outside a mask as it shows them in the original.
"""

import io
import itertools
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms

PROFILE = "icc_profile"  # where Pillow keeps the bytes of a profile
DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # 16-bit grey, which convert("RGB") would clip
GREY = ("1", "L", *DEEP)
SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of profiles, and their modes
LEVELS = (0, 32, 64, 96, 128, 160, 192, 224, 255)  # of the colours that are compared with sRGB
ROWS = 64  # of a picture that are scaled at a time
TOLERANCE = 1  # of 255: a profile that moves no colour by more is sRGB itself
DATE = bytes([7, 234, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])  # of our profile: equal bytes every day
FAILURES = (OSError, ValueError, TypeError, ImageCms.PyCMSError)
PLAIN_CMYK = "its CMYK, which has no usable colour profile, was converted by the plain formula"


class Converted(NamedTuple):
    """A picture in sRGB without a profile, and a sentence on what changed its colours, if any."""

    image: Image.Image
    change: str | None = None


def to_srgb(image: Image.Image) -> Converted:
    """The picture in sRGB without a profile; alpha stays as it is.

    Nothing changes if there is no profile or it is sRGB itself. A profile that is damaged or
    describes another mode is ignored, as viewers do. The conversion is Pillow's own (LittleCMS,
    perceptual intent).
    """
    data = image.info.get(PROFILE)
    if not data and data != b"":
        return _ignore(image, None)
    profile = read_profile(data)
    if profile is None:
        return _ignore(image, "its colour profile can't be read and was ignored")
    name, space = describe_profile(profile), find_space(profile)
    mode = SPACES.get(space, "")
    colours, alpha = split_alpha(image)
    colours = match_mode(colours, mode)
    if colours is None:
        change = f"its colour profile {name} is for {space}, not {image.mode}: ignored"
        return _ignore(image, change)
    try:
        if mode != "CMYK" and is_srgb(profile, mode):
            return _ignore(image, None)
        converted = ImageCms.profileToProfile(colours, profile, srgb(), outputMode="RGB")
    except FAILURES:
        return _ignore(image, f"its colour profile {name} can't be used and was ignored")
    assert converted is not None  # which it is only in place
    if alpha is not None:
        converted.putalpha(alpha)
    return Converted(drop_profile(converted), f"its colours were converted from {name} to sRGB")


def _ignore(image: Image.Image, change: str | None) -> Converted:
    """The picture without its profile; of CMYK, how it becomes RGB."""
    plain = PLAIN_CMYK if image.mode == "CMYK" else None
    return Converted(drop_profile(image), "; ".join(filter(None, (change, plain))) or None)


def read_profile(data: Any) -> ImageCms.ImageCmsProfile | None:
    """A profile from its bytes; None if they are damaged."""
    if not isinstance(data, bytes) or not data:
        return None
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(data))
    except FAILURES:
        return None


def find_space(profile: ImageCms.ImageCmsProfile) -> str:
    """The colours that a profile describes, such as RGB, GRAY or CMYK."""
    core: Any = profile.profile
    try:
        return core.xcolor_space.strip()
    except FAILURES:  # bytes that are no text
        return "unknown colours"


def describe_profile(profile: ImageCms.ImageCmsProfile) -> str:
    """The name that a profile has for people."""
    try:
        words = ImageCms.getProfileDescription(profile)
    except FAILURES:
        words = ""
    plain = "".join(letter if letter.isprintable() else " " for letter in words)
    return " ".join(plain.split())[:80] or "an unnamed profile"


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours of a picture, and its alpha if it has transparency."""
    if image.mode in DEEP:
        return scale_deep(image), None
    if not image.has_transparency_data:
        return (image if image.mode in (*GREY, "CMYK") else image.convert("RGB")), None
    whole = to_rgba(image)
    grey = image.mode in ("LA", "La", "L", "1")
    colours = whole.getchannel("G") if grey else whole.convert("RGB")
    return colours, whole.getchannel("A")


def to_rgba(image: Image.Image) -> Image.Image:
    """A picture with transparency as RGBA, itself if it is.

    Pillow has no direct way from premultiplied grey.
    """
    if image.mode == "RGBA":
        return image
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def match_mode(colours: Image.Image, mode: str) -> Image.Image | None:
    """The picture in the mode that a profile describes; None if it describes another kind."""
    if colours.mode == mode:
        return colours
    if colours.mode in GREY and mode in ("L", "RGB"):  # many grey JPEGs have an RGB profile
        return colours.convert(mode)
    return None


def scale_deep(image: Image.Image) -> Image.Image:
    """Grey of 16 bits scaled to 8, where Pillow's convert would clip it.

    It takes a few rows at a time: the steps between have 8 bytes a pixel.
    """
    deep, grey = np.asarray(image), np.empty(image.size[::-1], dtype=np.uint8)
    for top in range(0, len(deep), ROWS):
        part = deep[top : top + ROWS].astype(np.float64)
        grey[top : top + ROWS] = np.rint(part / 257).clip(0, 255)
    return Image.fromarray(grey)


@cache
def srgb() -> ImageCms.ImageCmsProfile:
    """LittleCMS's own sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def srgb_bytes() -> bytes:
    """The same as bytes, for files of formats that can't say sRGB otherwise."""
    data = srgb().tobytes()
    return data[:24] + DATE + data[36:]


def is_srgb(profile: ImageCms.ImageCmsProfile, mode: str) -> bool:
    """Whether a profile is sRGB under any name: it moves no colour by more than TOLERANCE."""
    levels = itertools.product(LEVELS, repeat=3) if mode == "RGB" else range(256)
    probe = Image.fromarray(np.array(list(levels), dtype=np.uint8)[None])
    converted = ImageCms.profileToProfile(probe, profile, srgb(), outputMode="RGB")
    moved = np.asarray(converted, dtype=int) - np.asarray(probe.convert("RGB"), dtype=int)
    return bool(np.abs(moved).max() <= TOLERANCE)


def drop_profile(image: Image.Image) -> Image.Image:
    """The same picture without a profile, so that nobody applies it a second time."""
    if PROFILE not in image.info:
        return image
    image = image.copy()
    image.info = {key: value for key, value in image.info.items() if key != PROFILE}
    return image
