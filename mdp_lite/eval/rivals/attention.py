"""Helpers for rivals that read or change attention maps.

A rival passes a new attention function with each call of the UNet. The UNet calls it for its layers
in a fixed order: each transformer block first attends to itself, then to the text.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.models.transformer import BasicTransformerBlock
from mdp_lite.models.unet import UNet


class AttentionLayer(NamedTuple):
    """One attention of a UNet call: its block's number, whether it reads the text, its cells."""

    block: int
    text: bool
    cells: int


class LayerCounter:
    """Says which attention layer comes next in one call of the UNet."""

    def __init__(self) -> None:
        self._calls = 0

    def next_layer(self, q: Tensor) -> AttentionLayer:
        """The layer whose queries are q (b, h, n, d)."""
        block, text = divmod(self._calls, 2)
        self._calls += 1
        return AttentionLayer(block, bool(text), q.shape[2])


def probabilities(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) (b, h, n, l) of q (b, h, n, d) and k (b, h, l, d)."""
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)


def count_blocks(unet: UNet) -> int:
    """The number of transformer blocks of a UNet."""
    return sum(isinstance(module, BasicTransformerBlock) for module in unet.modules())


def count_blocks_before_decoder(unet: UNet) -> int:
    """The number of transformer blocks before the UNet's decoder (its up blocks)."""
    return count_blocks(unet) - sum(
        isinstance(module, BasicTransformerBlock) for module in unet.up_blocks.modules()
    )
