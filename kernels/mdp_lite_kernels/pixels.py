"""Decoded pictures as bytes, on the device: what leaves it is four or two times smaller."""

import torch
from torch import Tensor
from torch.library import triton_op, wrap_triton

from mdp_lite_kernels.shapes import INT32, blocks, fits

BLOCK = 1024


def reference(picture: Tensor) -> Tensor:
    """(b, 3, y, x), about [-1, 1] -> (b, y, x, 3) uint8, rounded as diffusers does: to even."""
    shown = (picture.float() / 2 + 0.5).clamp(0, 1)
    return (255 * shown).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def takes(picture: Tensor) -> bool:
    """Whether the kernel takes it: 16 or 32 bits, in either memory format, no gradient wanted."""
    return (
        fits(picture)
        and picture.ndim == 4
        and picture.shape[1] == 3
        and picture.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and (picture.is_contiguous() or picture.is_contiguous(memory_format=torch.channels_last))
        and picture.numel() <= INT32 - BLOCK
    )


@triton_op("mdp_lite_kernels::pixels", mutates_args={})
def pixels(picture: Tensor) -> Tensor:
    """The kernel; as in the reference, what NaN becomes is undefined: ask isfinite first."""
    from mdp_lite_kernels.pixels_jit import rounded

    b, _, height, width = picture.shape
    out = picture.new_empty(b, height, width, 3, dtype=torch.uint8)
    with torch.cuda.device_of(picture):
        wrap_triton(rounded)[(blocks(out.numel(), BLOCK),)](
            picture, out, out.numel(), height * width, not picture.is_contiguous(), BLOCK
        )
    return out
