"""Fair timing: functions take turns, the order flips each round, medians have intervals."""

import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.engine.devices import synchronize
from mdp_lite.eval.interval import LEVEL, RESAMPLES

SHARES = (0.5, 0.9, 0.99)
# Dense FLOP/s without sparsity of NVIDIA's data sheets, by a part of the device's name.
SHEETS = {
    "H200": {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12},
    "H100 80GB HBM3": {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12},
    "A100": {"bfloat16": 312e12, "float16": 312e12, "float32": 19.5e12},
}
# Sizes of the square matrices whose product is timed; seconds beyond which no larger one is tried.
SIZES, LONG = (1024, 2048, 4096), 0.5
COPIED = 2**28  # bytes of the tensor whose copy is timed: more than caches hold


class TimedRounds(NamedTuple):
    """Seconds of each round, and of the warm-up calls before them, which don't count."""

    seconds: list[float]
    warm_up: list[float]


class Percentiles(NamedTuple):
    """Percentiles of samples, linear between two of them, and the number of samples."""

    p50: float
    p90: float
    p99: float
    samples: int


class Ratio(NamedTuple):
    """A ratio of medians, and the ends of its 95% interval."""

    value: float
    low: float
    high: float


class DeviceLimit(NamedTuple):
    """The most FLOP/s of a device, and the origin of that figure."""

    rate: float
    name: str


def time_call(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, until the device has finished its work."""
    synchronize(device)
    begun = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - begun


def time_warm_up(
    calls: Mapping[str, Callable[[], object]], times: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of the first calls of each function, which compile, allocate and choose kernels."""
    return {name: [time_call(run, device) for _ in range(times)] for name, run in calls.items()}


def time_in_turns(
    calls: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warm_up: int = 1
) -> dict[str, TimedRounds]:
    """Call each function once a round; the order flips, so that none is always the first."""
    first = time_warm_up(calls, warm_up, device)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds):
        for name in list(calls)[:: -1 if i % 2 else 1]:
            seconds[name].append(time_call(calls[name], device))
    return {name: TimedRounds(seconds[name], first[name]) for name in calls}


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """The percentiles of some samples."""
    values = torch.tensor(seconds, dtype=torch.float64)
    ends = values.quantile(values.new_tensor(SHARES))
    return Percentiles(*ends.tolist(), samples=len(values))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """median(slow) / median(fast), with a bootstrap over rounds that are resampled as pairs.

    Equal calls use equal resamples.
    """
    pairs = torch.tensor([slow, fast], dtype=torch.float64)
    generator, n = torch.Generator().manual_seed(0), pairs.shape[1]
    resamples = torch.randint(n, (RESAMPLES, n), generator=generator)
    ratios = _divide(pairs[:, resamples].quantile(0.5, dim=-1))
    ends = ratios.quantile(ratios.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Ratio(_divide(pairs.quantile(0.5, dim=-1)).item(), *ends.tolist())


def _divide(pair: Tensor) -> Tensor:
    return pair[0] / pair[1]


def gate(
    outputs: Mapping[str, Tensor], want: Tensor, bounds: Mapping[str, float]
) -> dict[str, float]:
    """The relative distance of each output to the wanted one.

    Raises RuntimeError if one is beyond its bound: functions that disagree are not compared.
    """
    whole = want.cpu().double()
    errors = {
        name: float((out.cpu().double() - whole).norm() / whole.norm())
        for name, out in outputs.items()
    }
    for name, error in errors.items():
        if not error <= bounds[name]:  # NaN is not
            raise RuntimeError(
                f"{name} is {error:.2g} from float32, more than {bounds[name]:.2g}: no figure"
            )
    return errors


def find_limit(dtype: torch.dtype, device: torch.device) -> DeviceLimit:
    """The peak of a known GPU by its data sheet, else the best matrix product measured now."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    short = str(dtype).removeprefix("torch.")
    for part, rates in SHEETS.items():
        if part in name and short in rates:
            return DeviceLimit(rates[short], f"data sheet of {name}, {short}, dense")
    return DeviceLimit(matmul_rate(dtype, device), f"best matrix product in {short}, same run")


def matmul_rate(dtype: torch.dtype, device: torch.device, tries: int = 6) -> float:
    """FLOP/s of the fastest product of square matrices; larger ones are tried if there is time."""
    best = 0.0
    for n in SIZES:
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        seconds = min(time_call(lambda: a @ b, device) for _ in range(tries))  # noqa: B023
        best = max(best, 2 * n**3 / seconds)
        if 8 * seconds > LONG:
            break
    return best


def copy_rate(device: torch.device, tries: int = 6) -> float:
    """Bytes a second that a copy of a large tensor reads and writes, at best."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    seconds = min(time_call(lambda: target.copy_(source), device) for _ in range(tries))
    return 2 * COPIED / seconds


def describe_machine(device: torch.device) -> dict[str, Any]:
    """The hardware and the versions that a figure belongs to."""
    info = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*: (.*)", info.read_text() if info.exists() else "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "Apple's, by mps"
    gpu = {} if device.type == "cpu" else {"gpu": name}
    return {
        "cpu": match[1] if match else platform.processor() or platform.machine(),
        "cores": cores,
        **gpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
