"""The device code of pixels.py; it imports triton, so it is imported on demand."""

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mdp_lite_kernels.shapes import blocks

BLOCK = 1024


@triton.jit
def pixels_kernel(
    picture: tl.tensor, out: tl.tensor, size: tl.tensor, area: tl.tensor,
    LAST: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """out = round(255 clamp(picture / 2 + 1/2)), channels last; LAST: the picture is too."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    pixel = i // 3
    at = i if LAST else (pixel // area * 3 + i % 3) * area + pixel % area
    value = tl.load(picture + at, mask=i < size, other=0.0).to(tl.float32)
    # Clamped after the product: the compiler may not fuse it into the sum, which would round once.
    value = tl.minimum(tl.maximum(255.0 * (0.5 * value + 0.5), 0.0), 255.0)
    value = (value + 8388608.0) - 8388608.0  # 2^23: the rest is rounded to even, as torch does
    tl.store(out + i, value.to(tl.int32).to(tl.uint8), mask=i < size)


@triton_op("mdp_lite::pixels", mutates_args={})
def pixels_op(picture: Tensor) -> Tensor:
    """The kernel as an operator that torch.compile can trace."""
    b, _, height, width = picture.shape
    out = picture.new_empty(b, height, width, 3, dtype=torch.uint8)
    with torch.cuda.device_of(picture):
        wrap_triton(pixels_kernel)[(blocks(out.numel(), BLOCK),)](
            picture, out, out.numel(), height * width, not picture.is_contiguous(), BLOCK
        )
    return out
