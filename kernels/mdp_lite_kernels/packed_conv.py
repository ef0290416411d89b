"""Convolution on the CPU with weights that are laid out for oneDNN once, not in every call."""

import functools
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

# Of x, in all pictures: laying out costs as much as convolving about so many cells.
MAX_CELLS = 2048
LAY_OUT = "_reorder_convolution_weight"


@functools.cache
def is_available() -> bool:
    """Whether this torch has the oneDNN operators that Inductor packs convolutions with."""
    names = (LAY_OUT, "_convolution_pointwise")
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in names
    )


class PackedConv2d(nn.Module):
    """A convolution that keeps a packed copy of its weights for each size of map.

    Inputs that `takes` refuses go through the convolution itself, which is also the reference.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self._packed: dict[torch.Size, Tensor] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "PackedConv2d":
        """The same without packed weights, which torch cannot copy."""
        return PackedConv2d(deepcopy(self.conv, memo))

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> the convolution's output, channels last."""
        conv = self.conv
        if not takes(conv, x):
            return conv(x)
        geometry = (conv.padding, conv.stride, conv.dilation)
        size = x.shape[2:]
        if size not in self._packed:
            lay_out = getattr(torch.ops.mkldnn, LAY_OUT)
            shape = [
                2,
                conv.in_channels,
                *size,
            ]  # 2 always: results must not depend on earlier calls
            self._packed[size] = lay_out(conv.weight.detach(), *geometry, conv.groups, shape)
        run = torch.ops.mkldnn._convolution_pointwise
        return run(x, self._packed[size], conv.bias, *geometry, conv.groups, "none", [], "")


def takes(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether packed weights help: a small map on the CPU, bfloat16 or float32, no gradient."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.bfloat16, torch.float32)
        and x.shape[0] * x.shape[2] * x.shape[3] <= MAX_CELLS
        and conv.padding_mode == "zeros"
        and not (torch.is_grad_enabled() and (x.requires_grad or conv.weight.requires_grad))
    )


def pack_convolutions(model: nn.Module) -> None:
    """Replace each convolution of a model by a PackedConv2d."""
    for name, child in model.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(model, name, PackedConv2d(child))
        else:
            pack_convolutions(child)
