"""Answers with pictures in base64, converted and sent piece by piece.

A picture of 16 megapixels has 50 MB as a file and 67 MB as base64, of which JSON, encoding and
sending would each make a copy.
"""

import json
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from fastapi.responses import StreamingResponse

from mdp_lite.serve.holdings import PIECE
from mdp_lite.serve.pictures import to_base64

FILE_MARK = secrets.token_hex(16)  # stands for a file in a text, which nobody else can write


class HasFile(Protocol):
    """A picture whose file is ready."""

    @property
    def file(self) -> bytes: ...


def send_json(
    body: dict[str, Any], files: Sequence[HasFile], headers: dict[str, str]
) -> StreamingResponse:
    """An answer in JSON, in which FILE_MARK stands for each of the files, in their order."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    some = [one.file for one in files]
    length = len(text.encode()) + sum(4 * -(-len(one) // 3) - len(FILE_MARK) for one in some)
    headers = headers | {"Content-Length": str(length)}
    return StreamingResponse(
        iterate(split_text(text, some)), media_type="application/json", headers=headers
    )


def send_parts(
    parts: Sequence[bytes], kind: str, headers: Mapping[str, str], status: int = 200
) -> StreamingResponse:
    """An answer of parts that exist already, in pieces, so that a slow client holds only few."""
    sent = {**headers, "Content-Length": str(sum(map(len, parts)))}
    return StreamingResponse(iterate(split_parts(parts)), status, sent, kind)


def split_parts(parts: Sequence[bytes]) -> Iterator[bytes]:
    """The bytes of the parts, in pieces."""
    for part in parts:
        for start in range(0, len(part), PIECE):
            yield part[start : start + PIECE]


async def iterate(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """The pieces one by one, in the thread of the loop."""
    for piece in pieces:
        yield piece


def split_text(text: str, files: Sequence[bytes]) -> Iterator[bytes]:
    """The text in pieces, with the files in base64 instead of each FILE_MARK."""
    first, *rest = text.split(FILE_MARK)
    yield first.encode()
    for file, part in zip(files, rest, strict=True):
        for start in range(0, len(file), PIECE // 4 * 3):
            yield to_base64(file[start : start + PIECE // 4 * 3]).encode()
        yield part.encode()
