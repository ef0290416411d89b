"""The command between others: pictures from pipes and stdin, to stdout, in other formats."""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.pictures import images
from support.places import ROOT

PATHS = os.pathsep.join(str(ROOT / room) for room in ("", "kernels", "weights"))
EDIT = ["edit", "-", "--prompt", "a blue boat", "--model", "model", "--device", "cpu"]
GENERATE = ["generate", "a", "--model", "model", "--device", "cpu", "--steps", "2"]

Says = Callable[[str], None]


@pytest.fixture(autouse=True)
def folder(work_folder: Path) -> Path:
    """The working folder with a picture that fits the model."""
    Image.effect_noise((32, 32), 60).convert("RGB").save("fits.png")
    return work_folder


class Stdin:
    """A stdin that holds bytes."""

    def __init__(self, content: bytes, terminal: bool = False) -> None:
        self.buffer = io.BytesIO(content)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def give(monkeypatch: pytest.MonkeyPatch, content: bytes, terminal: bool = False) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(content, terminal))


def format_of(name: str) -> str | None:
    with Image.open(name) as image:
        return image.format


def run_process(
    line: list[str], content: bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "mdp_lite", *line], input=content, capture_output=True,
        env=os.environ | {"PYTHONPATH": PATHS}, timeout=120,
    )  # fmt: skip


def test_a_picture_goes_through_as_in_a_pipeline(run: Callable[..., Any]) -> None:
    done = run_process([*EDIT, "-o", "-"], Path("fits.png").read_bytes())
    assert done.returncode == 0, done.stderr
    assert done.stderr.decode().splitlines()[0] == "wrote a PNG to stdout"
    Path("piped.png").write_bytes(done.stdout)
    run("edit", "fits.png", "--prompt", "a blue boat")
    assert Path("piped.png").read_bytes() == Path("edited.png").read_bytes()


def test_json_goes_to_stderr_beside_a_picture_and_quiet_says_nothing() -> None:
    done = run_process([*GENERATE, "-o", "-", "--json"])
    assert json.loads(done.stderr)["files"] == ["-"]
    assert Image.open(io.BytesIO(done.stdout)).format == "PNG"
    assert run_process([*GENERATE, "-o", "-", "--quiet"]).stderr == b""


def test_a_dry_run_writes_no_picture_to_stdout(capfdbinary: Any) -> None:
    assert main([*GENERATE, "-o", "-", "--dry-run"]) == 0
    out, err = capfdbinary.readouterr()
    assert out == b"" and err.startswith(b"would write a PNG to stdout\n")


@pytest.mark.parametrize("option", ["PICTURE", "--mask"])
def test_a_named_pipe_is_read_once(option: str, run: Callable[..., Any]) -> None:
    os.mkfifo("pipe")
    content = Path("fits.png").read_bytes()
    writer = threading.Thread(target=lambda: Path("pipe").write_bytes(content))
    writer.start()
    others = ["--auto-mask"] if option == "PICTURE" else ["--mask", "pipe"]
    picture = "pipe" if option == "PICTURE" else "fits.png"
    run("edit", picture, "--prompt", "a blue boat", "--strength", "1", *others)
    writer.join(timeout=10)
    assert not writer.is_alive() and images.open_picture("edited.png").size == (32, 32)


def test_invert_and_plan_read_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (["invert", "-"], ["plan", "-", "--prompt", "b"], ["sweep", "-", "--prompt", "b"]):
        give(monkeypatch, Path("fits.png").read_bytes())
        assert main([*line, "--model", "model", "--quiet"]) == 0
    assert Path("reconstruction.png").is_file() and Path("sweep/sheet.png").is_file()


BAD = {
    "nothing": (EDIT, b"", "picture must be a PNG, JPEG or WebP file, got 0 bytes: '-'"),
    "a text": (EDIT, b"a red house", "by its content, got something else: '-'"),
    "twice": ([*EDIT, "--mask", "-"], b"", "PICTURE and --mask can't both be stdin"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_stdin_is_one_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch, says_one_line: Says
) -> None:
    line, content, sentence = BAD[name]
    give(monkeypatch, content)
    assert main(line) == 2
    says_one_line(sentence)


def test_terminals_are_refused(monkeypatch: pytest.MonkeyPatch, says_one_line: Says) -> None:
    give(monkeypatch, b"", terminal=True)
    assert main(EDIT) == 2
    says_one_line("PICTURE - reads a pipe or a file on stdin, got a terminal")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main([*GENERATE, "-o", "-"]) == 2
    says_one_line("-o - writes a PNG to a pipe or a file, got a terminal as stdout")


FORMATS = [("a.jpg", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP")]


@pytest.mark.parametrize(("name", "kind"), FORMATS)
def test_the_suffix_is_the_format(name: str, kind: str, run: Callable[..., Any]) -> None:
    report = run("generate", "a", "-o", name)
    assert report["files"] == [name] and format_of(name) == kind
    assert images.read_settings(name) == report["settings"]
    size = Path(name).stat().st_size
    run("generate", "a", "-o", name, "--file-quality", "20")
    assert Path(name).stat().st_size < size


def test_variants_and_sheets_have_their_own_format(run: Callable[..., Any]) -> None:
    line = ("--variant", "all", "-o", "a.webp", "--sheet", "s.jpg")
    files = run("edit", "fits.png", "--prompt", "a boat", *line)["files"]
    assert files == ["a-epsilon.webp", "a-c.webp", "a-x.webp", "a-beta.webp", "s.jpg"]
    assert format_of("a-x.webp") == "WEBP" and format_of("s.jpg") == "JPEG"


def test_a_batch_reads_rows_from_stdin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"image": "fits.png", "prompt": "a boat"}, {"image": "fits.png", "prompt": "a tent"}]
    line = ["batch", "-", "--model", "model", "--steps", "4"]
    give(monkeypatch, "".join(json.dumps(row) + "\n" for row in rows).encode())
    assert main(line) == 0
    assert capsys.readouterr().out.startswith("2 edits of 2 rows: 2 written")
    give(monkeypatch, b"")
    assert main(line) == 2
    assert "job must have at least one row, got none in '-'" in capsys.readouterr().err
