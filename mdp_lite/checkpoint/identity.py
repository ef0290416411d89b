"""Identifying models by content: the same files and choices give the same hash."""

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from mdp_lite.files import atomic
from mdp_lite.models.config import SchedulerConfig, describe_scheduler
from mdp_lite.names import BadCheckpoint

NAME = "files.json"  # in a cache folder: path -> [size, mtime_ns, sha256]
COARSE = 2_000_000_000  # nanoseconds: the coarsest resolution of a file system's clock


class ModelFile(NamedTuple):
    """A file that a model was loaded from, its role, and its size and time when it was read."""

    role: str  # "unet/config.json", "lora 0: 0.8"
    path: Path
    size: int
    mtime_ns: int

    @property
    def stamp(self) -> list[int]:
        """Size and time; they change when the file is written."""
        return [self.size, self.mtime_ns]


@dataclass(frozen=True)
class Origin:
    """Where models come from: every file, the scheduler and the precision, but no weights.

    clip_skip changes what a prompt's condition is, so other sources come of another one.
    """

    name: str
    files: tuple[ModelFile, ...]
    scheduler: SchedulerConfig
    dtype: torch.dtype
    clip_skip: int = 0


def stat_files(files: Iterable[tuple[str, Path]]) -> tuple[ModelFile, ...]:
    """Files (role, path) with their present size and time."""
    return tuple(
        ModelFile(role, path, now.st_size, now.st_mtime_ns)
        for role, path, now in ((role, path, path.stat()) for role, path in files)
    )


def model_hash(origin: Origin, folder: Path | None = None, store: bool = True) -> str:
    """SHA-256 over the files with their roles, scheduler and clip_skip; dtype has no influence.

    An unchanged file is read only once in a process, and only once at all if a folder stores its
    hash. Raises BadCheckpoint for a file that was written after the models were loaded.
    """
    hashes = file_hashes(origin.files, folder, store)
    lines = [json.dumps(describe_scheduler(origin.scheduler), sort_keys=True)]
    lines += [f"{one.role}: {total}" for one, total in zip(origin.files, hashes, strict=True)]
    lines += [f"clip_skip: {origin.clip_skip}"] if origin.clip_skip else []
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_hashes(
    files: Iterable[ModelFile], folder: Path | None = None, store: bool = True
) -> list[str]:
    """SHA-256 of each file, computed or stored: see model_hash."""
    known, new, hashes = _read_known(folder / NAME) if folder else {}, {}, []
    for one in files:
        path, old = str(one.path.absolute()), known.get(str(one.path.absolute()))
        _check_unchanged(one)
        total = old[2] if old and old[:2] == one.stamp else _digest(one)
        if old is None or old[2] != total:
            new[path] = [*one.stamp, total]
        hashes.append(total)
    if folder and store and new:
        _write_known(folder, known, new)
    return hashes


@lru_cache(maxsize=4096)
def _digest(one: ModelFile) -> str:
    with open(one.path, "rb") as file:
        total = hashlib.file_digest(file, "sha256").hexdigest()
    _check_unchanged(one)  # it was not written while it was read
    return total


def _check_unchanged(one: ModelFile) -> None:
    try:
        now = one.path.stat()
    except OSError:
        now = None
    if now is None or [now.st_size, now.st_mtime_ns] != one.stamp:
        name = "/".join(one.path.parts[-2:])
        raise BadCheckpoint(f"{name} has changed since the model was loaded: load it again")


def _read_known(path: Path) -> dict[str, list]:
    """The stored hashes of files; none if the list is damaged."""
    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    entries = stored.items() if isinstance(stored, dict) else ()
    return {key: value for key, value in entries if _is_entry(value)}


def _is_entry(value: object) -> bool:
    kinds = [type(one) for one in value] if isinstance(value, list) else []
    return kinds == [int, int, str]


def _write_known(folder: Path, known: dict[str, list], new: dict[str, list]) -> None:
    """Write the list again; if two processes do so at once, one is lost and computes again.

    A file that was just written is left out: it may change again within one tick of the clock.
    """
    old = {path: one for path, one in new.items() if time.time_ns() - one[1] > COARSE}
    if old:
        try:
            atomic.write(folder / NAME, json.dumps(known | old).encode())
        except OSError as error:
            warn_unkept(folder, error)


def warn_unkept(folder: Path, error: OSError) -> None:
    """Say, once in a process, that a cache's folder could not be written to, and why."""
    atomic.warn_once(
        f"the cache in {str(folder)!r} could not keep new results ({error.strerror}): "
        "they will be computed again"
    )
