"""Bad rows become records, and a killed batch goes on where it stopped."""

import errno
import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mdp_lite.__main__ import main
from mdp_lite.batch import manifest, work
from mdp_lite.batch import run as batch_run
from mdp_lite.editor import Editor
from mdp_lite.files import atomic
from mdp_lite.models.unet import UNet
from mdp_lite.names import CannotWrite
from support.batching import (
    BAD_ENTRIES,
    count_repeats,
    fill_folder,
    read_pictures,
    read_records,
    read_whole_lines,
    write_bad_files,
    write_jsonl,
)

JOB = ["batch", "in", "--prompt", "a house", "--prompt", "a boat", "--model", "model"]
FAST = ["--steps", "4", "--quiet"]


@pytest.fixture
def cwd(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two synthetic pictures, and the model under the name "model"."""
    monkeypatch.chdir(tmp_path)
    fill_folder(tmp_path, checkpoint, 2)
    return tmp_path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> dict[str, bytes]:
    """The pictures of a batch that is not interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    fill_folder(folder, checkpoint, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("-o", "out") == 0
    return read_pictures(folder / "out")


def run(*line: str) -> int:
    return main([*JOB, *FAST, *line])


def test_each_bad_row_is_a_record_and_the_others_are_made(cwd: Path) -> None:
    write_bad_files(cwd / "in")
    good = [{"image": f"{k:03d}.png", "prompt": "a"} for k in range(2)]
    rows = [row for bad, _ in BAD_ENTRIES for row in (bad, *good)]
    job = ["batch", write_jsonl(cwd / "in" / "job.jsonl", rows), "-o", "out", "--model", "model"]
    assert main([*job, *FAST]) == 1
    records = read_records(cwd / "out")
    wrong = {one["row"]: one["error"] for one in records if one["status"] == "error"}
    assert len(wrong) == len(BAD_ENTRIES) == 20
    for k, (bad, why) in enumerate(BAD_ENTRIES):
        assert why in wrong[3 * k + 1], bad
        assert str(cwd) not in wrong[3 * k + 1]
    assert len(read_pictures(cwd / "out")) == 2 and count_repeats(cwd / "out") == {1}


def test_what_failed_is_left_until_it_is_retried_or_changed(cwd: Path) -> None:
    late, strange = {"image": "in/late.png"}, {"image": "in/000.png", "t_m": 9}
    rows = [row | {"prompt": "a"} for row in (late, strange)]
    line = ["batch", write_jsonl(cwd / "job.jsonl", rows), "-o", "out", "--model", "model", *FAST]
    assert main(line) == 1 and len(read_records(cwd / "out")) == 2
    assert main(line) == 1 and len(read_records(cwd / "out")) == 2
    assert main([*line, "--retry-failed"]) == 1 and len(read_records(cwd / "out")) == 4
    Path("in/001.png").rename("in/late.png")
    assert main(line) == 1
    assert [one["status"] for one in read_records(cwd / "out")[4:]] == ["ok"]
    assert main([*line, "--steps", "10"]) == 0


def test_one_edit_that_fails_among_others_fails_alone(
    cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edits = Editor.edits

    def failing(self: Editor, requests: Any, *rest: Any) -> Any:
        some = list(requests)
        if any(one.prompt == "a boat" for one in some):
            raise MemoryError("no room")
        return edits(self, some, *rest)

    monkeypatch.setattr(Editor, "edits", failing)
    assert run("-o", "out") == 1
    records = read_records(cwd / "out")
    assert {(one["prompt"], one["status"], one.get("error")) for one in records} == {
        ("a house", "ok", None),
        ("a boat", "error", "MemoryError: no room"),
    }
    monkeypatch.undo()
    monkeypatch.chdir(cwd)
    assert run("-o", "out", "--retry-failed") == 0
    assert count_repeats(cwd / "out") == {1}


def test_a_full_disk_ends_the_batch_and_no_row_is_blamed(
    cwd: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*rest: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "write", full)
    assert run("-o", "out") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert read_records(cwd / "out") == []


def test_a_folder_that_can_t_be_written_is_named_with_the_reason(
    cwd: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*rest: Any, **more: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert run("-o", "out") == 1
    want = "mdp-lite: out/manifest.jsonl can't be written: Read-only file system\n"
    assert capsys.readouterr().err == want


def test_records_are_added_whole_or_not_at_all(cwd: Path) -> None:
    with manifest.open_manifest(cwd / "out") as opened:
        opened.append([{"key": "a", "bytes": 1}])
        before = (cwd / "out" / manifest.NAME).read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, hard))
        try:
            with pytest.raises(CannotWrite, match="manifest.jsonl can't be written: File too larg"):
                opened.append([{"key": "b", "bytes": 1}])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (cwd / "out" / manifest.NAME).read_bytes() == before and "b" not in opened.sizes
        opened.append([{"key": "c", "bytes": 1}])
    assert manifest.read_sizes(cwd / "out") == {"a": 1, "c": 1}


def test_a_name_that_no_file_can_have_is_its_row_s_fault(cwd: Path) -> None:
    names = ["manifest.jsonl/a", "b", "é\ud800"]
    rows = [{"image": "in/000.png", "prompt": "a", "name": name} for name in names]
    line = ["batch", write_jsonl(cwd / "job.jsonl", rows), "-o", "out", "--model", "model", *FAST]
    assert main(line) == 1
    records = {one["row"]: one for one in read_records(cwd / "out")}
    assert "name must be that of a new file" in records[1]["error"]
    assert records[2]["status"] == "ok" and records[3]["status"] == "error"


def test_ctrl_c_keeps_what_is_done(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    invert, calls = Editor.inverts, []

    def stopping(self: Editor, *rest: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return invert(self, *rest)

    monkeypatch.setattr(Editor, "inverts", stopping)
    assert run("-o", "out") == 130
    assert len(read_records(cwd / "out")) == len(read_pictures(cwd / "out")) == 2


# Killed at a moment: by SIGKILL just before such a call of a function, or half-way in a line.


def _dies_before(owner: Any, name: str, call: int) -> None:
    real: Callable[..., Any] = getattr(owner, name)
    seen: list[int] = []

    def dying(*rest: Any) -> Any:
        seen.append(1)
        if len(seen) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*rest)

    setattr(owner, name, dying)


def _dies_in_a_line() -> None:
    def cut(one: Any) -> None:
        file = os.open(Path("out") / manifest.NAME, os.O_WRONLY | os.O_APPEND)
        os.write(file, json.dumps(one).encode()[:40])
        os.kill(os.getpid(), signal.SIGKILL)

    manifest.json = SimpleNamespace(dumps=cut, loads=json.loads)


MOMENTS: dict[str, Callable[[], None]] = {
    "as it starts": lambda: _dies_before(work, "read_tasks", 1),
    "inverting the second picture": lambda: _dies_before(Editor, "inverts", 2),
    "in an edit": lambda: _dies_before(UNet, "predict", 7),
    "before a picture is in its place": lambda: _dies_before(os, "replace", 2),
    "between a source's pictures": lambda: _dies_before(atomic, "write", 4),
    "before the lines are written": lambda: _dies_before(batch_run, "_select_new", 2),
    "in a line": _dies_in_a_line,
}


@pytest.mark.representative("in an edit", "before a picture is in its place", "in a line")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the child runs one thread
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_batch_goes_on_where_it_was(
    moment: str, cwd: Path, whole: dict[str, bytes]
) -> None:
    child = os.fork()
    if child == 0:
        try:
            MOMENTS[moment]()
            run("-o", "out")
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    survived = {name: data for name, data in read_pictures(cwd / "out").items() if name[0] != "."}
    stamps = {name: (cwd / "out" / name).stat().st_mtime_ns for name in survived}
    assert run("-o", "out") == 0
    assert read_pictures(cwd / "out") == whole and len(survived) < len(whole) == 4
    assert {name: (cwd / "out" / name).stat().st_mtime_ns for name in survived} == stamps
    records = read_whole_lines(cwd / "out")
    assert count_repeats(cwd / "out") == {1} and len({one["key"] for one in records}) == 4
    assert not (cwd / "out" / manifest.PARTIAL).exists()


def test_a_picture_without_a_line_is_taken_if_it_is_whole(cwd: Path) -> None:
    assert run("-o", "out") == 0
    lines = (cwd / "out" / manifest.NAME).read_bytes().splitlines(keepends=True)
    first, second = (json.loads(line) for line in lines[:2])
    (cwd / "out" / manifest.NAME).write_bytes(b"".join(lines[2:]) + b'{"key": "cut')
    good = read_pictures(cwd / "out")
    (cwd / "out" / second["file"]).write_bytes(good[second["file"]][:200])
    assert run("-o", "out") == 0
    assert read_pictures(cwd / "out") == good
    records = {one["key"]: one for one in read_whole_lines(cwd / "out")}
    assert "seconds" not in records[first["key"]] and "seconds" in records[second["key"]]
    assert records[first["key"]]["sha256"] == first["sha256"]
