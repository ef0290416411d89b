"""Weights in mapped files: pages that nothing reads any more go back to the system.

A large weight is mapped alone, and its pages go with it. Small ones share a mapping, which lasts as
long as any of them, though all others were copied or packed.
"""

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor

# Of Linux 5.4. It drops pages that equal the file and keeps those that were written, which
# MADV_DONTNEED would lose. On tmpfs, and for a file that we may not write, it does nothing.
MADV_PAGEOUT = 21


def give_back(weight: Tensor) -> None:
    """Give the system the pages of a mapped weight that is not read again for now.

    Its numbers stay: whoever does read it gets them from the file. A weight that is not marked as
    mapped is left alone, and so are the two pages that it shares with its neighbours.
    """
    advise = find_madvise()
    if advise is None or not getattr(weight, "mapped", False):
        return
    begin, page = weight.data_ptr(), mmap.PAGESIZE
    first, last = -(-begin // page) * page, (begin + weight.nbytes) // page * page
    if first < last:
        advise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_PAGEOUT)


def mark_mapped(weight: Any, source: Tensor) -> None:
    """Mark a weight as mapped if the tensor whose memory it has is."""
    if getattr(source, "mapped", False) and weight.data_ptr() == source.data_ptr():
        weight.mapped = True


@functools.cache
def find_madvise() -> Callable[..., int] | None:
    """The C library's madvise, on Linux."""
    return getattr(ctypes.CDLL(None), "madvise", None) if sys.platform == "linux" else None
