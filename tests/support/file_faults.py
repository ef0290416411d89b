"""What can go wrong while a file is written, and what must hold afterwards."""

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from mdp_lite.files.atomic import ENDING

State = dict[str, object]  # what a folder holds, by file
PAGE = 4096  # bytes, of tmpfs
NOBODY = 65_534


def is_leftover(path: Path) -> bool:
    """Whether a path is a temporary file or folder of ours, or lies in one."""
    return any(part.endswith(ENDING) and part.startswith(".") for part in path.parts)


def read_files(folder: Path) -> State:
    """All files of a folder, except the temporary ones and locks."""
    files = [one for one in folder.rglob("*") if one.is_file() and one.name != ".lock"]
    names = {str(one.relative_to(folder)): one for one in files}
    return {name: one.read_bytes() for name, one in names.items() if not is_leftover(Path(name))}


class Writer(NamedTuple):
    """Something that writes into a folder: version 0, then version 1 in its place.

    state reads what is there and fails if it is damaged. fresh: it refuses to replace. raises: an
    error is raised, else logged.
    """

    write: Callable[[Path, int], object]
    state: Callable[[Path], State] = read_files
    fresh: bool = False
    raises: bool = True


class Case(NamedTuple):
    """A writer with what its versions are, in bytes and seconds: measured once."""

    writer: Writer
    old: State
    new: State
    size: int
    seconds: float


def measure(writer: Writer, folder: Path) -> Case:
    """Write both versions once."""
    folder.mkdir()
    old: State = {}
    if not writer.fresh:
        writer.write(folder, 0)
        old = writer.state(folder)
    started = time.perf_counter()
    writer.write(folder, 1)
    seconds = time.perf_counter() - started
    sizes = [one.stat().st_size for one in folder.rglob("*") if one.is_file()]
    return Case(writer, old, writer.state(folder), max(sizes), seconds)


def check_state(case: Case, folder: Path, new: bool = False) -> None:
    """Every file has its old content or the whole new one; with new it has the new one."""
    state = case.writer.state(folder) if folder.is_dir() else {}
    assert set(state) <= set(case.old) | set(case.new)
    for name in set(case.old) | set(case.new):
        choices = [case.new.get(name)] if new else [case.old.get(name), case.new.get(name)]
        assert state.get(name) in choices, f"{name} is neither old nor new"


def check_no_leftover(folder: Path) -> None:
    assert [one for one in folder.rglob("*") if is_leftover(one.relative_to(folder))] == []


@contextmanager
def full_disk(folder: Path, case: Case, chance: random.Random) -> Iterator[None]:
    """Leave less room on the (small) file system than a new version takes."""
    filler = folder.parent / "filler"
    with open(filler, "wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(2**16)) == 2**16:
            pass
    room = chance.randrange(max(1, case.size // PAGE)) * PAGE
    os.truncate(filler, max(0, filler.stat().st_size - room))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def file_size_limit(folder: Path, case: Case, chance: random.Random) -> Iterator[None]:
    """No file may be as large as a new version is; Python ignores the signal, writes fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (chance.randrange(case.size), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(folder: Path, case: Case, chance: random.Random) -> Iterator[None]:
    """The file system can only be read."""
    remount(folder.parent, "ro")
    try:
        yield
    finally:
        remount(folder.parent, "rw")


@contextmanager
def no_permission(folder: Path, case: Case, chance: random.Random) -> Iterator[None]:
    """The folder belongs to somebody else."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def failing_disk(folder: Path, case: Case, chance: random.Random) -> Iterator[None]:
    """The disk says only at the end that it could not write, as over a network."""
    number = chance.choice([errno.EIO, errno.EDQUOT, errno.ENOSPC])

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        yield


IN_PROCESS = {
    "full disk": full_disk,
    "file-size limit": file_size_limit,
    "read-only": read_only,
    "no permission": no_permission,
    "failing disk": failing_disk,
}
NEEDS_MOUNT = ("full disk", "read-only")


def kill_writing(case: Case, folder: Path, chance: random.Random) -> list[Path]:
    """Kill a process that writes again and again; returns the folders that it wrote into."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            for k in range(10_000):
                place = folder / str(k if case.writer.fresh else 0)
                place.mkdir(exist_ok=True)
                case.writer.write(place, 1 if case.writer.fresh else (k + 1) % 2)
        os._exit(99)
    time.sleep(chance.uniform(0.2, 4) * case.seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return sorted(folder.iterdir())


def mount(folder: Path, size: int) -> bool:
    """Mount a small file system in memory; whether that is allowed here."""
    folder.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    return shutil.which("mount") is not None and subprocess.run(line).returncode == 0


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True)
