"""What models are made of, told by content: the same files and choices have the same hash."""

import hashlib
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from mdp_lite.checkpoint.atomic import write
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.names import BadCheckpoint

NAME = "files.json"  # in a cache folder: path -> [size, mtime_ns, sha256]
COARSE = 2_000_000_000  # nanoseconds: the coarsest clock that a file system keeps


class Used(NamedTuple):
    """A file that models were made of: what for, and its size and time as it was read."""

    role: str  # "unet/config.json", "lora 0: 0.8"
    path: Path
    size: int
    mtime_ns: int

    @property
    def stamp(self) -> list[int]:
        """What tells whether the file has been written to since."""
        return [self.size, self.mtime_ns]


@dataclass(frozen=True)
class Origin:
    """All that models were made of, without a weight: every file, the scheduler, the precision."""

    name: str
    files: tuple[Used, ...]
    scheduler: SchedulerConfig
    dtype: torch.dtype


def used(files: Iterable[tuple[str, Path]]) -> tuple[Used, ...]:
    """Files with their roles, as they are now."""
    return tuple(
        Used(role, path, now.st_size, now.st_mtime_ns)
        for role, path, now in ((role, path, path.stat()) for role, path in files)
    )


def model_hash(origin: Origin, folder: Path | None = None, keep: bool = True) -> str:
    """SHA-256 over the files with their roles and the scheduler; dtype is no part of it.

    A file that is as it was is read once in a process, and once at all where a folder remembers
    its sum. One that was written to since the models were loaded is a ValueError.
    """
    totals = sums(origin.files, folder, keep)
    lines = [json.dumps(asdict(origin.scheduler), sort_keys=True)]
    lines += [f"{one.role}: {total}" for one, total in zip(origin.files, totals, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def sums(files: Iterable[Used], folder: Path | None = None, keep: bool = True) -> list[str]:
    """SHA-256 of each file, read or remembered as model_hash says; a changed one a ValueError."""
    known, news, totals = _remembered(folder / NAME) if folder else {}, {}, []
    for one in files:
        path, old = str(one.path.absolute()), known.get(str(one.path.absolute()))
        _check_unchanged(one)
        total = old[2] if old and old[:2] == one.stamp else _digest(one)
        if old is None or old[2] != total:
            news[path] = [*one.stamp, total]
        totals.append(total)
    if folder and keep and news:
        _remember(folder, known, news)
    return totals


@lru_cache(maxsize=4096)
def _digest(one: Used) -> str:
    with open(one.path, "rb") as file:
        total = hashlib.file_digest(file, "sha256").hexdigest()
    _check_unchanged(one)  # not written to while it was read
    return total


def _check_unchanged(one: Used) -> None:
    try:
        now = one.path.stat()
    except OSError:
        now = None
    if now is None or [now.st_size, now.st_mtime_ns] != one.stamp:
        name = "/".join(one.path.parts[-2:])
        raise BadCheckpoint(f"{name} has changed since the model was loaded: load it again")


def _remembered(path: Path) -> dict[str, list]:
    """What is known of files; a damaged list is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {key: value for key, value in entries if _is_entry(value)}


def _is_entry(value: object) -> bool:
    kinds = [type(one) for one in value] if isinstance(value, list) else []
    return kinds == [int, int, str]


def _remember(folder: Path, known: dict[str, list], news: dict[str, list]) -> None:
    """Write the list anew; of two processes at once one is forgotten, and reads again.

    A file written just now may be written again within one tick of the clock: not remembered.
    """
    old = {path: one for path, one in news.items() if time.time_ns() - one[1] > COARSE}
    if old:
        with suppress(OSError):  # then it is read again next time
            write(folder / NAME, json.dumps(known | old).encode())
