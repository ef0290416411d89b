"""The device code of geglu.py; it imports triton, so it is imported on demand."""

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mdp_lite_kernels.shapes import blocks

BLOCK = 1024


@triton.jit
def geglu_kernel(
    projection: tl.tensor, out: tl.tensor, size: tl.tensor,
    D: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """out = u gelu(gate), gelu(g) = g (1 + erf(g / sqrt 2)) / 2."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    at = i // D * (2 * D) + i % D
    u = tl.load(projection + at, mask=i < size, other=0.0).to(tl.float32)
    gate = tl.load(projection + at + D, mask=i < size, other=0.0).to(tl.float32)
    gelu = 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    tl.store(out + i, u * gelu, mask=i < size)


@triton_op("mdp_lite::geglu", mutates_args={})
def geglu_op(projection: Tensor) -> Tensor:
    """The kernel as an operator that torch.compile can trace."""
    d = projection.shape[-1] // 2
    out = projection.new_empty(*projection.shape[:-1], d)
    with torch.cuda.device_of(projection):
        grid = (blocks(out.numel(), BLOCK),)
        wrap_triton(geglu_kernel)[grid](projection, out, out.numel(), d, BLOCK)
    return out
