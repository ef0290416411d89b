"""Benchmarks and their files: what can't be written is found first, and no figure is lost."""

from pathlib import Path

import pytest

from mdp_lite.__main__ import main
from mdp_lite.cli.console import collect_messages
from mdp_lite.eval.bench_command import BENCHES
from mdp_lite.eval.figures_file import try_to_write
from mdp_lite.names import CannotWrite


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    logged: list[str] = []
    console = collect_messages(logged)

    def fail() -> None:
        raise CannotWrite(28, "No space left on device", str(tmp_path / "a.json"))

    assert try_to_write(fail, console) is False and "No space left" in logged[0]
    assert try_to_write(lambda: None, console) is True


@pytest.mark.parametrize(
    "line", [["inversion", "-o"], ["edits", "-o"], ["speed", "-o"], ["edits", "--sheet"]]
)
def test_an_output_that_cannot_be_written_is_found_before_any_work(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(BENCHES, line[0], lambda *_: pytest.fail("it worked"))
    (tmp_path / "a-file").touch()
    ending = ".png" if "--sheet" in line else ".json"
    folder = tmp_path / f"folder{ending}"
    folder.mkdir()
    for bad in (tmp_path / "a-file" / f"x{ending}", folder):
        assert main(["bench", *line, str(bad)]) == 2
        assert "output must be" in capsys.readouterr().err


def test_the_table_of_pie_is_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(BENCHES, "pie", lambda *_: pytest.fail("it worked"))
    (tmp_path / "results").touch()
    assert main(["bench", "pie", "--results", str(tmp_path / "results")]) == 2
    assert "output must be" in capsys.readouterr().err


def test_the_figures_are_printed_though_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise CannotWrite(28, "No space left on device", str(path))

    monkeypatch.setattr("mdp_lite.files.atomic.write", fail)
    line = "bench inversion --model tiny --pictures 1 --steps 2 --methods replay -o".split()
    assert main([*line, str(tmp_path / "x.json")]) == 1
    said = capsys.readouterr()
    assert "No space left on device" in said.err and "| replay " in said.out
    assert "wrote " not in said.out
