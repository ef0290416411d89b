"""Commands with --device mps, on a rehearsed Apple GPU, and where there is none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.__main__ import main
from support.apple import apple_gpu
from support.inverting import picture

MODEL = ("--model", "model", "--device", "mps")
EDIT = ("photo.png", "--source-prompt", "a house", "--prompt", "a boat", "--steps", "2")
LINES = {
    "generate": ("generate", "a house", "--steps", "2", *MODEL),
    "edit": ("edit", *EDIT, "--auto-mask", *MODEL),
    "plan": ("plan", *EDIT, *MODEL),
    "batch": ("batch", "rows.jsonl", "-o", "out", "--steps", "2", *MODEL),
    "info": ("info", "model", "--no-hash"),
    "serve": ("serve", "--dry-run", *MODEL),
    "app": ("app", "--dry-run", *MODEL),
}


@pytest.fixture(autouse=True)
def inputs(work_folder: Path) -> None:
    """A picture, and a row of a batch that edits it, in the working folder."""
    picture().save("photo.png")
    row = {"image": "photo.png", "source_prompt": "a house", "prompt": "a boat"}
    Path("rows.jsonl").write_text(json.dumps(row) + "\n", "utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_it_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with apple_gpu() as gpu:
        code = main([*LINES[name], "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert json.loads(captured.out)["command"] == name
    assert gpu.launches or name in ("info", "plan", "serve", "app")


REFUSED = {
    ("edit", *EDIT, "--engine", "graph", *MODEL): "engine graph needs a CUDA device, got mps",
    ("compile", "-o", "packages", *MODEL): "engine aot is for cpu and cuda, got mps",
}


@pytest.mark.parametrize("line", REFUSED)
def test_what_mps_has_not(line: tuple[str, ...], says_one_line: Callable[[str], None]) -> None:
    with apple_gpu():
        assert main([*line]) == 2
    says_one_line(REFUSED[line])


def test_a_machine_without(says_one_line: Callable[[str], None], monkeypatch: Any) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert main(["edit", *EDIT, *MODEL]) == 2
    says_one_line("device mps is not there: ")
