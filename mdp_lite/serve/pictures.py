"""Pictures in and out of requests: allow-listed formats, nothing of the upload but its pixels."""

import base64
import binascii
import io
import json
from typing import Any

from PIL import Image

from mdp_lite.pictures import images
from mdp_lite.pictures.fit import frame
from mdp_lite.serve.errors import Refused

QUALITY = 90  # of JPEG and WebP, in percent
USER_COMMENT, EXIF, DESCRIPTION = 0x9286, 0x8769, 0x010E  # tags
MIME = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}

Settings = dict[str, Any]


def read(data: bytes, param: str, most: int) -> Image.Image:
    """The picture in an upload, upright, in its own mode; anything else is a Refused."""
    try:
        return images.upright(images.decoded(io.BytesIO(data), param, most))
    except ValueError as error:
        raise Refused(400, str(error), "invalid_image", param) from None
    except MemoryError:
        raise
    except Exception as error:  # a parser that fails in a way of its own
        message = f"picture can't be read ({type(error).__name__}): {param}"
        raise Refused(400, message, "invalid_image", param) from None


def source(data: bytes, param: str, most: int) -> Image.Image:
    """An upload as RGB on white."""
    picture = read(data, param, most)
    try:
        return images.to_rgb(picture)
    except (ValueError, OSError) as error:
        raise Refused(400, str(error), "invalid_image", param) from None


def mask(data: bytes, most: int) -> Image.Image:
    """A mask, white where the edit is: where an upload is transparent, as OpenAI has it.

    One without transparency is taken as it is: white is edited.
    """
    picture = read(data, "mask", most)
    if picture.has_transparency_data:
        return picture.convert("RGBA").getchannel("A").point([255 - v for v in range(256)])
    try:
        return images.to_rgb(picture).convert("L")
    except (ValueError, OSError) as error:
        raise Refused(400, str(error), "invalid_image", "mask") from None


def sized(picture: Image.Image, fit: str, size: tuple[int, int] | None) -> Image.Image:
    """A picture or mask fitted to a size that was asked for."""
    if size is None or size == picture.size:
        return picture
    fitted = frame(fit, picture.size, size).fitted(picture.convert("RGB"))
    return fitted.convert(picture.mode)


def size_of(text: str) -> tuple[int, int] | None:
    """640x480, or None for auto."""
    if text == "auto":
        return None
    width, height = text.split("x")
    return int(width), int(height)


def written(
    picture: Image.Image, kind: str, quality: int | None, settings: Settings | None
) -> bytes:
    """A picture as a file, with its settings unless they are None, and nothing else."""
    out, plain = io.BytesIO(), images.bare(picture)
    if kind == "png":
        plain.save(out, "PNG", pnginfo=images.chunks(settings) if settings else None)
        return out.getvalue()
    exif = _exif(settings) if settings else b""
    plain.save(out, kind.upper(), quality=QUALITY if quality is None else quality, exif=exif)
    return out.getvalue()


def encoded(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode("ascii")


def decoded(text: str, param: str) -> bytes:
    """Base64, or a data: URI of it, as bytes; other URIs are never fetched."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        message = f"{param} must be base64; addresses are never fetched"
        raise Refused(400, message, "invalid_image", param) from None


def _exif(settings: Settings) -> bytes:
    """The same two texts as in a PNG: UserComment as galleries read it, and the JSON object."""
    exif = Image.Exif()
    exif[DESCRIPTION] = json.dumps({images.KEY: settings}, allow_nan=False)
    text = images.parameters(settings).encode("utf-16-be", "surrogatepass")
    exif.get_ifd(EXIF)[USER_COMMENT] = b"UNICODE\x00" + text
    return exif.tobytes()
