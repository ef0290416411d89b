"""Attention that rivals see into, as a callable that the UNet is given anew for each of its calls.

Layers come in a fixed order, and every transformer block attends to itself, then to the text.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.models.transformer import BasicTransformerBlock
from mdp_lite.models.unet import UNet


class Layer(NamedTuple):
    """Which attention of a call this is: number of its block, whether it is to the text, cells."""

    block: int
    text: bool
    cells: int


class Count:
    """Tells the layers of one call of the UNet apart."""

    def __init__(self) -> None:
        self._calls = 0

    def layer(self, q: Tensor) -> Layer:
        """The layer that asks with queries (b, h, n, d)."""
        block, text = divmod(self._calls, 2)
        self._calls += 1
        return Layer(block, bool(text), q.shape[2])


def probabilities(q: Tensor, k: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) (b, h, n, l) of q (b, h, n, d) and k (b, h, l, d)."""
    return torch.softmax(q @ k.mT / q.shape[-1] ** 0.5, dim=-1)


def blocks(unet: UNet) -> int:
    """How many transformer blocks a UNet has."""
    return sum(isinstance(module, BasicTransformerBlock) for module in unet.modules())


def blocks_above(unet: UNet) -> int:
    """How many transformer blocks it has before the way up."""
    return blocks(unet) - sum(
        isinstance(module, BasicTransformerBlock) for module in unet.up_blocks.modules()
    )
