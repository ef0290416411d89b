"""PNG files without metadata that could stop their reading: only chunks that the picture needs.

Pillow refuses a whole PNG for one text above a megabyte (a ComfyUI workflow), a wrong checksum of
metadata or a chunk that it can't parse. Its limits are global, so the file is changed instead.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_DATA = 2**30  # bytes of all pixels as they are stored
MAX_PROFILE = 2**24  # bytes of a colour profile; the largest of printers have a few megabytes
MAX_METADATA = 2**20  # bytes of EXIF and of a text that is stored compressed
MAX_TEXTS = 2**25  # bytes of all texts; Pillow's limit is twice that
NEEDED = (b"tRNS", b"acTL", b"fcTL")  # transparency, and whether it is an animation
# Texts that are read: our settings, and orientations as ImageMagick and Adobe write them.
TEXTS = (
    b"mdp_lite", b"parameters", b"Raw profile type exif", b"Raw profile type APP1",
    b"XML:com.adobe.xmp",
)  # fmt: skip


class PngFile(NamedTuple):
    """A PNG without the chunks that are not needed, and its colour profile if it has one.

    profile is b"" if it has one that can't be read.
    """

    file: io.BytesIO
    profile: bytes | None


def select_chunks(file: Any) -> PngFile:
    """The PNG in an open file, without the chunks that are not needed."""
    file.seek(len(SIGNATURE))
    out, profile, text = io.BytesIO(), None, 0
    out.write(SIGNATURE)
    room = 0  # for pixels: what they can't need is not read into memory
    for kind, body, checksum in read_chunks(file):
        if kind == b"IHDR" and len(body) >= 8:
            width, height = struct.unpack(">II", body[:8])
            room = min(9 * (width + 8) * height, MAX_DATA) + 2**20
        if kind == b"iCCP":
            profile = unpack_profile(body) if profile is None else profile
            continue
        if kind == b"IDAT":
            room -= len(body)
            if room < 0:
                break
        if is_text(kind):
            text += len(body)
            if text > MAX_TEXTS:
                continue
        if is_needed(kind, body, checksum):
            out.write(struct.pack(">I", len(body)) + kind + body + checksum)
    out.seek(0)
    return PngFile(out, profile)


def read_chunks(file: Any) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, content and checksum of each chunk up to the end of the picture or of the file.

    Metadata that is too large for any use is skipped.
    """
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind[0] & 0x20 and size > MAX_TEXTS:
            file.seek(size + 4, io.SEEK_CUR)
            continue
        yield kind, file.read(min(size, MAX_DATA)), file.read(4)
        if kind == b"IEND":
            return


def is_text(kind: bytes) -> bool:
    """Whether chunks of this name hold a text."""
    return kind in (b"tEXt", b"zTXt", b"iTXt")


def is_needed(kind: bytes, body: bytes, checksum: bytes) -> bool:
    """Whether a chunk is part of the picture or metadata that is read, whole and not too large."""
    if not kind[0] & 0x20:  # a critical chunk; Pillow checks it
        return True
    if struct.pack(">I", zlib.crc32(kind + body)) != checksum:
        return False
    if kind == b"eXIf":
        return len(body) <= MAX_METADATA
    return kind in NEEDED or (is_text(kind) and is_readable_text(kind, body))


def is_readable_text(kind: bytes, body: bytes) -> bool:
    """Whether a text is one that is read, and small enough for Pillow once it is unpacked."""
    name, _, rest = body.partition(b"\0")
    if name not in TEXTS:
        return False
    if kind == b"tEXt":
        return True
    if kind == b"zTXt":
        return rest[:1] == b"\0" and unpack(rest[1:], MAX_METADATA) is not None
    if len(rest) < 2 or rest.count(b"\0", 2) < 2:
        return False
    _, _, text = rest[2:].split(b"\0", 2)
    return rest[0] == 0 or unpack(text, MAX_METADATA) is not None


def unpack_profile(body: bytes) -> bytes:
    """The colour profile of an iCCP chunk; b"" if it is damaged or too large."""
    _, _, rest = body.partition(b"\0")
    return (rest[:1] == b"\0" and unpack(rest[1:], MAX_PROFILE)) or b""


def unpack(data: bytes, limit: int) -> bytes | None:
    """Unpack zlib's compression; None if that is damaged or gives more bytes than the limit."""
    try:
        unpacker = zlib.decompressobj()
        whole = unpacker.decompress(data, limit)
    except zlib.error:
        return None
    return whole if unpacker.eof else None
