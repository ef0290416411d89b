"""GroupNorm, then SiLU, on channels-last memory, of x or of x plus a number for each channel.

One program for each picture and group would be 32 at batch 1, on a GPU of 132 processors. So on
large maps a picture's rows (a row is all channels of a pixel) are cut into chunks; the first pass
leaves mean and squared deviation of each chunk and group, the second combines them and normalises.
On small maps a second launch costs more than idle processors: one program does both for a group.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mdp_lite_kernels.shapes import SMALL, fits

MAX_GROUP = 1024  # channels of a group


def group_norm_silu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True,
    shift: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """silu(GroupNorm(x + shift)) of (b, c, y, x), or without silu; weight and bias (c,).

    shift (1 or b, c) is added to each channel; None adds nothing.
    """
    x = x if shift is None else x + shift[:, :, None, None]
    y = F.group_norm(x, groups, weight, bias, eps)
    return F.silu(y) if silu else y


def takes(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True,
    shift: Tensor | None = None,
) -> bool:  # fmt: skip
    """Whether Triton takes these: 16 or 32 bits, channels_last, no gradient needed."""
    return (
        fits(x, weight, bias, *(() if shift is None else (shift,)))
        and x.ndim == 4
        and x.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and x.is_contiguous(memory_format=torch.channels_last)
        and x.shape[1] // groups <= MAX_GROUP
        and x[0].numel() <= SMALL
        and weight.is_contiguous()
        and bias.is_contiguous()
        and (shift is None or _is_shift(shift, x))
    )


def _is_shift(shift: Tensor, x: Tensor) -> bool:
    rows_fit = shift.shape in ((1, x.shape[1]), x.shape[:2])
    return rows_fit and shift.dtype == x.dtype and shift.stride(1) == 1


def triton_group_norm_silu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True,
    shift: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The same by Triton: sum and statistics in float32, the result in x's dtype and layout."""
    from mdp_lite_kernels import group_norm_silu_jit  # on demand: it imports triton and Inductor

    return group_norm_silu_jit.group_norm_silu_op(x, groups, weight, bias, eps, silu, shift)
