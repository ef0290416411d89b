"""Streams and CUDA graphs of a rehearsed GPU.

A graph is a tape of operators with the memory that they read and wrote. A replay runs them again on
that memory and runs no Python, so what a step decides in Python is as frozen as in a real graph.
"""

import threading
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from support.rehearsed_ops import list_storages, list_tensors

if TYPE_CHECKING:
    from support.rehearsal import Rehearsal

FAILED = "CUDA error: operation failed due to a previous error during capture"
EMPTY = "The CUDA Graph is empty. Was the capture on the wrong device or stream?"


class Stream:
    """torch.cuda.Stream: an order of work on one device, which here is always done already."""

    count = 0

    def __init__(self, device: torch.device) -> None:
        Stream.count += 1
        self.device, self.cuda_stream = device, Stream.count

    def wait_stream(self, stream: "Stream") -> None:
        """Nothing: its work is done."""

    def synchronize(self) -> None:
        """Nothing, too."""


class Entry(NamedTuple):
    """An operator on a tape: how to run it on CPU memory, and where its results belong."""

    run: Callable[..., Any]
    args: Any
    kwargs: Any
    results: list[Tensor]  # of an operator that does not write into its arguments


class Tape:
    """torch.cuda.CUDAGraph. gpu is the rehearsal that it belongs to."""

    def __init__(self, gpu: "Rehearsal") -> None:
        self.gpu, self.entries = gpu, list[Entry]()
        self.thread = self.device = self.stream = None
        self.mode, self.broken, self.pool_id = "global", "", (0, 0)
        self.reads, self.made = dict[int, str](), set[int]()
        self.replays = 0

    def capture_begin(
        self, pool: tuple[int, int] | None = None, capture_error_mode: str = "global", **_: Any
    ) -> None:
        """Begin to record what this thread launches on its current stream."""
        stream = self.gpu.current_stream()
        if stream is self.gpu.default_stream(stream.device):
            raise RuntimeError("CUDA graphs must be captured on a non-default stream.")
        if pool in self.gpu.lost_pools:
            raise RuntimeError("the allocator believes that this pool is still recorded into")
        self.thread, self.device, self.stream = threading.get_ident(), stream.device, stream
        self.mode, self.pool_id = capture_error_mode, pool or (0, 0)
        self.gpu.tapes.append(self)
        self.gpu.recording.append(self)

    def capture_end(self) -> None:
        """End it. Raises if anything illegal happened, and then gives its pool not back."""
        if self.gpu.current_stream() is not self.stream:
            raise RuntimeError("Capture must end on the same stream it began on.")
        self.gpu.recording.remove(self)
        if self.broken:
            self.gpu.lost_pools.add(self.pool_id)
            raise RuntimeError(FAILED)
        if not self.entries:
            warnings.warn(EMPTY, stacklevel=2)

    def add(self, run: Callable[..., Any], call: Any, results: Any, at: str) -> None:
        """Record an operator that was just run; at is the line of the project that called it."""
        for one in call.ours:
            (storage,) = list_storages(one.inner)
            if storage not in self.made:
                self.reads.setdefault(storage, at)
        outs = [] if call.func._schema.is_mutable else list_tensors(results)
        self.made |= list_storages(outs) - list_storages((call.args, call.kwargs))
        # Views of their own: unsqueeze_ and the like change a tensor's later, not its memory.
        parts = tree_map_only(Tensor, Tensor.detach, (call.args, call.kwargs, outs))
        self.entries.append(Entry(run, *parts))

    def replay(self) -> None:
        """Run the tape. Memory that nobody holds any more is a violation: use after free."""
        self.replays += 1
        self.gpu.counts["replays"] += 1
        for storage, at in self.reads.items():
            if storage not in self.gpu.held:
                self.gpu.note("a replay reads memory that was freed", at)
        with torch._C._DisableTorchDispatch():
            for entry in self.entries:
                _rerun(entry)

    def pool(self) -> tuple[int, int]:
        """The identity of its memory pool."""
        return self.pool_id

    def reset(self) -> None:
        """Forget the recording."""
        self.entries = []


def _rerun(entry: Entry) -> None:
    fresh = list_tensors(entry.run(*entry.args, **entry.kwargs))
    inputs = list_storages((entry.args, entry.kwargs))
    for place, value in zip(entry.results, fresh, strict=False):
        if not list_storages(place) & inputs:
            place.copy_(value)


def find_tape(tapes: Iterable[Tape], device: torch.device, stream: Stream) -> Tape | None:
    """The tape that records what this thread launches on a device's current stream."""
    own = threading.get_ident()
    fitting = (one for one in tapes if one.thread == own and one.device == device)
    return next((one for one in fitting if one.stream is stream), None)
