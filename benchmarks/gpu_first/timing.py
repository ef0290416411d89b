"""Milliseconds by the device's own clock, medians with intervals, and host waits."""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mdp_lite.eval.rounds import ratio

CALLED = "called a synchronizing"  # of torch's warning of one wait
REPEATS, FEW = 20, 3  # of a measurement, and of one in a rehearsal


def time_each(run: Callable[[], object], count: int, device: torch.device) -> list[float]:
    """Milliseconds of each of several calls: by events on a GPU, else by the clock."""
    if device.type != "cuda":
        return [_time_on_host(run) for _ in range(count)]
    pairs = []
    for _ in range(count):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        pairs.append((start, end))
    torch.cuda.synchronize(device)
    return [start.elapsed_time(end) for start, end in pairs]


def _time_on_host(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - begun)


def summarize(samples: Sequence[float]) -> dict[str, Any]:
    """The median of samples, the ends of its 95% bootstrap interval, and all samples."""
    median = ratio(samples, [1.0] * len(samples))
    ends = {"median": median.value, "low": median.low, "high": median.high}
    return ends | {"samples": list(samples)}


def count_waits(run: Callable[[], object], device: torch.device) -> int | None:
    """How often the host waits for the GPU in a call, as torch sees it; None without a GPU."""
    if device.type != "cuda":
        run()
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum(CALLED in str(one.message) for one in caught)


def relative_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """|one - other| / |other|, in float64 on the CPU."""
    a, b = one.double().cpu(), other.double().cpu()
    return float((a - b).norm() / b.norm())
