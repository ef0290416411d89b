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

from mdp_lite.batch.cluster import text_to_unit, unit_to_text
from mdp_lite.batch.entries import RawEntry
from mdp_lite.batch.run import plan_batch
from support.batching import count_repeats, draw_pictures, read_pictures, read_records, write_jsonl
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
    (unit,) = plan_batch([RawEntry(3, row)], {}).units
    assert text_to_unit(unit_to_text(unit)) == unit


def start(folder: Path, *line: str, env: dict[str, str] = ENV) -> "subprocess.Popen[bytes]":
    """Start a batch in another process, with one thread for each worker."""
    command = [sys.executable, "-m", "mdp_lite", "batch", *line]
    return subprocess.Popen(command, cwd=folder, env=env | {"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with synthetic pictures and a bad row."""
    pytest.importorskip("ray.data")
    folder = tmp_path_factory.mktemp("folder")
    names = draw_pictures(folder / "in", PICTURES)
    rows = [{"image": name} for name in names] + [{"image": "none.png"}]
    write_jsonl(folder / "in" / "job.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def alone(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """One process that begins on the job, while Ray starts."""
    with start(folder, *JOB, "alone") as process:
        yield process


def check_same(folder: Path, out: str, alone: "subprocess.Popen[bytes]") -> None:
    """Check for the pictures of the one process, each recorded once, and its errors."""
    assert alone.wait() == 1
    made = read_pictures(folder / out)
    assert made == read_pictures(folder / "alone") and len(made) == PICTURES * len(TARGETS)
    assert count_repeats(folder / out) == {1}
    assert summarize(folder / out) == summarize(folder / "alone")


def summarize(out: Path) -> set[tuple[str | None, ...]]:
    """What a manifest says of each edit, without the seconds."""
    return {
        tuple(one.get(name) for name in ("key", "status", "sha256", "error"))
        for one in read_records(out)
    }


@pytest.mark.ray
def test_two_workers_of_a_cluster_make_the_same_bytes(
    folder: Path, alone: "subprocess.Popen[bytes]", cluster: Cluster
) -> None:
    assert start(folder, *JOB, "spread", *SPREAD, env=cluster.env).wait() == 1
    check_same(folder, "spread", alone)
    before = (folder / "spread" / "manifest.jsonl").read_bytes()
    assert start(folder, *JOB, "spread", *SPREAD, env=cluster.env).wait() == 1
    assert (folder / "spread" / "manifest.jsonl").read_bytes() == before


@pytest.mark.ray
def test_a_worker_that_is_killed_is_replaced(
    folder: Path, alone: "subprocess.Popen[bytes]"
) -> None:
    batch = start(folder, *JOB, "lost", *SPREAD)  # on a cluster of its own
    until = random.Random(time.time_ns()).randrange(PICTURES)
    while len(list((folder / "lost").glob("*.png"))) < until:
        assert batch.poll() is None
        time.sleep(0.05)
    children = psutil.Process(batch.pid).children(recursive=True)
    victim = next(one for one in children if is_worker(one))
    victim.send_signal(signal.SIGKILL)
    assert batch.wait() == 1
    check_same(folder, "lost", alone)


def is_worker(process: psutil.Process) -> bool:
    """Whether this process is a worker of the batch: Ray names processes by their actors."""
    return any("MapWorker" in word for word in process.cmdline())
