"""The SDK's own MCP client, for tests that are not asynchronous: it runs in a thread."""

import asyncio
import base64
import io
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, ImageContent, TextContent
from PIL import Image

from support.serving import WAIT, file_of, read_image

MODES = ("auto", "legacy")  # the protocol without sessions, and the one with them


class ToolClient:
    """A client that is connected; start begins a call of a tool, and call waits for its answer."""

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self.client, self._loop = client, loop

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of work of the client."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT)

    def start(self, name: str, steps: list[Any] | None = None, **arguments: Any) -> Future[Any]:
        """A call that runs; steps gets (done, total, text) of its progress. It can be cancelled."""

        async def on_progress(done: float, total: float | None, text: str | None) -> None:
            if steps is not None:
                steps.append((done, total, text))

        work = self.client.call_tool(name, arguments, progress_callback=on_progress)
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, name: str, steps: list[Any] | None = None, **arguments: Any) -> CallToolResult:
        """The answer of a tool, which may be an error."""
        return self.start(name, steps, **arguments).result(WAIT)

    def make(self, name: str, **arguments: Any) -> CallToolResult:
        """The answer of a tool, which must be no error."""
        answer = self.call(name, **arguments)
        assert not answer.is_error, answer.content
        return answer

    def refuse(self, name: str, **arguments: Any) -> str:
        """The text of the error of a call, which must be one sentence and nothing else."""
        answer = self.call(name, **arguments)
        (content,) = answer.content
        assert answer.is_error and isinstance(content, TextContent) and "\n" not in content.text
        return content.text


@contextmanager
def open_tools(server: Any, mode: str = "auto") -> Iterator[ToolClient]:
    """A client of a server: StdioServerParameters, an address, or a transport."""
    loop, ready, stop = asyncio.new_event_loop(), Future[Client](), asyncio.Event()

    async def live() -> None:
        try:
            async with Client(server, mode=mode) as client:
                ready.set_result(client)
                await stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    failures: list[BaseException] = []

    def run() -> None:
        try:
            loop.run_until_complete(live())
        except BaseException as error:
            failures.append(error)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    thread = threading.Thread(target=run, name="client")
    thread.start()
    try:
        yield ToolClient(ready.result(WAIT), loop)
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        thread.join(WAIT)
        assert not thread.is_alive() and failures == []


@asynccontextmanager
async def connect_with(url: str, key: str) -> AsyncIterator[Any]:
    """A transport over HTTP whose requests have an API key."""
    headers = {"authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=WAIT) as client:
        async with streamable_http_client(f"{url}/mcp", http_client=client) as streams:
            yield streams


def pictures_of(answer: CallToolResult) -> list[Image.Image]:
    """The pictures of an answer, decoded."""
    images = [one for one in answer.content if isinstance(one, ImageContent)]
    return [read_image(base64.b64decode(one.data)) for one in images]


def to_text(image: Image.Image) -> str:
    """A picture as base64."""
    return base64.b64encode(file_of(image)).decode()


def flat_png(width: int, height: int) -> str:
    """A picture of one colour, as base64: its file is small, whatever its size."""
    out = io.BytesIO()
    Image.new("1", (width, height)).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()
