"""What a call takes, in seconds and memory; and what a backward pass is to a forward one."""

import ctypes
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mdp_lite.models.unet import UNet

PROCESS = Path("/proc/self")


class Taken(NamedTuple):
    """Seconds, and the most memory at one time over what was taken before; None: can't be told."""

    seconds: float
    peak_bytes: int | None


def taken(run: Callable[[], object], device: torch.device) -> Taken:
    """Runs it once and measures: resident memory on a CPU under Linux, torch's own on a GPU."""
    before = _before(device)
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    return Taken(seconds, None if before is None else _highest(device) - before)


def backward_share(unet: UNet, y: int, x: int, tokens: int) -> float:
    """FLOPs of the backward pass of one row to its condition alone, over those of a forward pass.

    Latents (1, 4, y, x), conditions (1, tokens, d); attention is counted as its matrix products.
    """
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


def _before(device: torch.device) -> int | None:
    """Bytes in use, with the peak set back to them."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what was freed but kept would hide what is taken
        (PROCESS / "clear_refs").write_text("5")
    except (AttributeError, OSError):  # not Linux, or not allowed
        return None
    return _resident("VmRSS")


def _highest(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _resident("VmHWM")


def _resident(field: str) -> int:
    """Bytes that are resident, now (VmRSS) or at most (VmHWM)."""
    found = re.search(rf"{field}:\s+(\d+) kB", (PROCESS / "status").read_text())
    assert found
    return int(found[1]) * 1024
