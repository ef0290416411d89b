"""The tools for the program that started this one: messages on stdin and stdout, a line each.

Nothing else may be on stdout, so everything that prints there meanwhile goes to stderr.
"""

import asyncio
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

import anyio
from mcp.server.stdio import stdio_server

from mdp_lite.mcp_server.server import build_server
from mdp_lite.serve.service import Service

CHUNK = 2**16  # bytes
AHEAD = 16  # lines that are read before they are asked for
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Wire(NamedTuple):
    """The descriptors of the client's messages and of our answers."""

    read: int
    write: int


@contextmanager
def claim_stdio() -> Iterator[Wire]:
    """Take stdin and stdout for the protocol alone, also from libraries that write by descriptor.

    Others find an empty stdin, and what they print goes to stderr.
    """
    sys.stdout.flush()
    wire = Wire(os.dup(0), os.dup(1))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    try:
        yield wire
    finally:
        sys.stdout.flush()
        os.dup2(wire.write, 1)
        os.close(wire.write)
        os.dup2(wire.read, 0)  # the thread that reads lines may wait in the other one for ever


class LineReader:
    """The lines of a descriptor, read in a thread that nothing at the end has to wait for.

    A line of more than max_bytes is cut, so that it is no message and takes no more memory.
    """

    def __init__(self, descriptor: int, max_bytes: int) -> None:
        self._descriptor, self._max_bytes = descriptor, max_bytes
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._loop, self._room = asyncio.get_running_loop(), threading.Semaphore(AHEAD)
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def __aiter__(self) -> "LineReader":
        return self

    async def __anext__(self) -> str:
        """The next line; StopAsyncIteration once the client has closed its end."""
        line = await self._lines.get()
        self._room.release()
        if line is None:
            raise StopAsyncIteration
        return line

    def _read(self) -> None:
        with suppress(RuntimeError):  # the loop is closed
            for line in read_lines(self._descriptor, self._max_bytes):
                self._put(line.decode("utf-8", "replace"))
            self._put(None)

    def _put(self, line: str | None) -> None:
        self._room.acquire()
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


def read_lines(descriptor: int, max_bytes: int) -> Iterator[bytes]:
    """The lines of a descriptor without their ends; of a longer one only the first max_bytes."""
    line = bytearray()
    while chunk := _read_chunk(descriptor):
        for i, part in enumerate(chunk.split(b"\n")):
            if i > 0:
                yield bytes(line)
                line.clear()
            line += part[: max_bytes - len(line)]
    if line:
        yield bytes(line)


def _read_chunk(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, CHUNK)
    except OSError:  # a terminal that has gone
        return b""


async def serve_stdio(service: Service, folders: tuple[Path, ...], wire: Wire) -> None:
    """Serve one client until it closes stdin, or SIGTERM or Ctrl-C comes; then stop all work."""
    service.start()
    server = build_server(service, folders)
    most = 2 * service.settings.limits.body_bytes  # base64 has 4/3 of the bytes
    text = io.TextIOWrapper(os.fdopen(wire.write, "wb", closefd=False), "utf-8")
    out, lines = anyio.wrap_file(text), cast(Any, LineReader(wire.read, most))
    try:
        with anyio.CancelScope() as scope, _on_signals(scope):
            async with stdio_server(lines, out) as (read, write):
                await server.run(read, write, server.create_initialization_options())
    finally:
        await asyncio.to_thread(service.close)
        with suppress(OSError, ValueError):  # the client has gone
            text.detach()


@contextmanager
def _on_signals(scope: anyio.CancelScope) -> Iterator[None]:
    """End the scope on SIGTERM and Ctrl-C."""
    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # on Windows both end the process
        for one in SIGNALS:
            loop.add_signal_handler(one, scope.cancel)
    yield
