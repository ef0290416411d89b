"""The condition c of a UNet as one tensor, also where it has more than the states of one text.

SDXL reads three things: the states (b, l, d) of two text encoders side by side, a pooled state
(b, p), and six sizes (b, 6) in pixels (Podell et al., arXiv 2307.01952, section 2.2). Packed they
are l + k rows of width d: the states, then the pooled state and the sizes, padded with zeros. So
everything that mixes, stores, compares or stacks a condition does it with the whole of it.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SIZES = 6  # original height and width, top and left of the crop, target height and width


class Condition(NamedTuple):
    """What a packed c holds: states (b, l, d), pooled (b, p) and sizes (b, 6) in pixels."""

    states: Tensor
    pooled: Tensor
    sizes: Tensor


def count_rows(pooled_dim: int, width: int) -> int:
    """The rows k of a packed condition that hold a pooled state and the sizes; 0 without them."""
    return -(-(pooled_dim + SIZES) // width) if pooled_dim else 0


def pack(states: Tensor, pooled: Tensor, sizes: Tensor) -> Tensor:
    """states (b, l, d), pooled (b, p) and sizes (b, 6) -> c (b, l + k, d)."""
    width = states.shape[-1]
    extra = torch.cat([pooled, sizes.to(pooled)], dim=-1)
    extra = F.pad(extra, (0, count_rows(pooled.shape[-1], width) * width - extra.shape[-1]))
    return torch.cat([states, extra.unflatten(-1, (-1, width))], dim=-2)


def unpack(c: Tensor, pooled_dim: int) -> Condition:
    """c (b, l + k, d) -> its parts, as views."""
    k = count_rows(pooled_dim, c.shape[-1])
    extra = c[..., -k:, :].flatten(-2)
    return Condition(
        c[..., :-k, :], extra[..., :pooled_dim], extra[..., pooled_dim : pooled_dim + SIZES]
    )


def find_states(c: Tensor, pooled_dim: int) -> Tensor:
    """The states of c, which are all of it in a model without a pooled state."""
    return unpack(c, pooled_dim).states if pooled_dim else c
