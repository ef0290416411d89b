"""GEGLU's pointwise half: u gelu(gate) of a projection (u, gate), in one pass."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mdp_lite_kernels.shapes import INT32, blocks, fits

BLOCK = 1024


def reference(projection: Tensor) -> Tensor:
    """u gelu(gate) (..., d) of (u, gate) side by side (..., 2 d); gelu by erf, as torch's own."""
    u, gate = projection.chunk(2, dim=-1)
    return u * F.gelu(gate)


def takes(projection: Tensor) -> bool:
    """Whether the kernel takes it: 16 or 32 bits, contiguous, no gradient wanted."""
    return (
        fits(projection)
        and projection.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and projection.ndim > 0
        and projection.shape[-1] % 2 == 0
        and projection.is_contiguous()
        and projection.numel() <= INT32 - 2 * BLOCK
    )


@triton_op("mdp_lite_kernels::geglu", mutates_args={})
def geglu(projection: Tensor) -> Tensor:
    """The kernel: computed in float32, rounded once to the projection's dtype."""
    from mdp_lite_kernels.geglu_jit import gated

    d = projection.shape[-1] // 2
    out = projection.new_empty(*projection.shape[:-1], d)
    with torch.cuda.device_of(projection):
        grid = (blocks(out.numel(), BLOCK),)
        wrap_triton(gated)[grid](projection, out, out.numel(), d, BLOCK)
    return out
