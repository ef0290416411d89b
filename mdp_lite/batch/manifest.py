"""The manifest of an output folder: a line of JSON for each edit; the last line of a key counts."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from mdp_lite.files import probe
from mdp_lite.names import BadInput, CannotWrite

try:
    import fcntl
except ImportError:  # Windows has none: there nothing stops a second batch into the same folder
    fcntl = None

NAME = "manifest.jsonl"
PARTIAL = ".partial"  # the folder, inside the output's, where pictures are written first

ManifestRecord = dict[str, Any]  # one line
RecordedSizes = dict[str, int | None]  # by key: bytes of the edit's file, or None if it failed


class OpenManifest(NamedTuple):
    """A manifest that is open for writing: what it holds, and a function that adds records."""

    sizes: RecordedSizes
    append: Callable[[list[ManifestRecord]], None]


def read_sizes(folder: Path) -> RecordedSizes:
    """Read the manifest of a folder. Lines that are no records are ignored: a kill leaves such."""
    try:
        with open(folder / NAME, "rb") as file:
            return dict(record for line in file if (record := _read_line(line)))
    except FileNotFoundError:
        return {}


@contextmanager
def open_manifest(folder: Path) -> Iterator[OpenManifest]:
    """Open the manifest of a folder, for one batch at a time, and remove half-written pictures.

    A batch may be killed at any moment, so whole lines are added by one write. Raises BadInput if
    another batch has it open, CannotWrite if the folder or lines can't be written; then the
    manifest is as it was.
    """
    check_folder(folder)
    with _open(folder) as file:
        _lock(file, folder)
        _remove_partial(folder / PARTIAL)
        _end_last_line(file)
        sizes = read_sizes(folder)

        def append(records: list[ManifestRecord]) -> None:
            _append(file, "".join(json.dumps(one) + "\n" for one in records).encode())
            sizes.update((one["key"], one.get("bytes")) for one in records)

        yield OpenManifest(sizes, append)
        _remove_partial(folder / PARTIAL)


def _open(folder: Path) -> FileIO:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return open(folder / NAME, "ab+", buffering=0)
    except OSError as error:
        raise CannotWrite(error.errno, error.strerror, str(folder / NAME)) from None


def check_folder(folder: Path) -> None:
    """Raise BadInput if the output can't be a folder; nothing is created."""
    probe.check_folder("output", folder)


def _read_line(line: bytes) -> tuple[str, int | None] | None:
    """The key and the size in bytes of one line, or None if it is no record."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("key"), str):
        return None
    size = record.get("bytes")
    return record["key"], size if isinstance(size, int) else None


def _lock(file: Any, folder: Path) -> None:
    """Lock the file until it is closed or its process ends, in whatever way."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(f"another batch is writing to {str(folder)!r}") from None


def _end_last_line(file: FileIO) -> None:
    """End a last line that was cut short, so that the next record starts a new line."""
    if file.seek(0, 2) and file.seek(-1, 2) >= 0 and file.read(1) != b"\n":
        _append(file, b"\n")


def _append(file: FileIO, data: bytes) -> None:
    """Add all of the data, or leave the file as it was."""
    size, left = file.seek(0, 2), memoryview(data)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        with suppress(OSError):
            file.truncate(size)
        raise CannotWrite(error.errno, error.strerror, str(file.name)) from None


def _remove_partial(folder: Path) -> None:
    """Remove the folder of half-written pictures."""
    for path in folder.glob("*.tmp"):
        path.unlink()
    with suppress(OSError):  # there is no such folder, or it holds other files too
        folder.rmdir()
