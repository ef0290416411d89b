"""Delays that a request must not have: a delayed acknowledgement, threads that sleep."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from mdp_lite.serve.command import open_socket
from mdp_lite.serve.settings import ServiceSettings
from support.serving import WAIT

CODE = "import sys; from mdp_lite.__main__ import main; sys.exit(main(sys.argv[1:]))"


def test_the_end_of_an_answer_is_sent_at_once() -> None:
    with (
        open_socket(ServiceSettings(port=0)) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        one, _ = listener.accept()
        with one:
            assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.fixture
def service(tmp_path: Path) -> Iterator["tuple[int, httpx2.Client]"]:
    """A service of the bundled model on two threads: its process, and a client of it."""
    command = [sys.executable, "-c", CODE, "serve", "--port", "0"]
    with (tmp_path / "log").open("wb") as file:
        process = subprocess.Popen(command, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "2"})
    try:
        found = None
        while not (found := re.search(r"(http://\S+)/v1", (tmp_path / "log").read_text())):
            assert process.poll() is None
            time.sleep(0.1)
        with httpx2.Client(base_url=found[1], timeout=WAIT) as client:
            yield process.pid, client
    finally:
        process.terminate()
        assert process.wait(WAIT) == 0


def count_sleeps(pid: int) -> int:
    """How often threads of a process have gone to sleep."""
    texts = [one.joinpath("status").read_text() for one in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int(n) for n in re.findall(r"^voluntary\D*(\d+)", "".join(texts), re.MULTILINE))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads in /proc")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two threads need two cores")
def test_openmp_does_not_sleep_between_layers(service: "tuple[int, httpx2.Client]") -> None:
    pid, client = service
    data = {"source_prompt": "a red house", "seed": "7", "num_inference_steps": "10"}
    # At once, while the service is still cold.
    made = client.post("/v1/sources", data=data).raise_for_status().json()

    def edit() -> int:
        answer = client.post(f"/v1/sources/{made['id']}/edits", json={"prompt": "a boat"})
        return answer.raise_for_status().json()["usage"]["total_tokens"]

    def sleeps_a_row() -> float:
        before = count_sleeps(pid)
        rows = edit()
        return (count_sleeps(pid) - before) / rows

    edit()
    # Of three edits the quietest counts: other work of the machine adds sleeps to some of them.
    # It is 300 a row in each if two threads have OpenMP threads, which then sleep between layers.
    assert min(sleeps_a_row() for _ in range(3)) < 50
