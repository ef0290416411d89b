"""Capturing work on a GPU as CUDA graphs."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from mdp_lite.engine.graphs import Work

CAPTURING = threading.Lock()
WARM_UP_RUNS = 1  # libraries choose kernels and allocate memory in it, which no capture may


class CudaCapture:
    """Captures work on one GPU: its results, which each replay overwrites, and the replay.

    The graphs share one memory pool, so results last until another of them is replayed. A capture
    that fails leaves the thread on its stream, raises the error of the work, and later ones get a
    new stream and pool: the allocator believes that the old one is still recorded into. Other
    threads may use the GPU meanwhile, but only one of the process captures at a time: a capture
    begins by waiting for the GPU, which would break another one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool_and_stream: tuple[Any, torch.cuda.Stream] | None = None

    def __call__(self, run: Work) -> tuple[Sequence[Tensor], Callable[[], None]]:
        """Run the work WARM_UP_RUNS times, then capture it."""
        with CAPTURING, torch.cuda.device(self._device):  # a graph records the current device alone
            if self._pool_and_stream is None:
                self._pool_and_stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()
            pool, stream = self._pool_and_stream
            causes: list[BaseException] = []  # of the work; the end of a capture hides it
            try:
                _warm_up(run, stream)
                with _capture(pool, stream) as graph:
                    out = _run_noting(run, causes)
            except BaseException as error:
                self._abandon(pool)
                raise (causes or [error])[0] from None
        return out, graph.replay

    def _abandon(self, pool: Any) -> None:
        """Tell the allocator that nothing is recorded into a pool, if it does not know already."""
        self._pool_and_stream = None
        with suppress(AttributeError, RuntimeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
            torch._C._cuda_releasePool(torch.cuda.current_device(), pool)


def _run_noting(run: Work, causes: list[BaseException]) -> Sequence[Tensor]:
    """run(), whose error is also put into causes."""
    try:
        return run()
    except BaseException as error:
        causes.append(error)
        raise


def _warm_up(run: Work, stream: torch.cuda.Stream) -> None:
    current = torch.cuda.current_stream()
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP_RUNS):
            run()
    current.wait_stream(stream)


@contextmanager
def _capture(pool: Any, stream: torch.cuda.Stream) -> Iterator[torch.cuda.CUDAGraph]:
    """Capture the block. However it ends, the thread is on its own stream again."""
    graph = torch.cuda.CUDAGraph()
    with (
        torch.cuda.stream(torch.cuda.current_stream()),
        torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"),
    ):
        yield graph
