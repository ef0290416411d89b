"""Fixtures of the command's tests: a working folder, a way to run commands, the UNet's rows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.__main__ import main
from support.unet_rows import record_rows


@pytest.fixture
def work_folder(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the random model under the name "model"."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MDP_LITE_CACHE", raising=False)
    (folder / "model").symlink_to(checkpoint)
    return folder


@pytest.fixture
def run(work_folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Runs a command with --json on the random model and returns the object that it printed."""

    def call(*line: str) -> dict[str, Any]:
        code = main([*line, "--model", "model", "--device", "cpu", "--json"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return call


@pytest.fixture
def unet_rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each call of the UNet."""
    return record_rows(monkeypatch)


@pytest.fixture
def says_words(capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Asserts that a command printed one line on stderr that has all these words, and no more."""

    def check(*words: str) -> None:
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1 and captured.err.startswith("mdp-lite: ")
        assert [word for word in words if word not in captured.err] == []

    return check
