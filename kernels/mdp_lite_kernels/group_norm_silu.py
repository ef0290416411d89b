"""GroupNorm, then SiLU, on channels-last memory: two passes, chunked so that the GPU is full.

One program for each picture and group would be 32 at batch 1, on a GPU of 132 processors. Here a
picture's rows (a row is all channels of a pixel) are cut into chunks; the first pass leaves mean and
squared deviation of each chunk and group, the second puts them together and normalises.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mdp_lite_kernels.shapes import INT32, blocks, fits, power_of_two

PROGRAMS = 1024  # about 8 for each processor of an H100 or H200
TILE = 4096  # values that a program holds at once
LEAST = 512  # values that make a chunk worth a program
CHANNELS = 64  # channels side by side that a program reads: whole cache lines in 16 bits
PARTS = 4096  # chunks times groups that the second pass puts together in one program
WIDEST = 1024  # channels of a group


def reference(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True
) -> Tensor:
    """silu(GroupNorm(x)) of (b, c, y, x), or GroupNorm(x) alone; weight and bias (c,)."""
    y = F.group_norm(x, groups, weight, bias, eps)
    return F.silu(y) if silu else y


def takes(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True
) -> bool:
    """Whether the kernel takes these: 16 or 32 bits, channels_last, no gradient wanted."""
    return (
        fits(x, weight, bias)
        and x.ndim == 4
        and x.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.shape[1] // groups <= WIDEST
        and x.numel() <= INT32 * x.shape[0]
        and weight.is_contiguous()
        and bias.is_contiguous()
    )


@triton_op("mdp_lite_kernels::group_norm_silu", mutates_args={})
def group_norm_silu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True
) -> Tensor:
    """The kernel: statistics in float32, the result in x's dtype and memory format."""
    from mdp_lite_kernels.group_norm_silu_jit import normalise, partial

    b, rows, width = x.shape[0], x.shape[2] * x.shape[3], x.shape[1] // groups
    across = power_of_two(width)  # channels of a group, in a block
    beside = min(max(CHANNELS // across, 1), power_of_two(groups))  # groups in a block
    lanes = across * beside
    sets = blocks(groups, beside)
    most = min(blocks(rows, max(LEAST // lanes, 1)), max(PARTS // beside, 1))
    chunk = blocks(rows, min(blocks(PROGRAMS, b * sets), most))  # rows in a chunk
    chunks = blocks(rows, chunk)
    deep = min(power_of_two(chunk), max(TILE // lanes, 1))  # rows in a block
    y, parts = torch.empty_like(x), x.new_empty(2, b, chunks, groups, dtype=torch.float32)
    grid, sizes = (chunks, sets, b), (rows, chunk, groups, width, deep, beside, across)
    with torch.cuda.device_of(x):
        wrap_triton(partial)[grid](x, parts, *sizes)
        wrap_triton(normalise)[grid](
            x, parts, weight, bias, y, eps, *sizes, power_of_two(chunks), silu
        )
    return y
