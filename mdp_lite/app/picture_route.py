"""Middleware that serves the pictures of visits by secret addresses: visit/TOKEN/PATH.

Whoever has the token of a visit may read the PNG and zip files in its folder, nothing else. When
the visit ends, its addresses end with it.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, quote

from mdp_lite.app.archive import stream_archive
from mdp_lite.app.guard import App, Message, Receive, Send
from mdp_lite.app.sessions import ARCHIVE, VISIT_PATH, Session, Sessions

TYPES = {".png": b"image/png", ".zip": b"application/zip"}
CHUNK = 2**16  # bytes that are sent in one piece
COMMON = (
    (b"cache-control", b"private, no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class PictureRoute:
    """ASGI middleware: answers requests for files of visits, and passes on all others."""

    def __init__(self, app: App, sessions: Sessions) -> None:
        self.app, self.sessions = app, sessions

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Send the file of a visit, or 404 whatever the reason is that there is none."""
        path = strip_mount(scope) if scope["type"] == "http" else ""
        if not path.startswith(f"/{VISIT_PATH}/"):
            return await self.app(scope, receive, send)
        if scope["method"] not in ("GET", "HEAD"):
            return await _answer(send, 405, b"GET and HEAD only\n", ((b"allow", b"GET, HEAD"),))
        token, _, name = path.removeprefix(f"/{VISIT_PATH}/").partition("/")
        visit = self.sessions.find_visit(token)
        if visit is not None and name == ARCHIVE:
            headers = [(b"content-type", b"application/zip"), name_file("mdp_lite-all.zip")]
            return await _send(send, stream_archive(visit.history), headers, scope["method"])
        file = await asyncio.to_thread(open_file, visit, name) if visit else None
        if visit is None or file is None:
            return await _answer(send, 404, b"there is no such picture\n")
        with file:
            headers = describe_file(file, visit, name, scope.get("query_string", b""))
            await _send(send, iter(lambda: file.read(CHUNK), b""), headers, scope["method"])


def strip_mount(scope: Message) -> str:
    """The path of a request without the path at which the page is mounted."""
    path, root = scope["path"], scope.get("root_path", "")
    return path.removeprefix(root) if path.startswith(f"{root}/") else path


def open_file(visit: Session, name: str) -> BinaryIO | None:
    """A file of a visit, open; None if there is none or it is not for visitors.

    Links are refused, also those in the middle of a path; the name is not decoded again.
    """
    parts = name.split("/")
    if Path(name).suffix not in TYPES or not all(_is_plain(part) for part in parts):
        return None
    path = visit.folder.joinpath(*parts)
    try:
        if not path.is_file() or path.resolve() != visit.folder.resolve().joinpath(*parts):
            return None
        return open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb")
    except (OSError, ValueError):
        return None


def describe_file(
    file: BinaryIO, visit: Session, name: str, query: bytes
) -> list[tuple[bytes, bytes]]:
    """The headers of an answer; with ?download=1 the browser stores the file under a good name."""
    headers = [
        (b"content-type", TYPES[Path(name).suffix]),
        (b"content-length", str(os.fstat(file.fileno()).st_size).encode()),
    ]
    if parse_qs(query.decode("latin-1")).get("download") == ["1"]:
        headers.append(name_file(visit.name_download(name)))
    return headers


def name_file(name: str) -> tuple[bytes, bytes]:
    """The header by which a browser stores an answer as a file of this name, in any alphabet."""
    return b"content-disposition", f"attachment; filename*=UTF-8''{quote(name)}".encode()


def _is_plain(part: str) -> bool:
    """Whether a part of a path names something in its folder, on any operating system."""
    return part not in ("", ".", "..") and not any(one in part for one in "\\:\0")


async def _send(
    send: Send, chunks: Iterator[bytes], headers: list[tuple[bytes, bytes]], method: str
) -> None:
    """Send an answer with a body that is read in a thread, piece by piece."""
    start = {"type": "http.response.start", "status": 200, "headers": [*headers, *COMMON]}
    await send(start)
    while method != "HEAD" and (data := await asyncio.to_thread(next, chunks, None)) is not None:
        await send({"type": "http.response.body", "body": data, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _answer(
    send: Send, status: int, text: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    plain = [(b"content-type", b"text/plain"), *headers, *COMMON]
    await send({"type": "http.response.start", "status": status, "headers": plain})
    await send({"type": "http.response.body", "body": text})
