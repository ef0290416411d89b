"""Files by path: only in folders that the operator named, and none is ever replaced."""

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from mdp_lite.files import atomic
from mdp_lite.names import BadInput, CannotWrite

SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
CLOSED = "is not allowed here: the operator named no folder (--folder)"
WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


def open_folders(names: Iterable[str]) -> tuple[Path, ...]:
    """The folders that the operator named, without links. Raises BadInput for what is none."""
    found: list[Path] = []
    for name in names:
        path = Path(name).expanduser().resolve()
        if not path.is_dir():
            raise BadInput(f"folder must be a directory, got {name!r}", "folder")
        found.append(path)
    return tuple(dict.fromkeys(found))


def find_inside(folders: Sequence[Path], text: str, param: str) -> Path:
    """The path that a client wrote, without links. Raises BadInput if it is in no folder.

    A relative path is in the first folder. Whether something exists elsewhere is never revealed.
    """
    if not folders:
        raise BadInput(f"{param} {CLOSED}")
    try:
        path = (folders[0] / text).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL, a loop of links, a name too long
        raise BadInput(f"{param} must be a path, got {text[:100]!r}") from None
    if not any(path.is_relative_to(folder) for folder in folders):
        there = " or ".join(map(str, folders))
        raise BadInput(f"{param} must be in {there}, got {text[:100]!r}")
    return path


def read_inside(folders: Sequence[Path], text: str, param: str, max_bytes: int) -> bytes:
    """The bytes of a regular file in a folder. Raises BadInput."""
    path = find_inside(folders, text, param)
    try:
        # A link that replaced the file since then is not followed, and a pipe is not waited for.
        with open(os.open(path, os.O_RDONLY | WITHOUT_WAITING), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadInput(f"{param} must be a file, got {text[:100]!r}")
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise BadInput(f"{param} can't be read ({error.strerror}): {text[:100]!r}") from None
    if len(data) > max_bytes:
        raise BadInput(f"{param} must have at most {max_bytes} bytes, got more")
    return data


def check_new_file(folders: Sequence[Path], text: str) -> Path:
    """The path of a picture that does not exist yet, in a folder that does. Raises BadInput."""
    path = find_inside(folders, text, "save_as")
    if path.suffix.lower() not in SUFFIXES:
        raise BadInput(f"save_as must end in {', '.join(SUFFIXES)}, got {text[:100]!r}")
    if os.path.lexists(path):
        raise BadInput(
            f"save_as must be a new file, and {text[:100]!r} exists: choose another name"
        )
    if not path.parent.is_dir():
        raise BadInput(f"save_as must be in a folder that exists, got {text[:100]!r}")
    return path


def write_new_file(path: Path, data: bytes) -> None:
    """Write a file that must not exist. Raises CannotWrite, then nothing is there."""
    try:
        path.touch(exist_ok=False)  # takes the name, or fails if another has taken it since
    except OSError as error:
        raise CannotWrite(error.errno, error.strerror or str(error), str(path)) from None
    try:
        atomic.write(path, data)
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
