"""What the Triton kernels share on the host: which tensors they take, and how to cut them."""

from importlib.util import find_spec

import torch
from torch import Tensor

# Looked up once, not in takes: torch.compile traces takes, and could not trace the search.
TRITON = find_spec("triton") is not None
SMALL = 2**31 - 2**16  # values that 32-bit offsets, the last block's included, can reach


def fits(*tensors: Tensor) -> bool:
    """Whether Triton is installed, the tensors lie on one GPU, and none needs a gradient."""
    return (
        TRITON
        and all(x.is_cuda and x.device == tensors[0].device for x in tensors)
        and tensors[0].numel() > 0
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors))
    )


def blocks(size: int, block: int) -> int:
    """How many blocks cover a size."""
    return -(-size // block)


def power_of_two(size: int) -> int:
    """The least power of two that is not below a size; a block of Triton must have one."""
    return 1 << (size - 1).bit_length()
