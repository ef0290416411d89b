"""The end of the time to drain: each request that is not done gets an answer that says so."""

import asyncio
import json
import logging
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from mdp_lite.__main__ import FAILED
from mdp_lite.editor import Editor
from mdp_lite.serve.app import BorrowEditor, add_page, application
from mdp_lite.serve.settings import Limits, ServiceSettings
from support.places import ENVIRONMENT
from support.serving import WAIT, RunningService, is_idle, run_service, wait_until

LONG = {"prompt": "a boat", "seed": 1, "num_inference_steps": 200, "size": "64x64"}


def generate(at: RunningService, **fields: object) -> httpx2.Response:
    return httpx2.post(f"{at.url}/v1/images/generations", json=LONG | fields, timeout=WAIT)


def upload_half(at: RunningService) -> tuple[int, str]:
    """The status and the error's code that a body gets which does not come."""
    line = socket.create_connection(("127.0.0.1", int(at.url.rpartition(":")[2])), WAIT)
    with line:
        head = "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
        line.sendall(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
        data = line.recv(65536)
        while b"}}" not in data:
            data += line.recv(65536)
    return int(data.split()[1]), json.loads(data.partition(b"\r\n\r\n")[2])["error"]["code"]


def test_what_is_not_done_is_told_so(editor: Editor, caplog: pytest.LogCaptureFixture) -> None:
    """Running and queued requests (of four tasks two may be long), a stream, half an upload."""
    caplog.set_level(logging.WARNING)
    with run_service(editor, limits=Limits(tasks=4)) as at, ThreadPoolExecutor(8) as pool:
        plain = [pool.submit(generate, at) for _ in range(4)]
        stream = pool.submit(generate, at, stream=True, partial_images=1)
        half = pool.submit(upload_half, at)
        wait_until(lambda: at.service.tasks == 2 and at.service.open_requests == 6)
        wait_until(lambda: at.service.uploads)
        at.service.end_requests()
        for one in plain:
            answer = one.result(WAIT)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.json()["error"]["code"] == "shutting_down"
        last = stream.result(WAIT).text.strip().split("\n\n")[-1]
        assert last.startswith("event: error\n") and "shutting_down" in last
        assert half.result(WAIT) == (503, "shutting_down")
        wait_until(lambda: is_idle(at.service))
        assert httpx2.get(f"{at.url}/health/live", timeout=WAIT).status_code == 200
        assert httpx2.get(f"{at.url}/health/ready", timeout=WAIT).status_code == 503
    assert [one.getMessage() for one in caplog.records if one.name != "uvicorn.error"] == []
    assert "Cancel" not in caplog.text


def test_a_page_in_front_has_the_services_life(editor: Editor) -> None:
    """The service starts and ends with the application that the page is part of."""
    app = application(editor, ServiceSettings())

    @contextmanager
    def page(
        outer: FastAPI, editor: Editor, borrow: BorrowEditor, alias: str, lender: object
    ) -> Iterator[None]:
        yield

    async def live(outer: FastAPI) -> None:
        async with outer.router.lifespan_context(outer):
            await asyncio.to_thread(wait_until, lambda: app.state.service.ready)

    with add_page(app, page) as outer:
        asyncio.run(live(outer))
    assert outer is not app and not app.state.service.ready


def test_a_start_that_fails_is_no_success(checkpoint: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite")) as connection:
        connection.execute("CREATE TABLE jobs (of_something_else)")  # it opens, and can't be used
    words = ["--model", str(checkpoint), "--port", "0", "--jobs", str(tmp_path)]
    line = [sys.executable, "-m", "mdp_lite", "serve", *words]
    done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == FAILED and "could not start" in done.stderr
