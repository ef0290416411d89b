"""A page that runs for long: its process holds no more open files after loads and runs."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.browsing import chromium
from support.serving import wait_until

__all__ = ["chromium"]  # a fixture
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="they are counted in /proc"),
]
RUNS = {"source_prompt": "a red house", "prompt": "a blue boat", "steps": 2}
LOADS, CLIENTS = 5, 3


class RunningPage(NamedTuple):
    """`mdp-lite app` as a process, and its address."""

    process: Any
    url: str

    def count_descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@pytest.fixture(scope="module")
def running(checkpoint: Path) -> Iterator[RunningPage]:
    """The page of the tiny random model; at the end it stops without a warning of Python's."""
    pytest.importorskip("gradio")
    line = ["-W", "always::ResourceWarning", "-m", "mdp_lite", "app", "--model", str(checkpoint)]
    with subprocess.Popen([sys.executable, *line], stderr=subprocess.PIPE, text=True) as process:
        try:
            said, url = read_start(process)
            yield RunningPage(process, url)
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert not re.findall("ResourceWarning.*", said + rest)


def read_start(process: Any) -> tuple[str, str]:
    """What the command says until the page is there, and its address."""
    said = ""
    for line in process.stderr:
        said += line
        if found := re.search("the page is on (http://.*)", line):
            return said, found[1]
    raise AssertionError(f"the command ended: {said}")


def test_visitors_who_come_and_go_leave_nothing(running: RunningPage, chromium: Any) -> None:
    start = running.count_descriptors()
    for _ in range(LOADS):
        page = chromium.new_page()
        page.goto(running.url)
        page.locator("#edit").wait_for(timeout=120_000)
        page.close()
    wait_until(lambda: running.count_descriptors() <= start + 2)  # connections close in a moment
    assert running.count_descriptors() <= start + 2


def test_runs_of_clients_leave_nothing(running: RunningPage) -> None:
    gradio_client = pytest.importorskip("gradio_client")
    counts = []
    for _ in range(CLIENTS):
        client = gradio_client.Client(running.url, verbose=False)
        client.predict(canvas=None, **RUNS, api_name="/edit_prompt")
        client.close()
        counts.append(running.count_descriptors())
    assert counts[-1] <= counts[0] + 2, counts
