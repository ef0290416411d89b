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
    """A convolution whose weight is packed by the first small map, and then lies in memory so.

    The packed weight replaces conv.weight, so that there is one copy of it. It serves maps of all
    sizes: where oneDNN wants another layout for one, it lays out again in the call, as torch's own
    convolution does. What can't read it unpacks it for good. Bits never depend on earlier calls.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def __deepcopy__(self, memo: dict[int, Any]) -> "PackedConv2d":
        """The same with a plain weight, since torch cannot copy a packed one."""
        unpack(self.conv)
        return PackedConv2d(deepcopy(self.conv, memo))

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> the convolution's output, channels last."""
        conv, weight = self.conv, self.conv.weight  # read once: another thread may replace it
        if not (takes(conv, x) or (weight.is_mkldnn and _equals_torch(conv, x))):
            return conv._conv_forward(x, unpack(conv), conv.bias)
        weight = weight if weight.is_mkldnn else pack(conv, x.shape[2:])
        run, geometry = torch.ops.mkldnn._convolution_pointwise, _geometry(conv)
        return run(x, weight, conv.bias, *geometry, conv.groups, "none", [], "")


def takes(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether packed weights help: a small map on the CPU, bfloat16 or float32, no gradient."""
    return x.shape[0] * x.shape[2] * x.shape[3] <= MAX_CELLS and _computes(conv, x)


def pack(conv: nn.Conv2d, size: torch.Size) -> Tensor:
    """Replace a convolution's weight by a packed one, and return that."""
    lay_out = getattr(torch.ops.mkldnn, LAY_OUT)
    shape = [2, conv.in_channels, *size]  # 2 always: results must not depend on earlier calls
    with torch.inference_mode(False):
        weight = unpack(conv).detach()
        packed = lay_out(weight, *_geometry(conv), conv.groups, shape)
        conv.weight = nn.Parameter(packed, requires_grad=False)
    return packed


def unpack(conv: nn.Conv2d) -> Tensor:
    """A convolution's weight in torch's own layout, with the same bits; a packed one goes."""
    weight = conv.weight
    if weight.is_mkldnn:
        with torch.inference_mode(False):  # else no gradient could ever pass it
            weight = nn.Parameter(weight.to_dense(), requires_grad=False)
        conv.weight = weight
    return weight


def pack_convolutions(model: nn.Module) -> None:
    """Replace each convolution of a model by a PackedConv2d around it."""
    for name, child in model.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(model, name, PackedConv2d(child))
        else:
            pack_convolutions(child)


def _computes(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether oneDNN computes it with packed weights. A weight that is trained is never packed."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.bfloat16, torch.float32)
        and x.dtype == conv.weight.dtype
        and conv.padding_mode == "zeros"
        and not conv.weight.requires_grad
        and not (torch.is_grad_enabled() and x.requires_grad)
    )


def _equals_torch(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether torch's own convolution of a large map also is oneDNN's, with the same bits.

    On one thread torch takes a convolution of 1x1 in float32 as a product of matrices instead.
    """
    product = conv.kernel_size == (1, 1) and torch.get_num_threads() == 1
    return (
        _computes(conv, x)
        and x.is_contiguous(memory_format=torch.channels_last)
        and not (product and x.dtype == torch.float32)
    )


def _geometry(conv: nn.Conv2d) -> tuple[Any, ...]:
    return conv.padding, conv.stride, conv.dilation
