"""Plug-and-Play (Tumanyan et al. 2022, arXiv 2211.12572): the source's features in the edit.

A residual block's output can't be reached by attention. So a copy of the UNet, all weights shared,
has one block that hands the source's on; the model itself stays as it is.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mdp_lite.eval.rivals.asked import Asked, Edited, Row, called, null_row, stepped
from mdp_lite.eval.rivals.attention import Count, blocks_above
from mdp_lite.models.layers import ResnetBlock2D
from mdp_lite.models.transformer import SDPA
from mdp_lite.models.unet import UNet

FEATURES, ATTENTION = 0.8, 0.5  # tau_f and tau_A as shares of the steps (the authors' settings)
LAYER = 4 / 12  # of the decoder, whose features are injected (section 4); attention from there on
ROWS = 3  # source, target null, target


class Handing(nn.Module):
    """A residual block whose branch is the source's in all rows (source, target null, target)."""

    def __init__(self, block: ResnetBlock2D) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """As ResnetBlock2D: x (3b, inp, y, x) -> (3b, out, y, x); f* <- f (Eq. 4)."""
        short = self.block.conv_shortcut
        kept = x if short is None else short(x)
        branch = self.block(x, times) - kept
        return kept + torch.cat([branch.chunk(ROWS)[0]] * ROWS)


class Shared:
    """Attention of rows (source, target null, target) with the source's self-attention maps.

    A* <- A (Eq. 4), as its queries and keys, from a block on.
    """

    def __init__(self, first: int) -> None:
        self._first, self._count = first, Count()

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention as the UNet asks for it, q (3b, h, n, d)."""
        layer = self._count.layer(q)
        if layer.text or layer.block < self._first:
            return SDPA(q, k, v)
        q, k = (torch.cat([rows.chunk(ROWS)[0]] * ROWS) for rows in (q, k))
        return SDPA(q, k, v)


def handing(unet: UNet, layer: float = LAYER) -> UNet:
    """The same UNet, weights and all, but for one residual block of the way up."""
    copy = deepcopy(unet, {id(weight): weight for weight in unet.parameters()})
    level, k = decoder_layer(copy, layer)
    level.resnets[k] = Handing(level.resnets[k])
    return copy


def decoder_layer(unet: UNet, layer: float) -> tuple[Any, int]:
    """The level of the way up, and the place in it, at a share of all its residual blocks."""
    found = [(level, k) for level in unet.up_blocks for k in range(len(level.resnets))]  # type: ignore[arg-type]
    return found[round(layer * len(found))]


def first_block(unet: UNet, layer: float) -> int:
    """The number, of all transformer blocks, of the first at or after that residual block."""
    level, k = decoder_layer(unet, layer)
    number = blocks_above(unet)
    for other in unet.up_blocks:
        depths = [len(one.transformer_blocks) for one in other.attentions]  # type: ignore[union-attr]
        if other is level:
            return number + sum(depths[:k])
        number += sum(depths)
    return number


def plug_and_play(
    asked: Asked, features: float = FEATURES, attention: float = ATTENTION, layer: float = LAYER
) -> Edited:
    """Edits with the source's features and self-attention in their first steps."""
    source, n = asked.source, len(asked.grid.t)
    injecting, first = handing(asked.unet, layer), first_block(asked.unet, layer)
    x = source.x[0]
    for i in range(n):
        unet = injecting if i < int(features * n) else asked.unet
        attend = Shared(first) if i < int(attention * n) else SDPA
        null = null_row(asked, i)
        rows = [Row(source.x[i], source.c), Row(x, null), Row(x, asked.to.c)]
        _, e_null, e = called(unet, asked.grid.t[i], rows, attend)
        x = stepped(asked, i, x, e_null, e)
    return Edited(x, ROWS * n)
