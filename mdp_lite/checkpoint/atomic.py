"""Files that are there whole or not at all."""

import os
import uuid
from pathlib import Path


def write(path: Path, data: bytes, first: Path | None = None) -> None:
    """Write beside the file, then put it in its place: who reads sees the old one or the new.

    Its folder is made if need be. first is another folder of the same file system to write it in.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if first is not None:
        first.mkdir(parents=True, exist_ok=True)
    beside = (first or path.parent) / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        with open(beside, "xb") as file:
            file.write(data)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
