"""How the VAE is run: on a CPU channels last, with packed convolutions and little new memory.

At 512x512 a map takes 64 MiB in bfloat16, and the system clears the pages of each new one, which
takes longer than several passes over it. So on a CPU a group norm and its SiLU are one kernel, sums
and norms write where they read, and what is new lies in huge pages. Results differ from those of
the plain modules by rounding alone; a residual sum is rounded once, not twice.
Shapes: b batch, c channels, y x height and width.
"""

import mmap
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import prod
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from mdp_lite.engine.engine import Engine, choose_attention
from mdp_lite.engine.fusing import SILU, answer_contiguous, copy_around, fuse
from mdp_lite.engine.unet_calls import Function
from mdp_lite.models.conv import lay_plain
from mdp_lite.models.layers import Downsample2D, GroupNorm, ResnetBlock2D, Upsample2D, activation
from mdp_lite.models.transformer import Attend
from mdp_lite.models.vae import VAE, VAEAttention
from mdp_lite_kernels import cpu_group_norm, packed_conv

LARGE = 2**21  # bytes of a map from which it has a separate mapping


def wrap_methods(engine: Engine, model: Any, names: Sequence[str]) -> dict[str, Function]:
    """Methods of a VAE, run as the engine runs its UNet; on a CPU lean in every mode.

    There Inductor is slower: it makes new memory for each map.
    """
    if is_lean(model):
        own = lean(model, choose_attention(torch.device("cpu")))
        return {name: partial(run_channels_last, getattr(own, name)) for name in names}
    if engine.mode == "compile":
        lay_plain(model)
    own = fuse(model, engine.fused) if engine.fused else model
    methods = {name: getattr(own, name) for name in names}
    if engine.fused:
        methods = {name: partial(answer_contiguous, one) for name, one in methods.items()}
    return {name: engine.wrap(method) for name, method in methods.items()}


def is_lean(model: Any) -> bool:
    """Whether `lean` is for a model: a VAE on a CPU that has the kernels.

    torch's own group norm loses digits in channels last where a picture is even.
    """
    on_cpu = isinstance(model, VAE) and all(one.is_cpu for one in model.parameters())
    return on_cpu and packed_conv.is_available() and cpu_group_norm.best_path() > 0


def lean(vae: VAE, attend: Attend) -> VAE:
    """The same VAE around the same weights, for a CPU; its calls pack the weights they read.

    attend is the attention of the middle. A call that needs gradients is that of the plain modules.
    """
    around = copy_around(vae)
    packed_conv.pack_convolutions(around)
    _replace(around, partial(_wrap, attend))
    return around


