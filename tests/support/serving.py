"""A service that listens on a port of this machine, for as long as a test lasts."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2
import uvicorn
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.serve.app import Page, application, paged
from mdp_lite.serve.command import listening
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import Settings

WAIT = 120.0  # seconds after which a test has hung
KEY, OTHER = "k" * 20, "o" * 20


class Served(NamedTuple):
    """Where it is, and the service itself."""

    url: str
    service: Service


@contextmanager
def served(editor: Editor, page: Page | None = None, **settings: Any) -> Iterator[Served]:
    """A service of an editor, ready, with a page if there is one."""
    chosen = Settings(**{"port": 0} | settings)
    app = application(editor, chosen)
    service: Service = app.state.service
    with paged(app, page) as whole, listening(chosen) as at:
        port = at.getsockname()[1]
        left = 5 if page else None  # seconds for pages that are open still
        config = uvicorn.Config(
            whole, log_config=None, access_log=False, timeout_graceful_shutdown=left
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([at],))
        thread.start()
        try:
            until(lambda: service.ready)
            yield Served(f"http://127.0.0.1:{port}", service)
        finally:
            server.should_exit = True
            thread.join(WAIT)
            assert not thread.is_alive()


def calling(at: Served) -> httpx2.Client:
    """A client of it that waits long: a busy machine is no failure."""
    return httpx2.Client(base_url=at.url, timeout=WAIT)


def until(true: Any) -> None:
    """Wait for something that is about to come true."""
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def idle(service: Service) -> bool:
    """Whether nothing is held: no rows let in, no picture, no job, nobody at the desk."""
    return (service.rows, service.held, service.jobs, service.desk.members) == (0, 0, 0, 0)


def file_of(image: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    """A file as a picture, decoded."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
