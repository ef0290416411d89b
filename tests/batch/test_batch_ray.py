"""A batch on a Ray cluster of this machine: the same bytes, and a worker may be lost.

make ray        # or: .venv/bin/python -m pytest -m ray tests/batch/test_batch_ray.py
"""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mdp_lite.batch.cluster import from_text, to_text
from mdp_lite.batch.rows import Raw
from mdp_lite.batch.run import rows_of
from support.batching import drawn, pictures, records, table, times_done
from support.ray_cluster import ENV, Cluster

TARGETS = ("a red house", "a blue boat at night", "a tree on the snow")
PICTURES = (
    200  # as many as tests/batch/test_batch_slow.py has; small, as most of the time is Ray's start
)
SETTINGS = [word for prompt in TARGETS for word in ("--prompt", prompt)]
SMALL = ["--width", "32", "--height", "32", "--steps", "2"]
JOB = ["in/job.jsonl", *SETTINGS, *SMALL, "--quiet", "-o"]
SPREAD = ["--engine", "ray", "--workers", "2"]


def test_a_unit_comes_back_as_it_was() -> None:
    row = {"image": "a.png", "prompts": ["a", "b"], "box": "1,2,3,4", "t_m": 2, "paste": "no"}
    (unit,) = rows_of([Raw(3, row)], {}).units
    assert from_text(to_text(unit)) == unit


def start(folder: Path, *line: str, env: dict[str, str] = ENV) -> "subprocess.Popen[bytes]":
    """A batch in a process of its own, one thread an engine."""
    command = [sys.executable, "-m", "mdp_lite", "batch", *line]
    return subprocess.Popen(command, cwd=folder, env=env | {"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawn pictures and a bad row."""
    pytest.importorskip("ray.data")
    folder = tmp_path_factory.mktemp("desk")
    names = drawn(folder / "in", PICTURES)
    rows = [{"image": name} for name in names] + [{"image": "none.png"}]
    table(folder / "in" / "job.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def alone(desk: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """One process that begins on the job, while Ray starts."""
    with start(desk, *JOB, "alone") as process:
        yield process


def same(desk: Path, out: str, alone: "subprocess.Popen[bytes]") -> None:
    """The pictures of the one process, each recorded as done once, and its errors."""
    assert alone.wait() == 1
    made = pictures(desk / out)
    assert made == pictures(desk / "alone") and len(made) == PICTURES * len(TARGETS)
    assert times_done(desk / out) == {1}
    told, want = (
        {(one["key"], one["status"], one.get("sha256"), one.get("error")) for one in records(place)}
        for place in (desk / out, desk / "alone")
    )
    assert told == want


@pytest.mark.ray
def test_two_workers_of_a_cluster_make_the_same_bytes(
    desk: Path, alone: "subprocess.Popen[bytes]", cluster: Cluster
) -> None:
    assert start(desk, *JOB, "spread", *SPREAD, env=cluster.env).wait() == 1
    same(desk, "spread", alone)
    before = (desk / "spread" / "manifest.jsonl").read_bytes()
    assert start(desk, *JOB, "spread", *SPREAD, env=cluster.env).wait() == 1
    assert (desk / "spread" / "manifest.jsonl").read_bytes() == before


@pytest.mark.ray
def test_a_worker_that_is_killed_is_replaced(desk: Path, alone: "subprocess.Popen[bytes]") -> None:
    batch = start(desk, *JOB, "lost", *SPREAD)  # on a cluster of its own
    until = random.Random(time.time_ns()).randrange(PICTURES)
    while len(list((desk / "lost").glob("*.png"))) < until:
        assert batch.poll() is None
        time.sleep(0.05)
    victim = next(one for one in psutil.Process(batch.pid).children(recursive=True) if works(one))
    victim.send_signal(signal.SIGKILL)
    assert batch.wait() == 1
    same(desk, "lost", alone)


def works(process: psutil.Process) -> bool:
    """Whether this is a worker that edits: Ray names a process by the actor in it."""
    return any("MapWorker" in word for word in process.cmdline())
