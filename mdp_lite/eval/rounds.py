"""Timing that can be believed: sides in turns, the order flipped, medians with their intervals."""

import os
import platform
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.eval.interval import LEVEL, RESAMPLES

SHARES = (0.5, 0.9, 0.99)
# Dense FLOP/s without sparsity of NVIDIA's data sheets, by a part of the device's name.
SHEETS = {
    "H200": {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12},
    "H100 80GB HBM3": {"bfloat16": 989e12, "float16": 989e12, "float32": 67e12},
    "A100": {"bfloat16": 312e12, "float16": 312e12, "float32": 19.5e12},
}
SIDES, LONG = (1024, 2048, 4096), 0.5  # of the square matrices whose product is timed; seconds


class Timed(NamedTuple):
    """Seconds of each round, and of the calls before them, which warm up and don't count."""

    seconds: list[float]
    warm_up: list[float]


class Spread(NamedTuple):
    """Percentiles of samples, between two of them linearly, and how many there are."""

    p50: float
    p90: float
    p99: float
    samples: int


class Ratio(NamedTuple):
    """A ratio of medians, and the ends of its 95% interval."""

    value: float
    low: float
    high: float


class Limit(NamedTuple):
    """FLOP/s that a device can't pass, and where the figure is from."""

    rate: float
    name: str


def wait(device: torch.device) -> None:
    """Return when the device has done all it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clocked(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, to the end of what it asks of the device."""
    wait(device)
    begun = time.perf_counter()
    run()
    wait(device)
    return time.perf_counter() - begun


def warmed(
    sides: Mapping[str, Callable[[], object]], times: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of the first calls of each side, which compile, allocate and choose kernels."""
    return {name: [clocked(run, device) for _ in range(times)] for name, run in sides.items()}


def interleaved(
    sides: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warm_up: int = 1
) -> dict[str, Timed]:
    """Every round runs each side once; the order flips, so that no side is always the first."""
    first = warmed(sides, warm_up, device)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for i in range(rounds):
        for name in list(sides)[:: -1 if i % 2 else 1]:
            seconds[name].append(clocked(sides[name], device))
    return {name: Timed(seconds[name], first[name]) for name in sides}


def spread(seconds: Sequence[float]) -> Spread:
    """The percentiles of some samples."""
    values = torch.tensor(seconds, dtype=torch.float64)
    ends = values.quantile(values.new_tensor(SHARES))
    return Spread(*ends.tolist(), samples=len(values))


def ratio(slow: Sequence[float], fast: Sequence[float]) -> Ratio:
    """median(slow) / median(fast), with a bootstrap over rounds: both sides of a round go together.

    Equal calls draw equal resamples.
    """
    pairs = torch.tensor([slow, fast], dtype=torch.float64)
    generator, n = torch.Generator().manual_seed(0), pairs.shape[1]
    drawn = torch.randint(n, (RESAMPLES, n), generator=generator)
    ratios = _divided(pairs[:, drawn].quantile(0.5, dim=-1))
    ends = ratios.quantile(ratios.new_tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Ratio(_divided(pairs.quantile(0.5, dim=-1)).item(), *ends.tolist())


def _divided(pair: Tensor) -> Tensor:
    return pair[0] / pair[1]


def gate(
    outputs: Mapping[str, Tensor], want: Tensor, bounds: Mapping[str, float]
) -> dict[str, float]:
    """The distance of each side's output to what is wanted, over the norm of that.

    One beyond its bound is a RuntimeError: sides that give different outputs are not compared.
    """
    whole = want.double().cpu()
    errors = {
        name: float((out.double().cpu() - whole).norm() / whole.norm())
        for name, out in outputs.items()
    }
    for name, error in errors.items():
        if not error <= bounds[name]:  # NaN is not
            raise RuntimeError(
                f"{name} is {error:.2g} from float32, more than {bounds[name]:.2g}: no figure"
            )
    return errors


def limit(dtype: torch.dtype, device: torch.device) -> Limit:
    """The peak of a known GPU by its data sheet, else the best matrix product measured now."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    short = str(dtype).removeprefix("torch.")
    for part, rates in SHEETS.items():
        if part in name and short in rates:
            return Limit(rates[short], f"data sheet of {name}, {short}, dense")
    return Limit(matmul_rate(dtype, device), f"best matrix product in {short}, same run")


def matmul_rate(dtype: torch.dtype, device: torch.device, tries: int = 6) -> float:
    """FLOP/s of the fastest product of square matrices; larger ones are tried while quick."""
    best = 0.0
    for n in SIDES:
        a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
        seconds = min(clocked(lambda: a @ b, device) for _ in range(tries))  # noqa: B023
        best = max(best, 2 * n**3 / seconds)
        if 8 * seconds > LONG:
            break
    return best


def machine(device: torch.device) -> dict[str, Any]:
    """The hardware and the versions that a figure belongs to."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text() if info.exists() else "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {
        "cpu": found[1] if found else platform.processor() or platform.machine(),
        "cores": cores,
        **gpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
