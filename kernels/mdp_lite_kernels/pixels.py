"""Decoded pictures as bytes, on the device: what leaves it is four or two times smaller."""

import torch
from torch import Tensor

from mdp_lite_kernels.shapes import SMALL, fits


def pixels(picture: Tensor) -> Tensor:
    """(b, 3, y, x), about [-1, 1] -> (b, y, x, 3) uint8, rounded as diffusers does: to even."""
    shown = (picture.float() / 2 + 0.5).clamp(0, 1)
    return (255 * shown).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def takes(picture: Tensor) -> bool:
    """Whether Triton takes it: 16 or 32 bits, in either memory format, no gradient needed."""
    return (
        fits(picture)
        and picture.ndim == 4
        and picture.shape[1] == 3
        and picture.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and (picture.is_contiguous() or picture.is_contiguous(memory_format=torch.channels_last))
        and picture.numel() <= SMALL
    )


def triton_pixels(picture: Tensor) -> Tensor:
    """The same by Triton; in both, what NaN becomes is undefined: ask isfinite first."""
    from mdp_lite_kernels import pixels_jit  # on demand: it imports triton and Inductor

    return pixels_jit.pixels_op(picture)
