"""The output folder of a batch: whether a run can write to it, found out before any work."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from mdp_lite.batch.manifest import NAME, check_folder
from mdp_lite.files import probe
from mdp_lite.names import BadInput

try:
    import fcntl
except ImportError:  # Windows: see manifest.py
    fcntl = None

PROBE = bytes(4096)  # a file system gives at least so much to a file


def check_output(folder: Path) -> None:
    """Raise BadInput unless a batch can write to a folder; nothing that has a name is created."""
    check_folder(folder)
    manifest = folder / NAME
    try:
        with tempfile.TemporaryFile(dir=find_existing(folder)) as file:
            file.write(PROBE)
            file.flush()
        if manifest.exists():
            _check_manifest(manifest, folder)
    except OSError as error:
        got = f"{error.strerror!r}: {str(folder)!r}"
        raise BadInput(f"output must be a folder that can be written, got {got}") from None


def find_existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return probe.find_existing("output", folder)


def check_place(out: Path, file: str) -> None:
    """Raise BadInput if a file below the output folder can't be written because of its name."""
    path, code = out / file, None
    for folder in (one for one in path.parents if out in one.parents):
        if folder == out / NAME or (folder.exists() and not folder.is_dir()):
            code = errno.EEXIST if folder == path.parent else errno.ENOTDIR
    code = errno.EISDIR if path.is_dir() else code
    if code:
        raise BadInput(f"name must be that of a new file, got {os.strerror(code)!r}")


def free_bytes(folder: Path) -> int:
    """Bytes that are free where the folder is, or will be."""
    return shutil.disk_usage(find_existing(folder)).free


def _check_manifest(manifest: Path, folder: Path) -> None:
    """Open the manifest for writing, and try its lock for a moment; it is not changed."""
    with os.fdopen(os.open(manifest, os.O_RDWR | os.O_APPEND), "rb") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadInput(f"another batch is writing to {str(folder)!r}") from None
