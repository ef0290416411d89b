"""--cache FOLDER is tried by a dry run as by the real run, for every command that has it."""

import errno
import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.cli.application import COMMANDS
from mdp_lite.cli.fields import list_fields

LINES = {
    "generate": ["generate", "a"],
    "edit": ["edit", "a.png", "--prompt", "b"],
    "plan": ["plan", "--source-prompt", "a", "--prompt", "b"],
    "sweep": ["sweep", "a.png", "--prompt", "b"],
    "invert": ["invert", "a.png"],
    "batch": ["batch", "a.png", "--prompt", "b", "-o", "out"],
    "app": ["app", "--port", "0"],
    "serve": ["serve", "--port", "0"],
    "mcp": ["mcp"],
    "compile": ["compile", "-o", "packages"],
}
UNUSED = {"bench"}  # measures every source, so it has no use for a cache
BAD = {  # folders, and what is said of them
    "a.png": "--cache must be a folder, got a file: ",
    "a.png/below": "--cache must be a folder, got a file: ",
    "a.png/far/below": "--cache must be a folder, got a file: ",
    "closed": "--cache must be writable, got no permission: 'closed'",
    "closed/far/below": "--cache must be writable, got no permission: 'closed/far/below'",
}


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a picture, and one called closed in which nobody, root neither, may write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MDP_LITE_CACHE", raising=False)
    (tmp_path / "model").symlink_to(checkpoint)
    Image.new("RGB", (32, 32), "red").save("a.png")
    Path("closed").mkdir()
    plain = tempfile.TemporaryFile

    def refuse(*words: Any, dir: Any = None, **how: Any) -> Any:
        if Path(dir or ".").absolute() == tmp_path / "closed":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return plain(*words, dir=dir, **how)

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    return tmp_path


def test_every_command_with_a_cache_is_here() -> None:
    having = {
        name for name in COMMANDS
        if "cache" in {one.name for one in list_fields(load_options(name))}
    }  # fmt: skip
    told = {"doctor"}  # a line of its report, see test_doctor_faults.py
    assert having == {*LINES, *UNUSED, *told}


def load_options(name: str) -> Any:
    return import_module(f"mdp_lite.cli.commands.{name}").OPTIONS


@pytest.mark.parametrize("dry", [True, False], ids=["dry", "real"])
@pytest.mark.parametrize("cache", BAD)
@pytest.mark.parametrize("command", LINES)
def test_a_bad_cache_is_refused_before_any_work(
    command: str, cache: str, dry: bool, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.rglob("*"))
    line = [*LINES[command], "--model", "model", "--device", "cpu", "--cache", cache]
    assert main([*line, *(["--dry-run"] if dry else [])]) == 2
    assert f"mdp-lite: {BAD[cache]}" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("command", LINES)
def test_a_cache_that_can_be_made_is_not_made_by_a_dry_run(command: str, folder: Path) -> None:
    line = [*LINES[command], "--model", "model", "--device", "cpu", "--cache", "new/far/below"]
    assert main([*line, "--dry-run"]) == 0
    assert not Path("new").exists() and not Path("out").exists()


def test_a_device_s_folder_is_refused_to_root_too(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In /proc no folder can be made, though the system says that root may write there."""
    line = ["generate", "a", "--model", "model", "--device", "cpu", "--cache", "/proc/mdp"]
    assert main([*line, "--dry-run"]) == 2
    assert "mdp-lite: --cache must be writable, got " in capsys.readouterr().err
