"""Memory for many tensors, one after the other: the process's own, or a mapped file's."""

import mmap
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from mdp_lite.engine.free_memory import read_free_memory
from mdp_lite.names import BadInput

ALIGNMENT = 64  # bytes
SHARE = 0.5  # of the free memory that may be taken


class Pages:
    """Room for tensors of so many bytes together, given back when the last tensor in it goes.

    With a folder it is a file there without a name, which the system writes and reads by pages:
    its bytes can leave the memory. Raises BadInput if the folder's disk has no room.
    """

    def __init__(self, size: int, folder: Path | None = None) -> None:
        self._memory = torch.frombuffer(_map(max(size, 1), folder), dtype=torch.uint8)
        self._used = 0

    def copy(self, tensor: Tensor) -> Tensor:
        """A copy of a tensor, contiguous, in the next free bytes."""
        start = self._used
        self._used += round_up(tensor.nbytes)
        room = self._memory[start : start + tensor.nbytes].view(tensor.dtype)
        return room.view(tensor.shape).copy_(tensor)


def round_up(size: int) -> int:
    """The bytes that a tensor of so many bytes takes."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def choose_folder(size: int, folder: Path | None = None) -> Path | None:
    """Where so many bytes are to lie: None is memory, else the folder or the temporary one."""
    if size <= SHARE * read_free_memory(torch.device("cpu")):
        return None
    return folder or Path(tempfile.gettempdir())


def _reserve(descriptor: int, size: int) -> None:
    """Make a file so long, with all its bytes on the disk where the system can do that at once.

    Else a disk that is full would end the process when a byte is written to the memory.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)


def _map(size: int, folder: Path | None) -> mmap.mmap:
    if folder is None:
        return mmap.mmap(-1, size)
    try:
        if (free := shutil.disk_usage(folder).free) < size:
            raise OSError(f"{free} bytes are free")
        with tempfile.TemporaryFile(dir=folder) as file:
            _reserve(file.fileno(), size)
            return mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise BadInput(f"{folder} has no room for {size} bytes: {error}") from None
