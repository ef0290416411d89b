"""A batch of the size that people run, by the bundled model: killed, and with bad rows.

    .venv/bin/python -m pytest -m slow tests/batch/test_batch_slow.py

Ten steps an edit: the number does not matter for these tests.
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
    BAD_ENTRIES,
    count_repeats,
    draw_pictures,
    read_pictures,
    read_records,
    read_whole_lines,
    write_bad_files,
    write_jsonl,
)
from support.places import ROOT

pytestmark = pytest.mark.slow
PATHS = os.pathsep.join(str(ROOT / room) for room in ("", "kernels", "weights"))
TARGETS = ("a red house", "a blue boat at night", "a tree on the snow")
SETTINGS = [word for prompt in TARGETS for word in ("--prompt", prompt)] + ["--steps", "10"]
PICTURES, KILLS = 200, 3


def start(folder: Path, *line: str) -> subprocess.Popen[bytes]:
    """Start a batch in another process."""
    command = [sys.executable, "-m", "mdp_lite", "batch", *line, "--quiet"]
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"PYTHONPATH": PATHS})


def count_lines(out: Path) -> int:
    """The number of records so far."""
    place = out / manifest.NAME
    return place.read_bytes().count(b"\n") if place.exists() else 0


def test_killed_three_times_it_makes_what_an_uninterrupted_run_makes(tmp_path: Path) -> None:
    draw_pictures(tmp_path / "in", PICTURES)
    total, choose, lived = PICTURES * len(TARGETS), random.Random(time.time_ns()), 0
    for k in range(KILLS):
        batch = start(tmp_path, "in", "-o", "out", *SETTINGS)
        until = lived + choose.randrange(total // (KILLS + 2))
        while count_lines(tmp_path / "out") <= until:
            assert batch.poll() is None
            time.sleep(0.05)
        time.sleep(choose.random())  # anywhere in the work on a picture
        batch.send_signal(signal.SIGKILL)
        assert batch.wait() == -signal.SIGKILL
        lived = count_lines(tmp_path / "out")
        assert 0 < lived < total, f"kill {k} was too late"
    assert start(tmp_path, "in", "-o", "out", *SETTINGS).wait() == 0
    assert start(tmp_path, "in", "-o", "whole", *SETTINGS).wait() == 0
    made = read_pictures(tmp_path / "out")
    assert made == read_pictures(tmp_path / "whole") and len(made) == total
    records = read_whole_lines(tmp_path / "out")
    assert count_repeats(tmp_path / "out") == {1} and len({one["key"] for one in records}) == total
    whole = {one["key"]: one["sha256"] for one in read_records(tmp_path / "whole")}
    assert {one["key"]: one["sha256"] for one in records} == whole


def test_twenty_bad_rows_of_two_hundred(tmp_path: Path) -> None:
    names = draw_pictures(tmp_path / "in", PICTURES - len(BAD_ENTRIES))
    write_bad_files(tmp_path / "in")
    rows = [{"image": name, "prompt": TARGETS[0]} for name in names]
    choose = random.Random(0)
    wrong = {}
    for bad, why in BAD_ENTRIES:
        rows.insert(choose.randrange(len(rows)), bad)
        wrong[id(bad)] = why
    job = write_jsonl(tmp_path / "in" / "job.jsonl", rows)
    assert start(tmp_path, job, "-o", "out", "--steps", "10").wait() == 1
    records = {one["row"]: one for one in read_records(tmp_path / "out")}
    assert len(records) == len(rows) == PICTURES
    failed = {row: one["error"] for row, one in records.items() if one["status"] == "error"}
    assert len(failed) == len(BAD_ENTRIES) and len(read_pictures(tmp_path / "out")) == len(names)
    for number, row in enumerate(rows, 1):
        if id(row) in wrong:
            assert wrong[id(row)] in failed[number]
