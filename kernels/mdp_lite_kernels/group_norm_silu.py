"""GroupNorm, then SiLU, on channels-last memory: two passes, chunked so that the GPU is full.

One program for each picture and group would be 32 at batch 1, on a GPU of 132 processors. Here a
picture's rows (a row is all channels of a pixel) are cut into chunks; the first pass leaves mean
and squared deviation of each chunk and group, the second combines them and normalises.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mdp_lite_kernels.shapes import SMALL, fits

MAX_GROUP = 1024  # channels of a group


def group_norm_silu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True
) -> Tensor:
    """silu(GroupNorm(x)) of (b, c, y, x), or GroupNorm(x) alone; weight and bias (c,)."""
    y = F.group_norm(x, groups, weight, bias, eps)
    return F.silu(y) if silu else y


def takes(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True
) -> bool:
    """Whether Triton takes these: 16 or 32 bits, channels_last, no gradient needed."""
    return (
        fits(x, weight, bias)
        and x.ndim == 4
        and x.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.shape[1] // groups <= MAX_GROUP
        and x[0].numel() <= SMALL
        and weight.is_contiguous()
        and bias.is_contiguous()
    )


def triton_group_norm_silu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True
) -> Tensor:
    """The same by Triton: statistics in float32, the result in x's dtype and memory format."""
    from mdp_lite_kernels import group_norm_silu_jit  # on demand: it imports triton and Inductor

    return group_norm_silu_jit.group_norm_silu_op(x, groups, weight, bias, eps, silu)
