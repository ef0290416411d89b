"""Plug-and-Play (Tumanyan et al. 2022, arXiv 2211.12572): the source's features in the edit.

An attention function can't reach the output of a residual block. So the injecting UNet is a copy
that shares all weights, in which one block passes on the source's features. The model itself is
not changed.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mdp_lite.eval.rivals.attention import LayerCounter, count_blocks_before_decoder
from mdp_lite.eval.rivals.task import (
    CallRow,
    EditedLatents,
    RivalTask,
    call_unet,
    ddim_step,
    null_row,
)
from mdp_lite.models.layers import ResnetBlock2D
from mdp_lite.models.transformer import SDPA
from mdp_lite.models.unet import UNet

FEATURES, ATTENTION = 0.8, 0.5  # tau_f and tau_A as shares of the steps (the authors' settings)
LAYER = 4 / 12  # of the decoder, whose features are injected (section 4); attention from there on
ROWS = 3  # source, target null, target


class InjectedBlock(nn.Module):
    """A residual block whose branch is the source's in all rows (source, target null, target)."""

    def __init__(self, block: ResnetBlock2D) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """As ResnetBlock2D: x (3b, inp, y, x) -> (3b, out, y, x); f* <- f (Eq. 4)."""
        shortcut = self.block.conv_shortcut
        skip = x if shortcut is None else shortcut(x)
        branch = self.block(x, times) - skip
        return skip + torch.cat([branch.chunk(ROWS)[0]] * ROWS)


class InjectedAttention:
    """Attention of rows (source, target null, target) with the source's self-attention maps.

    A* <- A (Eq. 4): all rows use the source's queries and keys, from block first_block on.
    """

    def __init__(self, first_block: int) -> None:
        self._first_block, self._counter = first_block, LayerCounter()

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One attention of the UNet, q (3b, h, n, d)."""
        layer = self._counter.next_layer(q)
        if layer.text or layer.block < self._first_block:
            return SDPA(q, k, v)
        q, k = (torch.cat([rows.chunk(ROWS)[0]] * ROWS) for rows in (q, k))
        return SDPA(q, k, v)


def inject_features(unet: UNet, layer: float = LAYER) -> UNet:
    """A copy of the UNet that shares all weights and injects the features of one residual block."""
    copy = deepcopy(unet, {id(weight): weight for weight in unet.parameters()})
    level, k = find_decoder_layer(copy, layer)
    level.resnets[k] = InjectedBlock(level.resnets[k])
    return copy


def find_decoder_layer(unet: UNet, layer: float) -> tuple[Any, int]:
    """The decoder's level, and the index in it, of the residual block at a share of all of them."""
    blocks = [(level, k) for level in unet.up_blocks for k in range(len(level.resnets))]  # type: ignore[arg-type]
    return blocks[round(layer * len(blocks))]


def find_first_block(unet: UNet, layer: float) -> int:
    """The number, among all transformer blocks, of the first at or after that residual block."""
    level, k = find_decoder_layer(unet, layer)
    number = count_blocks_before_decoder(unet)
    for other in unet.up_blocks:
        depths = [len(one.transformer_blocks) for one in other.attentions]  # type: ignore[union-attr]
        if other is level:
            return number + sum(depths[:k])
        number += sum(depths)
    return number


def plug_and_play(
    task: RivalTask, features: float = FEATURES, attention: float = ATTENTION, layer: float = LAYER
) -> EditedLatents:
    """Edit with the source's features and self-attention in the first steps.

    features and attention are the shares of the steps that inject each; layer is the residual block
    as a share of the decoder.
    """
    source, n = task.source, len(task.grid.t)
    injecting, first = inject_features(task.unet, layer), find_first_block(task.unet, layer)
    x = source.x[0]
    for i in range(n):
        unet = injecting if i < int(features * n) else task.unet
        attend = InjectedAttention(first) if i < int(attention * n) else SDPA
        null = null_row(task, i)
        rows = [CallRow(source.x[i], source.c), CallRow(x, null), CallRow(x, task.guidance.c)]
        _, e_null, e = call_unet(unet, task.grid.t[i], rows, attend)
        x = ddim_step(task, i, x, e_null, e)
    return EditedLatents(x, ROWS * n)
