"""Weights at multiples of 64 bytes, where libraries give equal numbers the same sums.

A weight that a file has elsewhere stays mapped until it is first computed with: then it is copied
once to aligned memory. So loading reads no weight, and where a file has it changes no number.
"""

import mmap
import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Bytes. MKL promises the same bits for the same numbers only from this alignment on; safetensors
# puts tensors at multiples of 8 at best, so the length of a file's header would change a picture.
ALIGNMENT = 64
APART = 2**20  # bytes of a weight from which its copy has a separate mapping


class Linear(nn.Linear):
    """A linear layer whose weight is aligned when it is first computed with."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., inp) -> (..., out)."""
        return F.linear(x, self.aligned_weight(), self.bias)

    def aligned_weight(self) -> Tensor:
        """The weight; from now on it lies aligned."""
        weight = self.weight  # read once: another thread may replace it
        if not is_aligned(weight):
            self.weight = weight = align(weight)
        return weight


def align_linears(model: nn.Module) -> None:
    """Align the weights of a model's linear layers now, not when each is computed with."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.aligned_weight()


def is_aligned(weight: Tensor) -> bool:
    """Whether a plain weight is computed with where it lies.

    So is one that an optimiser holds, and all while torch compiles, which can't ask: see lay_plain.
    """
    stays = torch.compiler.is_compiling() or weight.requires_grad or not weight.is_cpu
    return stays or weight.data_ptr() % ALIGNMENT == 0


def align(weight: Tensor) -> nn.Parameter:
    """An aligned copy of a weight, not to be trained."""
    with torch.inference_mode(False):  # else no gradient could ever pass it
        return nn.Parameter(copy_apart(weight.detach(), weight.dtype), requires_grad=False)


def copy_apart(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """An aligned copy on the CPU. The system gets a large one's memory back as soon as it goes.

    The engine gives up plain weights of convolutions; malloc would keep gaps in their places.
    """
    size = tensor.numel() * dtype.itemsize
    if size < APART:
        return tensor.to(dtype, copy=True)
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}
    memory = mmap.mmap(-1, size, **private)
    return torch.frombuffer(memory, dtype=dtype).view(tensor.shape).copy_(tensor)
