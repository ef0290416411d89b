"""Event loops and ports for gradio: what is opened is closed, without the garbage collection."""

import asyncio
import gc
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mdp_lite.app.resources import call_in_loop, find_port
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="open files are counted in /proc"
)
LOADS = 20


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """What only the garbage collection would close counts as open."""
    gc.collect()
    gc.disable()
    start = count_descriptors()
    yield
    count = count_descriptors()
    gc.enable()
    assert count <= start


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.browser  # a real server, though no browser
def test_a_page_opens_nothing_for_a_load_and_closes_all(editor: Editor, tmp_path: Path) -> None:
    command = pytest.importorskip("mdp_lite.app.command")
    studio = Studio(editor, tmp_path)
    blocks = command.launch(studio, "127.0.0.1", None)
    with httpx.Client() as client:
        assert client.get(blocks.local_url).status_code == 200
        count = count_descriptors()
        for _ in range(LOADS):
            assert client.get(blocks.local_url).status_code == 200
        assert count_descriptors() <= count
    blocks.close(verbose=False)
    studio.close()


def test_a_function_runs_in_a_loop_that_is_closed() -> None:
    loop = call_in_loop(asyncio.get_running_loop)
    assert loop.is_closed()
    inner = lambda: call_in_loop(asyncio.get_running_loop) is asyncio.get_running_loop()  # noqa: E731
    assert call_in_loop(inner)
    with pytest.raises(ZeroDivisionError):
        call_in_loop(lambda: 1 / 0)


def test_a_busy_port_is_passed_over() -> None:
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = find_port("127.0.0.1", None)
        busy.bind(("127.0.0.1", port))
        busy.listen()
        assert find_port("127.0.0.1", None) != port
        with pytest.raises(BadInput, match=f"can't listen on 127.0.0.1:{port}: .*in use"):
            find_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(BadInput, match="can't listen on ports 7860 to 7959 of 203.0.113.7: "):
        find_port("203.0.113.7", None)
