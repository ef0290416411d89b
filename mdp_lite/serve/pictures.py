"""Pictures in and out of requests: only listed formats, and only the pixels of an upload."""

import base64
import binascii
import io

from PIL import Image

from mdp_lite.pictures import images
from mdp_lite.pictures.alpha import ALPHA
from mdp_lite.pictures.fit import plan_fit
from mdp_lite.pictures.output import picture_bytes
from mdp_lite.pipeline.masks import to_grey
from mdp_lite.pipeline.provenance import Settings
from mdp_lite.serve.errors import ApiError

ADDRESSES = ("http://", "https://", "file://", "ftp://")
SPACE = b" \t\n\r\v\f"
QUALITY = 90  # of JPEG and WebP, in percent
MIME = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def read_upload(data: bytes, param: str, max_pixels: int, what: str = "picture") -> Image.Image:
    """The picture in an upload, upright, in its own mode. Raises ApiError for anything else.

    param is the field of the request; errors call the picture what it is.
    """
    try:
        return images.upright(images.decode_picture(io.BytesIO(data), param, max_pixels, what))
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(error, param, what) from None


def _unreadable(error: Exception, param: str, what: str) -> ApiError:
    """The error for a picture that can't be read; some parsers fail in unexpected ways."""
    message = f"{what} can't be read ({type(error).__name__}): {param}"
    message = str(error) if isinstance(error, ValueError) else message
    return ApiError(400, message, "invalid_image", param)


def read_size(data: bytes, param: str, max_pixels: int) -> tuple[int, int]:
    """(width, height) of the picture in an upload, from its header. Raises ApiError as above."""
    what = "mask" if param == "mask" else "picture"
    try:
        return images.measure_picture(io.BytesIO(data), param, max_pixels, what)
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(error, param, what) from None


def read_rgb(data: bytes, param: str, max_pixels: int) -> Image.Image:
    """An upload as sRGB; transparent pixels become white, as answers are opaque."""
    picture = read_upload(data, param, max_pixels)
    try:
        flat = images.rgb(picture, param)
    except (ValueError, OSError) as error:
        raise ApiError(400, str(error), "invalid_image", param) from None
    flat.info.pop(ALPHA, None)
    return flat


def read_mask(data: bytes, max_pixels: int) -> Image.Image:
    """A mask as a grey picture: white is edited. It means what it means everywhere: to_grey."""
    picture = read_upload(data, "mask", max_pixels, "mask")
    try:
        return to_grey(picture)
    except (ValueError, OSError) as error:
        raise ApiError(400, str(error), "invalid_image", "mask") from None


def fit_to_size(picture: Image.Image, fit: str, size: tuple[int, int] | None) -> Image.Image:
    """A picture or mask fitted to a size (width, height); as it is if size is None."""
    if size is None or size == picture.size:
        return picture
    fitted = plan_fit(fit, picture.size, size).apply(picture.convert("RGB"))
    fitted.info = images.find_traces(picture)
    return fitted.convert(picture.mode)


def parse_size(text: str) -> tuple[int, int] | None:
    """ "640x480" -> (640, 480); "auto" -> None."""
    if text == "auto":
        return None
    width, height = text.split("x")
    return int(width), int(height)


def format_size(picture: Image.Image) -> str:
    """ "640x480" for a picture of 640 x 480 pixels."""
    return f"{picture.width}x{picture.height}"


def encode(
    picture: Image.Image, kind: str, quality: int | None, settings: Settings | None
) -> bytes:
    """A picture as a file, with its settings unless they are None, and no other metadata.

    The file says that it is sRGB: by a chunk of a PNG, by a profile in others.
    """
    if kind != "png" and quality is None:
        quality = QUALITY
    return picture_bytes(images.strip_metadata(picture), f".{kind}", settings or None, quality)


def to_base64(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode("ascii")


def from_base64(text: str, param: str) -> bytes:
    """The bytes of base64, in lines or not, or of a data: URI with base64.

    Other URIs are never fetched.
    """
    if text[:8].lower().startswith(ADDRESSES):
        message = f"{param} must be a picture in base64; addresses are never fetched"
        raise ApiError(400, message, "invalid_image", param)
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        # split() would make a text of each word; b64decode says what is wrong with letters.
        plain = text.encode("ascii").translate(None, SPACE) if text.isascii() else text
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"{param} must be a picture in base64 ({error})"
        raise ApiError(400, message, "invalid_image", param) from None