def run_channels_last(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """function of x, which computes in channels last; the result is in torch's own layout."""
    return function(x.contiguous(memory_format=torch.channels_last)).contiguous()


def zero_map(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Zeros (b, c, y, x), channels last; a large map in huge pages where the system has them."""
    b, c, y, x = shape
    size = prod(shape) * dtype.itemsize
    if size < LARGE:
        return torch.zeros(b, y, x, c, dtype=dtype).permute(0, 3, 1, 2)
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if os.name == "posix" else {}
    memory = mmap.mmap(-1, size, **private)
    with suppress(AttributeError, OSError):  # not Linux, or built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(b, y, x, c).permute(0, 3, 1, 2)


class LeanGroupNorm(nn.Module):
    """A group norm by our kernel, which also applies SiLU."""

    def __init__(self, norm: GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """norm(x): (b, c, y, x) -> (b, c, y, x)."""
        return self._run(x, "", zero_map(x.shape, x.dtype)) if self.takes(x) else self.norm(x)

    def activate(self, x: Tensor, act: str, shift: Tensor | None = None) -> Tensor:
        """act(norm(x + shift)), as GroupNorm.activate."""
        if shift is None and self.takes(x):
            return self._run(x, act, zero_map(x.shape, x.dtype))
        return self.norm.activate(x, act, shift)

    def replace(self, x: Tensor, act: str) -> Tensor:
        """activate(x, act), in the memory of x if that is possible."""
        return self._run(x, act, x) if self.takes(x) else self.norm.activate(x, act)

    def takes(self, x: Tensor) -> bool:
        """Whether the kernel computes it."""
        return cpu_group_norm.takes(x, self.norm.num_groups, self.norm.weight, self.norm.bias)

    def _run(self, x: Tensor, act: str, out: Tensor) -> Tensor:
        norm, silu = self.norm, act in SILU
        terms = (norm.num_groups, norm.weight, norm.bias, norm.eps)
        y = cpu_group_norm.native_group_norm_silu(x, *terms, silu, out)
        return activation(act, y) if act and not silu else y


class LeanConv2d(nn.Module):
    """A packed convolution whose result, if large, lies in huge pages."""

    def __init__(self, packed: packed_conv.PackedConv2d) -> None:
        super().__init__()
        self.packed = packed

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, out, y, x)."""
        conv = self.packed.conv
        size = [_count(conv, side, i) for i, side in enumerate(x.shape[2:])]
        shape = (len(x), conv.out_channels, *size)
        if prod(shape) * x.element_size() < LARGE or not packed_conv.takes(conv, x):
            return self.packed(x)
        return self.add_to(zero_map(shape, x.dtype), x)

    def add_to(self, total: Tensor, x: Tensor) -> Tensor:
        """total + the convolution of x, in the memory of total."""
        return self.packed.add_to(total, x)


class LeanResnetBlock2D(nn.Module):
    """A residual block that gives up its input: the result lies there, if channels stay."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        """(b, inp, y, x) -> (b, out, y, x), as ResnetBlock2D without times."""
        block = self.block
        if _needs_gradient(x):
            return block(x)
        h = block.conv1(block.norm1.activate(x, block.act))
        h = block.norm2.replace(h, block.act)
        return block.conv2.add_to(x if block.conv_shortcut is None else block.conv_shortcut(x), h)


class LeanAttention(nn.Module):
    """The middle's attention, which gives up its input: the result lies there."""

    def __init__(self, plain: Any, attend: Attend) -> None:
        super().__init__()
        self.plain, self.attend = plain, attend

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, c, y, x), as VAEAttention."""
        plain = self.plain
        if _needs_gradient(x):
            return plain(x)
        h = rearrange(plain.group_norm(x), "b c y x -> b 1 (y x) c")
        h = plain.to_out[0](self.attend(plain.to_q(h), plain.to_k(h), plain.to_v(h)))
        return x.add_(rearrange(h, "b 1 (y x) c -> b c y x", y=x.shape[2]))


class LeanUpsample2D(nn.Module):
    """Nearest-neighbour upsampling into huge pages, then a 3x3 convolution."""

    def __init__(self, plain: Upsample2D) -> None:
        super().__init__()
        self.conv = plain.conv

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, c, 2y, 2x)."""
        if _needs_gradient(x):
            return self.conv(nn.functional.interpolate(x, scale_factor=2.0))
        b, c, *size = x.shape
        size = [2 * side for side in size]
        out = zero_map((b, c, *size), x.dtype)
        return self.conv(torch.ops.aten.upsample_nearest2d.out(x, size, out=out))


class LeanDownsample2D(nn.Module):
    """Padding right and below in huge pages, then a strided 3x3 convolution."""

    def __init__(self, plain: Downsample2D) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, c, y/2, x/2)."""
        if _needs_gradient(x):
            return self.plain(x)
        b, c, height, width = x.shape
        padded = zero_map((b, c, height + 1, width + 1), x.dtype)
        padded[:, :, :height, :width] = x
        return self.plain.conv(padded)


def _replace(model: nn.Module, swap: Callable[[nn.Module], nn.Module | None]) -> None:
    """Replace each module of a model for which swap gives another; what is within it first."""
    for name, child in model.named_children():
        if not isinstance(child, packed_conv.PackedConv2d):
            _replace(child, swap)
        other = swap(child)
        if other is not None:
            setattr(model, name, other)


def _wrap(attend: Attend, module: nn.Module) -> nn.Module | None:
    match module:
        case GroupNorm():
            return LeanGroupNorm(module)
        case packed_conv.PackedConv2d():
            return LeanConv2d(module)
        case ResnetBlock2D():
            return LeanResnetBlock2D(module)
        case VAEAttention():
            return LeanAttention(module, attend)
        case Upsample2D():
            return LeanUpsample2D(module)
        case Downsample2D():
            return LeanDownsample2D(module)
    return None


def _count(conv: Any, side: int, i: int) -> int:
    """The rows, or columns, of a convolution's result."""
    reach = conv.dilation[i] * (conv.kernel_size[i] - 1)
    return (side + 2 * conv.padding[i] - reach - 1) // conv.stride[i] + 1


def _needs_gradient(x: Tensor) -> bool:
    return torch.is_grad_enabled() and x.requires_grad
