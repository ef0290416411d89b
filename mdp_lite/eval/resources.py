"""Seconds and memory of a call, and the cost of a backward pass in forward passes."""

import ctypes
import math
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from mdp_lite.models.conv import lay_plain
from mdp_lite.models.unet import UNet

PROCESS, MEMORY = Path("/proc/self"), Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")  # the limits of this one, where the system has them
CORE_LIMIT = CONTAINER / "cpu.max"  # microseconds of all cores in a period, and the period


class ResourceUse(NamedTuple):
    """Seconds, and the most bytes in use at one time above those in use before the call.

    peak_bytes is None if the system does not report it.
    """

    seconds: float
    peak_bytes: int | None


def measure_resources(run: Callable[[], object], device: torch.device) -> ResourceUse:
    """Run once and measure: resident memory on a CPU under Linux, torch's own count on a GPU."""
    before = reset_peak(device)
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    return ResourceUse(seconds, None if before is None else read_peak(device) - before)


def backward_share(unet: UNet, y: int, x: int, tokens: int) -> float:
    """FLOPs of the backward pass of one row to its condition, over those of a forward pass.

    Latents (1, 4, y, x), conditions (1, tokens, d); attention is counted as its matrix products.
    """
    from torch.utils.flop_counter import FlopCounterMode  # it takes 60 MB, which peaks would show

    lay_plain(unet)  # what counts can't read packed weights
    weight = next(unet.parameters())
    latent = weight.new_zeros(1, unet.config.in_channels, y, x)
    t = torch.zeros((), dtype=torch.long, device=weight.device)
    c = weight.new_zeros(1, tokens, unet.config.cross_attention_dim).requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            out = unet(latent, t, c)
        with FlopCounterMode(display=False) as backward:
            torch.autograd.grad(out.sum(), c)
    return backward.get_total_flops() / forward.get_total_flops()


def reset_peak(device: torch.device) -> int | None:
    """Bytes in use, after the peak was reset to them."""
    if device.type == "cuda":
        torch.cuda.init()  # else there is nothing to reset yet, which is an error
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that malloc holds would hide new use
        (PROCESS / "clear_refs").write_text("5")
    except (AttributeError, OSError):  # not Linux, or not allowed
        return None
    return resident_bytes("VmRSS")


def read_peak(device: torch.device) -> int:
    """The most bytes in use at one time since the reset."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resident_bytes("VmHWM")


def resident_bytes(field: str) -> int:
    """Bytes that are resident, now (VmRSS) or at most (VmHWM)."""
    match = re.search(rf"{field}:\s+(\d+) kB", (PROCESS / "status").read_text())
    assert match
    return int(match[1]) * 1024


def count_cores() -> int:
    """The cores that this process may use: those it is bound to, or the limit of its container."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota, _, period = _read_text(CORE_LIMIT).partition(" ")
    if not quota.isdigit() or not period.strip().isdigit():
        return bound or 1
    return max(1, min(bound or 1, math.ceil(int(quota) / int(period))))


def read_memory() -> tuple[int | None, int | None]:
    """Bytes of memory in all and free, as Linux counts them, within a container's limit."""
    kilobytes = dict(re.findall(r"(MemTotal|MemAvailable):\s+(\d+) kB", _read_text(MEMORY)))
    if len(kilobytes) < 2:
        return None, None
    total, free = (1024 * int(kilobytes[name]) for name in ("MemTotal", "MemAvailable"))
    limit = _read_text(CONTAINER / "memory.max").strip()
    used = re.search(r"^anon (\d+)$", _read_text(CONTAINER / "memory.stat"), re.MULTILINE)
    if not limit.isdigit() or not used:
        return total, free
    return min(total, int(limit)), min(free, max(0, int(limit) - int(used[1])))


def _read_text(path: Path) -> str:
    """The text of a file of the system, or nothing if there is none to read."""
    try:
        return path.read_text()
    except OSError:
        return ""
