"""Convolution on the CPU with weights that are laid out for oneDNN once, not in every call."""

import functools
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

# Of x, in all pictures. On smaller maps oneDNN computes even what torch would do otherwise.
MAX_CELLS = 2048
ALIGNMENT = 64  # bytes; elsewhere equal weights could give other sums
LAY_OUT = "_reorder_convolution_weight"


@functools.cache
def is_available() -> bool:
    """Whether this torch has the oneDNN operators that Inductor packs convolutions with."""
    names = (LAY_OUT, "_convolution_pointwise", "_convolution_pointwise_")
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name) for name in names
    )


class PackedConv2d(nn.Module):
    """A convolution whose weight is packed when it is first read, and then lies in memory so.

    The packed weight replaces conv.weight, so that there is one copy of it. It serves maps of all
    sizes: where oneDNN wants another layout for one, it lays out again in the call, as torch's own
    convolution always does. What can't read it unpacks it. Which of the two computes depends on x
    alone, so bits never depend on earlier calls.
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
        conv = self.conv
        if not takes(conv, x):
            return conv._conv_forward(x, unpack(conv), conv.bias)
        return _run(conv, x, pack(conv, x.shape[2:]), conv.padding)

    def without_padding(self, x: Tensor) -> Tensor:
        """The same of a map whose outermost cells stand for the padding."""
        conv = self.conv
        if not takes(conv, x):
            size = (conv.stride, 0, conv.dilation, conv.groups)
            return nn.functional.conv2d(x, unpack(conv), conv.bias, *size)
        return _run(conv, x, pack(conv, [side - 2 for side in x.shape[2:]]), (0, 0))

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """total + the convolution of x, in the memory of total; rounded once.

        total is (b, out, y, x) in the layout of x, and needs no gradient.
        """
        conv = self.conv
        if not takes(conv, x) or total.dtype != x.dtype:
            return total.add_(self(x))
        weight, geometry = pack(conv, x.shape[2:]), _geometry(conv)
        run = torch.ops.mkldnn._convolution_pointwise_.binary
        rest = (conv.groups, "add", 1.0, None, [], None)
        return run(total, x, weight, conv.bias, *geometry, *rest)


def _run(conv: nn.Conv2d, x: Tensor, weight: Tensor, padding: Any) -> Tensor:
    """The convolution of x with a packed weight."""
    run = torch.ops.mkldnn._convolution_pointwise
    around = (padding, conv.stride, conv.dilation, conv.groups)
    return run(x, weight, conv.bias, *around, "none", [], "")


def takes(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether packed weights serve x: no gradient, and no map for which torch does otherwise.

    For large maps they give the bits of torch's own convolution. On one thread it takes those of
    1x1 in float32 as a product of matrices, with other bits.
    """
    product = conv.kernel_size == (1, 1) and torch.get_num_threads() == 1
    small = x.shape[0] * x.shape[2] * x.shape[3] <= MAX_CELLS
    return (
        is_packable(conv)
        and x.dtype == conv.weight.dtype
        and (small or not (product and x.dtype == torch.float32))
        and (small or x.is_contiguous(memory_format=torch.channels_last))
        and not (torch.is_grad_enabled() and x.requires_grad)
    )


def is_packable(conv: nn.Conv2d) -> bool:
    """Whether oneDNN packs a weight: on the CPU, bfloat16 or float32. One in training changes."""
    weight = conv.weight
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.bfloat16, torch.float32)
        and conv.padding_mode == "zeros"
        and not weight.requires_grad
    )


def pack(conv: nn.Conv2d, size: Sequence[int]) -> Tensor:
    """A convolution's weight, packed for maps of a size unless it already is for any; it stays so.

    is_packable must hold.
    """
    weight = conv.weight  # read once: another thread may replace it
    if not weight.is_mkldnn:
        lay_out = getattr(torch.ops.mkldnn, LAY_OUT)
        shape = [2, conv.in_channels, *size]
        with torch.inference_mode(False):
            packed = lay_out(weight.detach(), *_geometry(conv), conv.groups, shape)
            weight = nn.Parameter(packed, requires_grad=False)
        conv.weight = weight
    return weight


def unpack(conv: nn.Conv2d) -> Tensor:
    """A convolution's weight in torch's own layout, aligned, with the same bits; others go.

    One that is in training stays where it lies.
    """
    weight = conv.weight
    if weight.is_mkldnn or not (weight.requires_grad or weight.data_ptr() % ALIGNMENT == 0):
        with torch.inference_mode(False):  # else no gradient could ever pass it
            plain = weight.to_dense() if weight.is_mkldnn else weight.detach().clone()
            weight = nn.Parameter(plain, requires_grad=False)
        conv.weight = weight
    return weight


def pack_convolutions(model: nn.Module) -> None:
    """Replace each convolution of a model by a PackedConv2d around it."""
    for name, child in model.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(model, name, PackedConv2d(child))
        else:
            pack_convolutions(child)


def pack_weights(model: nn.Module, size: Sequence[int]) -> None:
    """Pack the weights of a model's PackedConv2d for maps of a size, where that is possible."""
    for module in model.modules():
        if isinstance(module, PackedConv2d) and is_packable(module.conv):
            pack(module.conv, size)


def _geometry(conv: nn.Conv2d) -> tuple[Any, ...]:
    return conv.padding, conv.stride, conv.dilation
