"""The condition c of a UNet as one tensor, also where it has more than the states of one text.

SDXL reads three things: the states (b, l, d) of two text encoders side by side, a pooled state
(b, p), and six sizes (b, 6) in pixels (Podell et al., arXiv 2307.01952, section 2.2). An LCM reads
the guidance scale (b, 1) (Luo et al., arXiv 2310.04378, section 4.3). Packed they are l + k rows of
width d: the states, then the other numbers, padded with zeros. So everything that mixes, stores,
compares or stacks a condition does it with the whole of it.
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


def count_rows(extra_dim: int, width: int) -> int:
    """The rows k of a packed condition that hold extra_dim numbers beside the states."""
    return -(-extra_dim // width)


def pack_extra(states: Tensor, extra: Tensor) -> Tensor:
    """states (b, l, d) and the other numbers (b, e) -> c (b, l + k, d)."""
    width = states.shape[-1]
    room = count_rows(extra.shape[-1], width) * width
    extra = F.pad(extra.to(states), (0, room - extra.shape[-1]))
    return torch.cat([states, extra.unflatten(-1, (-1, width))], dim=-2)


def pack(states: Tensor, pooled: Tensor, sizes: Tensor) -> Tensor:
    """states (b, l, d), pooled (b, p) and sizes (b, 6) -> c (b, l + k, d)."""
    return pack_extra(states, torch.cat([pooled, sizes.to(pooled)], dim=-1))


def add_guidance(c: Tensor, pooled_dim: int, g: float) -> Tensor:
    """c with the guidance scale g behind all else that it holds; pooled_dim is 0 without SDXL's."""
    states, *rest = unpack(c, pooled_dim) if pooled_dim else (c,)
    return pack_extra(states, torch.cat([*rest, c.new_full((len(c), 1), g)], dim=-1))


def find_extra(c: Tensor, extra_dim: int) -> Tensor:
    """The numbers (b, e) that c (b, l + k, d) holds beside the states, in their order."""
    k = count_rows(extra_dim, c.shape[-1])
    return c[..., c.shape[-2] - k :, :].flatten(-2)[..., :extra_dim]


def find_states(c: Tensor, extra_dim: int) -> Tensor:
    """The states of c, which are all of it in a model that reads nothing else."""
    return c[..., : c.shape[-2] - count_rows(extra_dim, c.shape[-1]), :]


def unpack(c: Tensor, pooled_dim: int, extra_dim: int | None = None) -> Condition:
    """c (b, l + k, d) of SDXL -> its parts, as views; extra_dim is more than theirs in an LCM."""
    extra_dim = pooled_dim + SIZES if extra_dim is None else extra_dim
    extra = find_extra(c, extra_dim)
    pooled, sizes = extra[..., :pooled_dim], extra[..., pooled_dim : pooled_dim + SIZES]
    return Condition(find_states(c, extra_dim), pooled, sizes)
