"""The files below a folder or of a glob, and the folders that can't be listed, each with why."""

import glob
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Listing(NamedTuple):
    """Files that were found, and folders that can't be listed by the reason."""

    files: list[Path]
    unreadable: dict[Path, str]


def list_folder(base: Path) -> Listing:
    """All files below a folder."""
    errors: list[OSError] = []
    walk = os.walk(base, onerror=errors.append)  # without onerror it is silent about them
    files = [Path(root) / name for root, _, names in walk for name in names]
    return Listing(files, {Path(one.filename): one.strerror or str(one) for one in errors})


def list_glob(pattern: str, base: Path) -> Listing:
    """All that a glob matches; base is its folders before the first wildcard.

    glob says nothing of folders that it can't list, so each that it looks into is tried.
    """
    files = [Path(name) for name in glob.iglob(pattern, recursive=True)]
    reasons = ((folder, find_reason(folder)) for folder in _find_searched(Path(pattern), base))
    return Listing(files, {folder: why for folder, why in reasons if why})


def find_reason(folder: Path) -> str | None:
    """Why a folder can't be listed, or None."""
    try:
        with os.scandir(folder) as found:
            next(found, None)
    except OSError as error:
        return error.strerror or str(error)
    return None


def is_picture_file(path: Path) -> bool:
    """Whether a name is a file, or can't be looked at: then its row says why."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _find_searched(pattern: Path, base: Path) -> Iterator[Path]:
    """The folders that a glob lists: those that its parts before a wildcard match."""
    parts, known = pattern.parts, set[Path]()
    for i in range(len(base.parts), len(parts)):
        if glob.has_magic(parts[i]):
            folders = Path(*parts[: i + (parts[i] == "**")])
            for name in glob.iglob(str(folders), recursive=True):
                if Path(name) not in known and os.path.isdir(name):
                    known.add(Path(name))
                    yield Path(name)
