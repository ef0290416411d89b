"""Several training processes with averaged gradients, and one line of progress.

On a CPU one process a core, each with one thread, is faster than one process with many threads.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import nn


class Worker(NamedTuple):
    """The rank of this process, the number of processes, and the device."""

    rank: int
    count: int
    device: torch.device


# By default glibc returns every large buffer to the system and requests it again in each step, page
# by page, which took a third of the time. The workers read these variables when they start.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
    "MALLOC_TOP_PAD_": str(256 << 20),
}


def count_processes(cores: int, batch: int) -> int:
    """How many processes share a batch equally, at most one a core; 0: there is no batch."""
    return max(n for n in range(1, cores + 1) if batch % n == 0)


def spawn(stage: Callable[..., None], *arguments: Any, batch: int = 0) -> None:
    """Run stage(worker, *arguments) in one process a core, or in one process on a GPU.

    With a batch there are as many processes as share it equally.
    """
    if torch.cuda.is_available():
        return stage(Worker(0, 1, torch.device("cuda")), *arguments)
    os.environ.update(KEEP_MEMORY)
    count = count_processes(len(os.sched_getaffinity(0)), batch)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_start, (count, port, stage, arguments), nprocs=count)


def _start(rank: int, count: int, port: int, stage: Callable[..., None], arguments: Any) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    # A run that is stopped (SIGSTOP) goes on later: the processes wait for each other for days.
    dist.init_process_group(
        "gloo", init_method=address, rank=rank, world_size=count, timeout=timedelta(days=30)
    )
    stage(Worker(rank, count, torch.device("cpu")), *arguments)
    dist.barrier()  # the first process still saves: leaving now would cut its connection
    dist.destroy_process_group()


def share_gradients(parameters: list[nn.Parameter], worker: Worker) -> None:
    """Average the gradients over the processes, in one message."""
    if worker.count == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([grad.reshape(-1) for grad in grads])
    dist.all_reduce(flat)
    flat /= worker.count
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))


def agree(number: float, worker: Worker) -> float:
    """The first process's number, on every process: all must stop at the same step."""
    box = torch.tensor([number], dtype=torch.float64)
    if worker.count > 1:
        dist.broadcast(box, 0)
    return float(box)


def report(worker: Worker, message: str) -> None:
    """One line on standard error, from the first process only."""
    if worker.rank == 0:
        print(time.strftime("%H:%M:%S"), message, file=sys.stderr, flush=True)
