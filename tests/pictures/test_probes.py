"""Paths that can't be looked at: no permission, too long, with a NUL. All are bad input."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdp_lite import BadInput, Editor, Source
from mdp_lite.__main__ import main
from mdp_lite.batch.output import check_output
from mdp_lite.files.probe import SHOWN, shorten
from support.file_faults import NOBODY

LONG = "a" * 300


@pytest.fixture(scope="module")
def source(editor: Editor) -> Source:
    return editor.generate("a red house", 1, 2)


@pytest.fixture
def locked(tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder that the process may not look into, even if it is root's."""
    folder = tmp_path / "locked"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    folder.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield "locked"
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)


def refuse(call: Any) -> None:
    with pytest.raises(BadInput) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and "\0" not in text and LONG not in text


@pytest.mark.parametrize("name", [LONG, LONG * 20, "a\0b.png"], ids=["long", "path", "nul"])
def test_names_that_no_file_can_have(editor: Editor, source: Source, name: str) -> None:
    refuse(lambda: editor.invert(name))
    refuse(lambda: editor.invert(Path(name)))
    refuse(lambda: editor.edit(source, "a boat", mask=name))
    refuse(lambda: editor.load_source(name + ".safetensors"))


def test_what_lies_in_a_locked_folder(editor: Editor, source: Source, locked: str) -> None:
    refuse(lambda: editor.invert(f"{locked}/a.png"))
    refuse(lambda: editor.edit(source, "a boat", mask=f"{locked}/a.png"))
    refuse(lambda: editor.load_source(f"{locked}/a.safetensors"))
    refuse(lambda: check_output(Path(locked) / "out"))
    refuse(lambda: Editor.from_pretrained(locked, "cpu"))
    refuse(lambda: Editor.from_pretrained(device="cpu", cache=f"{locked}/cache"))


def test_a_command_says_it_in_one_line(locked: str, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (["info", locked], ["invert", LONG, "-p", "a"]):
        assert main(line) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_long_path_loses_its_middle() -> None:
    assert len(shorten(LONG)) <= SHOWN + 3 and "..." in shorten(LONG)
    assert shorten("a.png") == "'a.png'"
