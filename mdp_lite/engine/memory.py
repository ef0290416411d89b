"""The memory of a process that edits on a CPU, before it runs.

It is the most that is resident at one time, as the operating system counts it: Python with its
libraries, all weights, the activations of the largest call, the source path, and what malloc does
not give back of these.
"""

import ctypes
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import torch

from mdp_lite.engine import flops
from mdp_lite.models.config import AnyVAEConfig, UNetConfig

LATENT_BYTES = 8  # latents are float64
# Python, torch, transformers' tokenizer, and the code that oneDNN generates. A build of torch for
# CUDA reads twice as much, on a CPU too. tests/engine/test_memory.py compares the sums with the
# system's count.
LIBRARY_BYTES = 600_000_000 if torch.backends.cuda.is_built() else 300_000_000


class CallMemory(NamedTuple):
    """The bytes of the largest call on a CPU: its activations, and the gaps that malloc leaves."""

    activations: int
    gaps: int


def largest_call(
    unet: UNetConfig, vae: AnyVAEConfig, height: int, width: int, rows: int, tokens: int,
    dtype: torch.dtype,
) -> CallMemory:  # fmt: skip
    """The most that UNet calls with so many rows take on a CPU, or the decoder.

    height and width are those of the picture, in pixels.
    """
    y, x = height // vae.factor, width // vae.factor
    call = flops.unet(unet, y, x, rows, tokens, dtype)
    return find_largest([call, flops.decode(vae, height, width, 1, dtype)])


def find_largest(calls: Iterable[flops.CallCost]) -> CallMemory:
    """The most that any of these calls takes on a CPU."""
    some = list(calls)
    most = max(one.cpu_bytes for one in some)
    return CallMemory(most, max(one.resident_bytes for one in some) - most)


def path_bytes(vae: AnyVAEConfig, height: int, width: int, steps: int) -> int:
    """The bytes of a source path: a latent for each level and the noise of each step.

    While it is put together from its steps, it is in memory twice.
    """
    cells = (height // vae.factor) * (width // vae.factor)
    return (2 * steps + 1) * vae.latent_channels * cells * LATENT_BYTES


def return_freed_memory() -> None:
    """Give the operating system what malloc keeps of freed memory, where the C library can.

    Between packed weights the activations of UNet calls leave gaps, half a gigabyte at SD 1.5's
    size, which would add to the peak of a large decoder. It takes milliseconds.
    """
    with suppress(AttributeError, OSError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
