"""Writing files whole or not at all: each is written beside its final name, then renamed."""

import errno
import logging
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from mdp_lite.names import CannotWrite

log = logging.getLogger("mdp_lite")

ENDING = ".mdp-lite.tmp"  # of temporary files
MAX_STEM = 100  # bytes of the final name in that of the temporary file: names may have 255 or 143
MAX_LINKS = 40  # that are followed, as on Linux
DAY = 86_400  # seconds after which nobody writes a temporary file any more
NO_SYNC = (errno.EINVAL, errno.ENOTSUP)  # of file systems that can't wait for the disk


def write(path: Path, data: bytes, staging: Path | None = None) -> None:
    """Write a file so that its name always has the old content or the whole new one.

    This holds if the disk is full, if the process is killed, and if the power fails: the content is
    on the disk before the name points to it. An error removes the temporary file; a kill may leave
    `.NAME.*.mdp-lite.tmp`, see sweep.

    The folder is created if need be. The temporary file is written in the same folder, or in
    staging, another folder of the same file system. A link stays a link: the file that it points to
    is replaced. An existing file's permissions stay (a hard link to it keeps the old content), and
    one that may not be written is not replaced. Devices, pipes and paths such as /dev/stdout are
    written into.

    Raises CannotWrite with the file and the reason.

    >>> write(Path("note.txt"), b"hello")
    """
    path = Path(path)
    try:
        if is_stream(path):
            _write_into(path, data)
        else:
            _replace(_follow(path), data, staging)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and find_descriptor(path) is not None:
            raise  # nobody reads our output any more: not the fault of a file
        raise CannotWrite(error.errno, error.strerror or str(error), str(path)) from None
    except ValueError as error:  # a name with a NUL
        raise CannotWrite(errno.EINVAL, str(error), str(path)) from None


def write_each(files: Iterable[tuple[Path, bytes]]) -> list[Path]:
    """Write files one after another; each is whole or as it was. Returns their paths.

    Temporary files in their folders that are older than a day are removed. An error names those
    that were written before it.
    """
    written: list[Path] = []
    try:
        for path, data in files:
            write(path, data)
            written.append(path)
    except CannotWrite as error:
        more = f"; written before it: {', '.join(map(str, written))}" if written else ""
        raise CannotWrite(error.errno, f"{error.strerror}{more}", error.filename) from None
    for folder in {path.parent for path in written}:
        sweep(folder)
    return written


def check(path: Path) -> None:
    """Raise OSError if a file can't be written there; leaves no trace."""
    if is_stream(path):
        if find_descriptor(path) is None and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return
    path = _follow(path)
    _check_old(path)
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    with tempfile.TemporaryFile(dir=folder):
        pass


def sweep(folder: Path, seconds: float = DAY) -> None:
    """Remove temporary files of killed processes: those that are older than so many seconds."""
    with suppress(OSError):
        for path in list(folder.glob(f".*{ENDING}")):
            if time.time() - path.stat().st_mtime > seconds:
                path.unlink()


def is_stream(path: Path) -> bool:
    """Whether a path is written into, not replaced: a device, a pipe, or an open descriptor."""
    if find_descriptor(path) is not None:
        return True
    old = _find(path)
    return old is not None and not stat.S_ISREG(old.st_mode) and not stat.S_ISDIR(old.st_mode)


def find_descriptor(path: Path) -> int | None:
    """The open descriptor of this process that a path such as /dev/stdout or /dev/fd/3 is."""
    ours, name = {os.path.realpath(one) for one in ("/dev/fd", "/proc/self/fd")}, str(path)
    for _ in range(MAX_LINKS):
        folder, last = os.path.realpath(os.path.dirname(name)), os.path.basename(name)
        if folder in ours and last.isdecimal():
            return int(last)
        if not os.path.islink(name):
            return None
        name = os.path.join(folder, os.readlink(name))
    return None


@lru_cache(maxsize=1024)
def warn_once(text: str) -> None:
    """Log a warning, once in a process."""
    log.warning(text)


def _find(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _follow(path: Path) -> Path:
    """The file that a link points to, which may not exist yet."""
    real = Path(os.path.realpath(path)) if path.is_symlink() else path
    if real.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return real


def _write_into(path: Path, data: bytes) -> None:
    number = find_descriptor(path)
    with open(path if number is None else os.dup(number), "wb") as file:
        file.write(data)


def _replace(path: Path, data: bytes, staging: Path | None) -> None:
    old, folder = _check_old(path), staging or path.parent
    path.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / _name_temporary(path.name)
    mode = 0o666 if old is None else 0o600  # nobody may open it before it has the old permissions
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if old is not None:
                _copy_access(old, temporary)
            file.write(data)
            _sync(file)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _check_old(path: Path) -> os.stat_result | None:
    """The state of the file that will be replaced; raises OSError if it may not be written."""
    old = _find(path)
    if old is not None:
        os.close(os.open(path, os.O_WRONLY))  # says why not, and changes nothing
    return old


def _name_temporary(name: str) -> str:
    stem = os.fsencode(name)[:MAX_STEM].decode("utf-8", "ignore")
    return f".{stem}.{secrets.token_hex(4)}{ENDING}"


def _copy_access(old: os.stat_result, path: Path) -> None:
    """Give a new file the owner, if that is allowed, and the permissions of an old one."""
    if hasattr(os, "chown"):  # not on Windows
        with suppress(PermissionError):
            os.chown(path, old.st_uid, old.st_gid)
    os.chmod(path, stat.S_IMODE(old.st_mode))


def _sync(file: BinaryIO) -> None:
    """Wait until the content is on the disk: some errors show only then."""
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
