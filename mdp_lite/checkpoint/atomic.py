"""Writing files atomically."""

import os
import uuid
from pathlib import Path


def write(path: Path, data: bytes, staging: Path | None = None) -> None:
    """Write a temporary file, then rename it: readers see the old file or the whole new one.

    The folder is created if need be. The temporary file is written in the same folder, or in
    staging, another folder of the same file system.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if staging is not None:
        staging.mkdir(parents=True, exist_ok=True)
    temporary = (staging or path.parent) / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
