"""Standard streams that are closed, as under cron, or full; saved sources through pipes."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from support.places import ROOT

PATHS = os.pathsep.join(str(ROOT / room) for room in ("", "kernels", "weights"))
COMMAND = f"{sys.executable} -m mdp_lite"
MODEL = "--model model --device cpu --steps 2"
EDIT = f"edit fits.png --prompt b {MODEL}"


@pytest.fixture(autouse=True)
def folder(work_folder: Path) -> Path:
    """The working folder with a picture that fits the model."""
    Image.effect_noise((32, 32), 60).convert("RGB").save("fits.png")
    return work_folder


def run_shell(line: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", f"{COMMAND} {line}"], capture_output=True, timeout=120,
        env=os.environ | {"PYTHONPATH": PATHS},
    )  # fmt: skip


def test_a_picture_is_made_without_any_stream() -> None:
    assert run_shell(f"{EDIT} -o y.png <&- >&- 2>&-").returncode == 0
    with Image.open("y.png") as image:
        assert image.size == (32, 32)


@pytest.mark.slow
def test_no_message_gets_into_the_picture() -> None:
    done = run_shell(f"{EDIT} -o - 2>&-")
    assert done.returncode == 0 and Image.open(io.BytesIO(done.stdout)).format == "PNG"


CLOSED = {
    f"edit - --prompt b {MODEL} <&-": "PICTURE - reads stdin, got a closed one",
    f"{EDIT} -o - >&-": "-o - writes a PNG to stdout, got a closed one",
    f"{EDIT} -o /dev/stdout >&-": "",  # the suffix is refused first
    "batch - --prompt b --model model <&-": "job - reads JSON lines on stdin, got a closed one",
    "info model --json >&-": "--json writes to stdout, got a closed one",
}


@pytest.mark.representative("info model --json >&-", "batch - --prompt b --model model <&-")
@pytest.mark.parametrize("line", CLOSED)
def test_a_closed_stream_that_is_needed_is_refused(line: str) -> None:
    done = run_shell(line)
    assert done.returncode == 2 and CLOSED[line] in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


FULL = ["--help", "--version", "edit --help", f"{EDIT} --json --dry-run", f"{EDIT} -o -"]


@pytest.mark.slow
@pytest.mark.parametrize("line", FULL)
def test_a_full_stdout_is_named(line: str) -> None:
    done = run_shell(f"{line} --quiet >/dev/full" if "-o -" in line else f"{line} >/dev/full")
    want = "mdp-lite: standard output can't be written: No space left on device\n"
    assert (done.returncode, done.stderr.decode()) == (1, want)


def test_a_full_stderr_costs_no_picture() -> None:
    assert run_shell(f"{EDIT} -o y.png 2>/dev/full").returncode == 0
    assert run_shell("edit 2>/dev/full").returncode == 2


@pytest.mark.slow
def test_a_saved_source_comes_through_a_pipe() -> None:
    assert run_shell(f"{EDIT} --save-source s.safetensors").returncode == 0
    line = "--prompt c --model model --device cpu"
    run_shell(f"edit s.safetensors {line} -o a.png")
    for place in ("- < s.safetensors", "<(cat s.safetensors)"):
        done = run_shell(f"edit {place} {line} -o b.png")
        assert done.returncode == 0, done.stderr
        assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    Path("cut").write_bytes(Path("s.safetensors").read_bytes()[:-9])
    done = run_shell(f"edit - {line} < cut")
    assert done.returncode == 2 and b"'-': no readable safetensors file" in done.stderr


@pytest.mark.slow
def test_warnings_of_a_batch_are_messages() -> None:
    line = "batch fits.png --prompt 'a red house' --source-prompt 'a red zebra' --steps 2 -o out"
    lines = run_shell(line).stderr.decode().splitlines()
    assert any("zebra" in one for one in lines)
    assert all(one.startswith("mdp-lite: ") for one in lines)
    assert run_shell(f"{line}2 --quiet").stderr == b""
