"""A batch of the size that people run, by the bundled model: killed, and with poisoned rows.

    .venv/bin/python -m pytest -m slow tests/batch/test_batch_slow.py

Ten steps an edit: what is proved here does not depend on how many.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdp_lite.batch import manifest
from support.batching import (
    POISONED,
    drawn,
    pictures,
    poison,
    read_whole,
    records,
    table,
    times_done,
)
from support.places import ROOT

pytestmark = pytest.mark.slow
PATHS = os.pathsep.join(str(ROOT / room) for room in ("", "kernels", "weights"))
TARGETS = ("a red house", "a blue boat at night", "a tree on the snow")
SETTINGS = [word for prompt in TARGETS for word in ("--prompt", prompt)] + ["--steps", "10"]
PICTURES, KILLS = 200, 3


def start(folder: Path, *line: str) -> subprocess.Popen[bytes]:
    """A batch in a process of its own."""
    command = [sys.executable, "-m", "mdp_lite", "batch", *line, "--quiet"]
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": PATHS})


def lines(out: Path) -> int:
    """How many records there are by now."""
    place = out / manifest.NAME
    return place.read_bytes().count(b"\n") if place.exists() else 0


def test_killed_three_times_it_makes_what_an_uninterrupted_run_makes(tmp_path: Path) -> None:
    drawn(tmp_path / "in", PICTURES)
    total, choose, lived = PICTURES * len(TARGETS), random.Random(time.time_ns()), 0
    for k in range(KILLS):
        batch = start(tmp_path, "in", "-o", "out", *SETTINGS)
        until = lived + choose.randrange(total // (KILLS + 2))
        while lines(tmp_path / "out") <= until:
            assert batch.poll() is None
            time.sleep(0.05)
        time.sleep(choose.random())  # anywhere in the work on a picture
        batch.send_signal(signal.SIGKILL)
        assert batch.wait() == -signal.SIGKILL
        lived = lines(tmp_path / "out")
        assert 0 < lived < total, f"kill {k} was too late"
    assert start(tmp_path, "in", "-o", "out", *SETTINGS).wait() == 0
    assert start(tmp_path, "in", "-o", "whole", *SETTINGS).wait() == 0
    made = pictures(tmp_path / "out")
    assert made == pictures(tmp_path / "whole") and len(made) == total
    told = read_whole(tmp_path / "out")
    assert times_done(tmp_path / "out") == {1} and len({one["key"] for one in told}) == total
    whole = {one["key"]: one["sha256"] for one in records(tmp_path / "whole")}
    assert {one["key"]: one["sha256"] for one in told} == whole


def test_twenty_poisoned_rows_of_two_hundred(tmp_path: Path) -> None:
    names = drawn(tmp_path / "in", PICTURES - len(POISONED))
    poison(tmp_path / "in")
    rows = [{"image": name, "prompt": TARGETS[0]} for name in names]
    choose = random.Random(0)
    wrong = {}
    for bad, why in POISONED:
        rows.insert(choose.randrange(len(rows)), bad)
        wrong[id(bad)] = why
    job = table(tmp_path / "in" / "job.jsonl", rows)
    assert start(tmp_path, job, "-o", "out", "--steps", "10").wait() == 1
    told = {one["row"]: one for one in records(tmp_path / "out")}
    assert len(told) == len(rows) == PICTURES
    failed = {row: one["error"] for row, one in told.items() if one["status"] == "error"}
    assert len(failed) == len(POISONED) and len(pictures(tmp_path / "out")) == len(names)
    for number, row in enumerate(rows, 1):
        if id(row) in wrong:
            assert wrong[id(row)] in failed[number]
