"""The manifest of a folder of edits: a line of JSON for each, the last one of a key counts."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

try:
    import fcntl
except ImportError:  # not on Windows: there nobody stops a second batch into the same folder
    fcntl = None

NAME = "manifest.jsonl"
PARTIAL = ".partial"  # the folder, inside the output's, where pictures are written first

Record = dict[str, Any]
Known = dict[str, int | None]  # by key: the bytes of an edit's file, or None where it failed


class Book(NamedTuple):
    """A manifest that is open: what it has, and how to add to it."""

    known: Known
    append: Callable[[list[Record]], None]


def read(folder: Path) -> Known:
    """What a folder's manifest has. Lines that are no records, as a kill may leave, are none."""
    try:
        with open(folder / NAME, "rb") as file:
            return dict(entry for line in file if (entry := _entry(line)))
    except FileNotFoundError:
        return {}


@contextmanager
def opened(folder: Path) -> Iterator[Book]:
    """The manifest of a folder, for one batch at a time; what a killed one left half is removed.

    A batch may be killed at any moment: whole lines are added by one write and passed on at once.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / NAME, "ab+") as file:
        _lock(file, folder)
        _clear(folder / PARTIAL)
        _mend(file)
        known = read(folder)

        def append(records: list[Record]) -> None:
            file.write("".join(json.dumps(one) + "\n" for one in records).encode())
            file.flush()
            known.update((one["key"], one.get("bytes")) for one in records)

        yield Book(known, append)
        _clear(folder / PARTIAL)


def check_folder(folder: Path) -> None:
    """That an output can be a folder; found without leaving a trace."""
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not there.is_dir():
        raise ValueError(f"output must be a folder, got a file: {str(there)!r}")


def _entry(line: bytes) -> tuple[str, int | None] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("key"), str):
        return None
    size = record.get("bytes")
    return record["key"], size if isinstance(size, int) else None


def _lock(file: Any, folder: Path) -> None:
    """Held until the file is closed, or its process has ended in whatever way."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another batch is writing to {str(folder)!r}") from None


def _mend(file: Any) -> None:
    """End a line that was cut short, so that the next one is a line of its own."""
    if file.seek(0, 2) and file.seek(-1, 2) >= 0 and file.read(1) != b"\n":
        file.write(b"\n")
        file.flush()


def _clear(folder: Path) -> None:
    """Remove the folder with what was never finished."""
    for left in folder.glob("*.tmp"):
        left.unlink()
    with suppress(OSError):  # there is none, or not only ours is in it
        folder.rmdir()
