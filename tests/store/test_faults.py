"""Nothing is lost: full disks, limits, read-only folders and kills, for everything that writes.

`python -m pytest tests/store/test_faults.py -m slow -n 0` runs all trials of TRIALS.
"""

import errno
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.files import atomic
from mdp_lite.names import CannotWrite
from mdp_lite.pictures import images
from support import file_faults
from support.checkpoints import write_checkpoint
from support.file_faults import IN_PROCESS, NEEDS_MOUNT, Case
from support.file_writers import build_writers, noise, write_archive

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks, and limits the size of files"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # the child runs one thread
]
WRITERS = (
    "picture a.png", "picture a.jpg", "picture a.webp", "sheet", "several files", "source",
    "cache entry", "batch", "converted file", "converted folder", "package", "figures", "recipe",
)  # fmt: skip
TRIALS = {
    "full disk": 4, "file-size limit": 4, "read-only": 1, "no permission": 1, "failing disk": 2,
    "kill": 10,
}  # fmt: skip
DISK = 4 * 2**20  # bytes of the small file system


class Bench(NamedTuple):
    """A folder, a small file system in it (None if none may be mounted), and the writers."""

    folder: Path
    disk: Path | None
    cases: dict[str, Case]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """Outside pytest's folder: other users must be able to read what writers read."""
    folder = Path(tempfile.mkdtemp(prefix="mdp-lite-faults-"))
    folder.chmod(0o755)
    model, disk = write_checkpoint(folder / "model"), folder / "disk"
    write_archive(folder / "archive.pt2")
    mounted = file_faults.mount(disk, DISK)
    try:
        with pytest.MonkeyPatch.context() as patch:
            writers = build_writers(Editor.from_pretrained(model, "cpu"), model, patch)
            places = {name: folder / name.replace(" ", "-") for name in writers}
            cases = {k: file_faults.measure(one, places[k]) for k, one in writers.items()}
            yield Bench(folder, disk if mounted else None, cases)
    finally:
        if mounted:
            file_faults.unmount(disk)
        shutil.rmtree(folder)


def prepare(bench: Bench, case: Case, on_disk: bool) -> Path:
    """A folder that has the old version."""
    folder = (bench.disk if on_disk and bench.disk else bench.folder) / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    if not case.writer.fresh:
        case.writer.write(folder, 0)
    return folder


def try_fault(
    bench: Bench, name: str, fault: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One trial: the old version stays or the new one is whole, and the error says why."""
    case, chance = bench.cases[name], random.Random(f"{name}, {fault}, {seed}")
    folder = prepare(bench, case, fault in NEEDS_MOUNT)
    atomic.warn_once.cache_clear()
    caplog.clear()
    error: Exception | None = None
    with IN_PROCESS[fault](folder, case, chance):
        try:
            case.writer.write(folder, 1)
        except (OSError, ValueError) as caught:
            error = caught
    file_faults.check_no_leftover(folder)
    file_faults.check_state(case, folder)
    if case.writer.raises:
        check_error(error)
    else:
        assert error is None and sum("could not keep" in one for one in caplog.messages) == 1
    case.writer.write(folder, 1)
    file_faults.check_state(case, folder, new=True)


def check_error(error: Exception | None) -> None:
    """A file and a reason in one line; a ValueError is one that was raised before any work."""
    assert isinstance(error, CannotWrite | ValueError), repr(error)
    assert "can't be written: " in str(error) and "\n" not in str(error)
    if isinstance(error, CannotWrite):
        assert error.errno in errno.errorcode and error.filename in str(error)


def try_kill(bench: Bench, name: str, seed: int) -> None:
    """One trial: the same after a kill, and the next writer is not in its way."""
    case, folder = bench.cases[name], bench.folder / "killed"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "0").mkdir(parents=True)
    if not case.writer.fresh:
        case.writer.write(folder / "0", 0)
    places = file_faults.kill_writing(case, folder, random.Random(f"{name}, {seed}"))
    for place in places:
        file_faults.check_state(case, place)
    last = places[-1] if not case.writer.fresh else folder / "again"
    last.mkdir(exist_ok=True)
    case.writer.write(last, 1)
    file_faults.check_state(case, last, new=True)


def run_trials(
    bench: Bench, name: str, fault: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    if fault in NEEDS_MOUNT and bench.disk is None:
        pytest.skip("no file system may be mounted here")
    if fault == "no permission" and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    for seed in range(count):
        if fault == "kill":
            try_kill(bench, name, seed)
        else:
            try_fault(bench, name, fault, seed, caplog)


def test_the_slow_suite_tries_every_writer_200_times_in_all(bench: Bench) -> None:
    assert set(bench.cases) == set(WRITERS)
    assert len(WRITERS) * sum(TRIALS.values()) >= 200
    assert len(WRITERS) * sum(n for fault, n in TRIALS.items() if fault not in NEEDS_MOUNT) >= 200


@pytest.mark.parametrize("fault", ["file-size limit", "failing disk", "kill"])
@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_lost(
    bench: Bench, name: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    run_trials(bench, name, fault, 1, caplog)


@pytest.mark.parametrize("line", [
    ["generate", "a house", "-o"], ["generate", "a house", "--json", "-o"],
    ["invert", "old.png", "-o"], ["edit", "old.png", "--prompt", "a boat", "-o"],
])  # fmt: skip
def test_a_reader_of_stdout_that_leaves_costs_no_file(bench: Bench, line: list[str]) -> None:
    folder = bench.folder / "command"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    images.save_png(noise(0), folder / "old.png", {})
    child = os.fork()
    if child == 0:
        try:
            os.chdir(folder)
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, 1)
            sys.stdout = os.fdopen(1, "w")
            os._exit(
                main([*line, "new.png", "--model", str(bench.folder / "model"), "--steps", "2"])
            )
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert images.read_settings(folder / "new.png")["num_inference_steps"] == 2
    file_faults.check_no_leftover(folder)


@pytest.mark.slow
@pytest.mark.parametrize("fault", TRIALS)
@pytest.mark.parametrize("name", WRITERS)
def test_nothing_is_lost_in_many_trials(
    bench: Bench, name: str, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    run_trials(bench, name, fault, TRIALS[fault], caplog)
