"""Pictures as files: PNG, JPEG and WebP, each with the settings and no other metadata."""

import io
import logging
from pathlib import Path
from typing import Any

from PIL import Image

from mdp_lite.files import atomic
from mdp_lite.names import BadInput
from mdp_lite.pictures import exif, images
from mdp_lite.pictures.alpha import restore_alpha
from mdp_lite.pictures.colour import srgb_bytes

log = logging.getLogger("mdp_lite")

OUTPUT_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
JPEG_QUALITY, WEBP_QUALITY = 95, 90  # percent
FULL_COLOUR = 90  # JPEGs of at least this quality have the colour of every pixel (4:4:4)
MAX_SIDES = {"JPEG": 65_500, "WEBP": 16_383}  # pixels that the formats can have


def picture_bytes(
    image: Image.Image, suffix: str, settings: dict[str, Any] | None, quality: int | None = None
) -> bytes:
    """The file of a picture in the format of a suffix of OUTPUT_SUFFIXES.

    It holds the pixels, that they are sRGB, and the settings unless they are None: in the texts of
    a PNG, in the EXIF of a JPEG or WebP (see exif.py). The alpha channel of the picture that was
    read is restored; a JPEG has none, so there the picture lies on white, and a warning is logged.

    quality is in percent, by default 95 for JPEG and 90 for WebP; PNG has none, it loses nothing.
    Raises BadInput for another suffix or quality, and for a picture too large for its format.

    >>> picture_bytes(Image.new("RGB", (8, 8)), ".jpg", {"prompt": "a house"})[:2]
    b'\\xff\\xd8'
    """
    kind = find_format(suffix)
    check_quality(quality)
    _check_sides(image, kind)
    if kind == "PNG":
        return images.png_bytes(image, settings)
    if kind == "JPEG":
        return _jpeg_bytes(image, settings, JPEG_QUALITY if quality is None else quality)
    out, whole = io.BytesIO(), _to_colour(restore_alpha(image))
    whole.save(
        out, "WEBP", quality=WEBP_QUALITY if quality is None else quality,
        exif=exif.build_exif(settings) if settings else b"", icc_profile=srgb_bytes(),
    )  # fmt: skip
    return out.getvalue()


def write_picture(
    image: Image.Image, path: str | Path, settings: dict[str, Any] | None,
    quality: int | None = None,
) -> None:  # fmt: skip
    """Write a picture in the format of the path's suffix; see picture_bytes and atomic.write.

    Raises BadInput before any work, and CannotWrite if the file can't be written.

    >>> write_picture(Image.new("RGB", (8, 8)), "black.webp", {"prompt": "night"}, quality=80)
    """
    path = Path(path)
    atomic.write(path, picture_bytes(image, path.suffix, settings, quality))


def find_format(suffix: str) -> str:
    """The format of a suffix of OUTPUT_SUFFIXES, in any case; raises BadInput for others."""
    if suffix.lower() not in OUTPUT_SUFFIXES:
        raise BadInput(f"a picture's file must end in {', '.join(OUTPUT_SUFFIXES)}, got {suffix!r}")
    return {".png": "PNG", ".webp": "WEBP"}.get(suffix.lower(), "JPEG")


def check_quality(quality: int | None) -> None:
    """Raise BadInput unless the quality is None or a whole number of percent."""
    if quality is not None and (type(quality) is not int or not 0 <= quality <= 100):
        raise BadInput(f"quality must be a whole number from 0 to 100, got {quality!r}", "quality")


def _check_sides(image: Image.Image, kind: str) -> None:
    limit = MAX_SIDES.get(kind)
    if limit is not None and max(image.size) > limit:
        got = f"{image.width}x{image.height}"
        raise BadInput(f"a {kind} file must have at most {limit} pixels a side, got {got}: use PNG")


def _jpeg_bytes(image: Image.Image, settings: dict[str, Any] | None, quality: int) -> bytes:
    whole = restore_alpha(image)
    if whole.has_transparency_data:
        log.warning("JPEG has no transparency: what was transparent is white in the file")
    flat = image if image.mode == "RGB" else images.to_rgb(image)  # RGB lies on white already
    out = io.BytesIO()
    images.strip_metadata(flat).save(
        out, "JPEG", quality=quality, subsampling=0 if quality >= FULL_COLOUR else 2,
        exif=exif.fit_exif(settings) if settings else b"", icc_profile=srgb_bytes(),
    )  # fmt: skip
    return out.getvalue()


def _to_colour(image: Image.Image) -> Image.Image:
    """The pixels as RGB or RGBA: the profile in the file is for colours."""
    if image.mode not in ("RGB", "RGBA"):
        image = image.convert("RGBA") if image.has_transparency_data else images.to_rgb(image)
    return images.strip_metadata(image)
