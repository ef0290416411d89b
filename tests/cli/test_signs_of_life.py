"""On a terminal a command shows life at once, then bars with rate and time left; nothing else."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mdp_lite.cli.console import open_console
from mdp_lite.cli.waiting import ERASE
from support.places import ROOT

ROOMS = os.pathsep.join(str(ROOT / room) for room in (".", "kernels", "weights"))
EDIT = ["edit", "--source-prompt", "a house", "--prompt", "a boat", "--steps", "4"]
# torch's import waits as long as on a slow disk.
SLOW = """
import importlib.abc, sys, time
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            time.sleep(2)
sys.meta_path.insert(0, Slow())
from mdp_lite.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def read_terminal(command: list[str], cwd: Path) -> tuple[bytes, float, int]:
    """What a command writes to a terminal, the seconds until its first byte, its exit code."""
    ours, theirs = pty.openpty()
    started, first, found = time.monotonic(), 0.0, b""
    process = subprocess.Popen(
        command, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs,
        env=os.environ | {"PYTHONPATH": ROOMS, "COLUMNS": "100"},
    )  # fmt: skip
    os.close(theirs)
    while select.select([ours], [], [], 120)[0]:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so when the other side is closed
            break
        first, found = first or time.monotonic() - started, found + part
    os.close(ours)
    return found, first, process.wait()


def bare_start(cwd: Path) -> float:
    """Seconds that Python takes on this machine to write one byte."""
    return read_terminal([sys.executable, "-c", "print(1)"], cwd)[1]


def test_the_first_sign_of_life_comes_before_torch(tmp_path: Path) -> None:
    found, first, code = read_terminal([sys.executable, "-c", SLOW, *EDIT], tmp_path)
    assert code == 0 and found.startswith(ERASE.encode() + b"mdp-lite: loading ...")
    assert first < 1 + bare_start(tmp_path)
    assert b"loading ... 1 s" in found  # it goes on showing life
    text = found.decode().replace("\x1b[A", "")
    assert re.search(r"edit epsilon: +\d+%.*\d/\d+ \[\d\d:\d\d<\d\d:\d\d, .*(step/s|s/step)", text)
    assert "decoding the picture" in text
    last = text.rpartition("\r")[0].splitlines()
    assert any(line.endswith("wrote edited.png") for line in last)


@pytest.mark.slow
def test_nothing_is_shown_off_a_terminal_or_with_quiet(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mdp_lite", *EDIT]
    found, _, code = read_terminal([*command, "--quiet"], tmp_path)
    assert (found, code) == (b"", 0)
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, env=os.environ | {"PYTHONPATH": ROOMS}
    )
    assert done.returncode == 0 and b"loading" not in done.stderr and b"\r" not in done.stderr


def test_an_error_stands_alone_on_its_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mdp_lite", *EDIT, "--model", "no/such", "--offline"]
    found, _, code = read_terminal(command, tmp_path)
    assert code == 2
    assert found.decode().rpartition(ERASE)[2].startswith("mdp-lite: no/such")


class Terminal:
    """A stderr that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing to do."""

    def isatty(self) -> bool:
        return True


@pytest.mark.representative("batch")
@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("convert", r"convert: +100%.*\| 5\.00M/5\.00M \[00:0\d<00:00, .*B/s\]"),
        ("invert", r"encoding the picture.*invert: +100%.*2/2 .*decoding the picture\]"),
        ("batch", r"batch: +100%.*\| 2/2 \[00:0\d<00:00, .*edit/s\]"),
    ],
)
def test_bars_show_rate_time_left_and_what_the_vae_does(
    name: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from argparse import Namespace

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    total = 5_000_000 if name == "convert" else 2
    with open_console(Namespace(quiet=False)).progress(name) as on_step:
        on_step(total // 2, total)
        time.sleep(0.2)
        on_step(total, total)
        time.sleep(0.7)  # the bar lives on while nothing is counted
    assert re.search(end, terminal.text.replace("\r", " "), re.DOTALL)


def test_a_message_ends_the_waiting_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from argparse import Namespace

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    console = open_console(Namespace(quiet=False))
    wait: Callable[[str], None] = console.wait
    wait("loading")
    console.log("a sentence")
    wait("")
    assert terminal.text == f"{ERASE}mdp-lite: loading ...{ERASE}mdp-lite: a sentence\n"
