"""A service that listens on a port of this machine, for as long as a test lasts."""

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2
import uvicorn
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.serve.app import AddTools, Page, add_page, application
from mdp_lite.serve.command import open_socket
from mdp_lite.serve.connections import build_config
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import ServiceSettings

WAIT = 120.0  # seconds after which a test has hung
KEY, OTHER = "k" * 20, "o" * 20


class RunningService(NamedTuple):
    """A service and its address."""

    url: str
    service: Service


@contextmanager
def run_service(
    editor: Editor, page: Page | None = None, tools: AddTools | None = None, **settings: Any
) -> Iterator[RunningService]:
    """A service of an editor, ready, with a page and an assistant's tools if there are any."""
    chosen = ServiceSettings(**{"port": 0} | settings)
    app = application(editor, chosen)
    if tools:
        tools(app)
    service: Service = app.state.service
    with add_page(app, page) as outer, open_socket(chosen) as listener:
        port = listener.getsockname()[1]
        grace = 5 if page else None  # seconds for pages that are still open
        config = build_config(outer, chosen.limits, grace, service.connections)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            wait_until(lambda: service.ready)
            yield RunningService(f"http://127.0.0.1:{port}", service)
        finally:
            server.should_exit = True
            thread.join(WAIT)
            assert not thread.is_alive()


def open_client(at: RunningService) -> httpx2.Client:
    """An HTTP client of a service. It waits long: a busy machine is no failure."""
    return httpx2.Client(base_url=at.url, timeout=WAIT)


@contextmanager
def send_and_leave(at: RunningService, path: str, body: dict[str, Any]) -> Iterator[None]:
    """A request in JSON that was sent; its client leaves at the end without reading an answer."""
    text = json.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    port = int(at.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as line:
        line.sendall(f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode())
        yield


def wait_until(is_true: Callable[[], Any]) -> None:
    """Wait for a condition; fail after WAIT seconds."""
    end = time.monotonic() + WAIT
    while not is_true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def is_idle(service: Service) -> bool:
    """Whether there is no admitted work, no picture, no task and no client of the batcher."""
    counts = (service.work, service.memory.total, service.tasks, service.batcher.clients)
    return counts == (0, 0, 0, 0)


def file_of(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def read_image(data: bytes) -> Image.Image:
    """A file as a picture, decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: float = 1e9) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
