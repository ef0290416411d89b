"""Decoding picture files: only listed formats, within a limit of pixels."""

import io
import os
import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from mdp_lite.files.atomic import find_descriptor
from mdp_lite.files.probe import probing, shorten
from mdp_lite.names import BadInput
from mdp_lite.pictures.colour import PROFILE
from mdp_lite.pictures.png_chunks import SIGNATURE, select_chunks

FORMATS = ["PNG", "JPEG", "WEBP"]  # by content; no other parser of Pillow is used
MAX_PIXELS = 64_000_000  # of a picture; more is a decompression bomb
MAX_STREAM = 2**29  # bytes of a picture in a pipe: the most pixels as RGBA of 16 bits take less
DAMAGE = (  # what Pillow's readers raise for files with flipped or missing bytes
    OSError, SyntaxError, ValueError, EOFError, LookupError, ArithmeticError, TypeError,
    AttributeError, NotImplementedError, struct.error, zlib.error,
)  # fmt: skip
# How files of other formats begin, after the first so many bytes.
OTHERS = (
    (4, b"ftypavif", "AVIF"), (4, b"ftypavis", "AVIF"), (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"), (4, b"ftypmif1", "HEIC or AVIF"), (4, b"ftypmsf1", "HEIC or AVIF"),
    (4, b"JXL \r\n\x87\n", "JPEG XL"), (0, b"\xff\x0a", "JPEG XL"), (0, b"GIF8", "GIF"),
    (4, b"jP  \r\n\x87\n", "JPEG 2000"), (0, b"II*\0", "TIFF or a raw photo"),
    (0, b"MM\0*", "TIFF or a raw photo"), (0, b"8BPS", "Photoshop"), (0, b"BM", "BMP"),
    (0, b"%PDF", "PDF"),
)  # fmt: skip


def open_picture(path: str | Path, name: str | None = None, what: str = "picture") -> Image.Image:
    """Decode a still PNG, JPEG or WebP file; raises BadInput for others, before any decoding.

    what ("picture", "mask") and name, by default the path, are used in the error. A pipe is read to
    its end, so that it can't be opened a second time.
    """
    path, name = Path(path), shorten(name or path)
    with probing(what, path, name):
        if is_pipe(path):
            return decode_picture(io.BytesIO(read_pipe(path, name, what)), name, what=what)
        if not path.is_file():
            got = "a folder" if path.is_dir() else "a device" if path.exists() else "no such file"
            raise BadInput(f"{what} must be a PNG, JPEG or WebP file, got {got}: {name}")
        if path.stat().st_size == 0:
            raise BadInput(f"{what} must be a PNG, JPEG or WebP file, got 0 bytes: {name}")
        with path.open("rb") as file:
            return decode_picture(file, name, what=what)


def is_pipe(path: Path) -> bool:
    """Whether a path is a pipe or a socket, such as /dev/stdin or the shell's /dev/fd/63."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # also of a name that can be none: open_picture says so
        return False
    return stat.S_ISFIFO(mode) or (stat.S_ISSOCK(mode) and find_descriptor(path) is not None)


def read_pipe(path: Path, name: str, what: str = "picture") -> bytes:
    """All that comes out of a pipe, which can be read only once; raises BadInput for too much."""
    number = find_descriptor(path)
    try:
        with open(path if number is None else os.dup(number), "rb") as file:
            return read_stream(file, name, what)
    except OSError as error:
        raise BadInput(f"{what} must be readable, got {error.strerror!r}: {name}") from None


def read_stream(file: BinaryIO, name: str, what: str = "picture") -> bytes:
    """The bytes of a picture in a stream without a known end; what and name are used in errors.

    Raises BadInput if there are none, or more than MAX_STREAM.
    """
    data = file.read(MAX_STREAM + 1)
    if not data:
        raise BadInput(f"{what} must be a PNG, JPEG or WebP file, got 0 bytes: {name}")
    if len(data) > MAX_STREAM:
        raise BadInput(f"{what} must have at most {MAX_STREAM >> 20} MiB, got more: {name}")
    return data


def decode_picture(
    file: Any, name: str, max_pixels: int | None = None, what: str = "picture"
) -> Image.Image:
    """Decode the still picture in an open file; raises BadInput for others, before any decoding.

    max_pixels is the largest width times height, by default MAX_PIXELS. what ("picture", "mask")
    and name are used in errors. Metadata that is damaged or too large is skipped.
    """
    return _read(file, name, max_pixels, what, decodes=True)


def measure_picture(
    file: Any, name: str, max_pixels: int | None = None, what: str = "picture"
) -> tuple[int, int]:
    """(width, height) of the still picture in an open file, from its header.

    Raises BadInput as decode_picture does, but for what only decoding finds. An EXIF orientation
    is not read.

    >>> measure_picture(open("house.png", "rb"), "house.png")
    (64, 64)
    """
    return _read(file, name, max_pixels, what, decodes=False).size


def _read(file: Any, name: str, max_pixels: int | None, what: str, decodes: bool) -> Image.Image:
    """The picture in an open file, decoded if so wanted."""
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about damaged EXIF, which upright ignores
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _decode(file, name, max_pixels, what, decodes)
        except DAMAGE as error:
            if isinstance(error, BadInput):
                raise
            damage = " ".join(str(error).split())
            raise BadInput(f"{what} must be whole, got a damaged file ({damage}): {name}") from None


def _decode(file: Any, name: str, max_pixels: int, what: str, decodes: bool) -> Image.Image:
    try:
        image, profile = _open(file)
    except UnidentifiedImageError:
        want = f"{what} must be a PNG, JPEG or WebP file by its content"
        raise BadInput(f"{want}, got something else: {name}{_advise(file)}") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise BadInput(f"{describe_limit(max_pixels, what)}, got far more: {name}") from None
    check_pixels(image, max_pixels, what, name)
    # A phone's JPEG may hold a second picture (MPO); the first is the photograph.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise BadInput(f"{what} must be a still one, got {frames} frames: {name}")
    if not decodes:
        return image
    image.load()
    if profile is not None:
        image.info[PROFILE] = profile
    return image


def _open(file: Any) -> tuple[Image.Image, bytes | None]:
    """The picture, not decoded yet, and the colour profile of a PNG."""
    if file.read(len(SIGNATURE)) == SIGNATURE:
        png = select_chunks(file)
        return Image.open(png.file, formats=FORMATS), png.profile
    file.seek(0)
    return Image.open(file, formats=FORMATS), None


def _advise(file: Any) -> str:
    """What a file of another format is, and what to do with it; "" if that is not known."""
    try:
        file.seek(0)
        head = file.read(16)
    except (OSError, ValueError):
        return ""
    kinds = (kind for start, magic, kind in OTHERS if head[start:].startswith(magic))
    kind = next(kinds, None)
    return f" (it is {kind}: save it as JPEG or PNG first)" if kind else ""


def check_pixels(image: Image.Image, max_pixels: int, what: str, name: str = "") -> None:
    """Raise BadInput for a picture of more pixels; name is that of its file."""
    if image.width * image.height > max_pixels:
        got = f"{image.width}x{image.height}" + (name and f": {name}")
        raise BadInput(f"{describe_limit(max_pixels, what)}, got {got}")


def describe_limit(max_pixels: int, what: str = "picture") -> str:
    """The limit, in megapixels if it is that large."""
    most = f"{max_pixels / 1e6:.4g} megapixels" if max_pixels >= 1e6 else f"{max_pixels:,} pixels"
    return f"{what} must have at most {most}"
