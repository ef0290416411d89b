"""GEGLU's pointwise half: u gelu(gate) of a projection (u, gate), in one pass."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mdp_lite_kernels.shapes import SMALL, fits


def geglu(projection: Tensor) -> Tensor:
    """u gelu(gate) (..., d) of (u, gate) side by side (..., 2 d); gelu by erf, like torch's."""
    u, gate = projection.chunk(2, dim=-1)
    return u * F.gelu(gate)


def takes(projection: Tensor) -> bool:
    """Whether Triton takes it: 16 or 32 bits, contiguous, no gradient needed."""
    return (
        fits(projection)
        and projection.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and projection.ndim > 0
        and projection.shape[-1] % 2 == 0
        and projection.is_contiguous()
        and projection.numel() <= SMALL
    )


def triton_geglu(projection: Tensor) -> Tensor:
    """The same by Triton: computed in float32, rounded once to the projection's dtype."""
    from mdp_lite_kernels import geglu_jit  # on demand: it imports triton and Inductor

    return geglu_jit.geglu_op(projection)
