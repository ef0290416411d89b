"""The bytes that are alive while models run on the meta device, by the results of ATen calls.

It knows what torch's functions hide: the copies that cuDNN makes of maps where weights are in
channels_last, and attention that stores no matrix. It counts no workspace of a kernel.
"""

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from mdp_lite.checkpoint.assign import BuildOnMeta
from mdp_lite.engine.gpu import lay_channels_last

M = TypeVar("M", bound=nn.Module)
LAST = torch.channels_last
META = torch.device("meta")


class FusedAttention(TorchFunctionMode):
    """Attention whose result alone is allocated."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


class LiveBytes(TorchDispatchMode):
    """Adds up storages from the call that gives them to their end: live now, peak at most.

    skips_maps: those that torch.empty gives are elsewhere, as the maps of a VAE in stripes.
    """

    def __init__(self, skips_maps: bool = False) -> None:
        super().__init__()
        self.skips_maps = skips_maps
        self.live = self.peak = 0
        self.known = weakref.WeakSet[Any]()

    def add(self, tensor: Tensor, counts: bool = True) -> None:
        """Count a tensor's storage, unless it is known."""
        storage = tensor.untyped_storage()
        if storage in self.known:
            return
        self.known.add(storage)
        if counts:
            self.live += storage.nbytes()
            weakref.finalize(storage, self._release, storage.nbytes())
            self.peak = max(self.peak, self.live)

    def _release(self, size: int) -> None:
        self.live -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        copied = 0
        if func is torch.ops.aten.convolution.default and is_laid(args[1]):
            out = torch.empty_strided(out.shape, laid_strides(out), dtype=out.dtype, device=META)
            copied = 0 if args[0].is_contiguous(memory_format=LAST) else args[0].nbytes
        maps = self.skips_maps and func is torch.ops.aten.empty.memory_format
        for one in out if isinstance(out, tuple | list) else (out,):
            if isinstance(one, Tensor):
                self.add(one, not maps)
        self.peak = max(self.peak, self.live + copied)
        return out


def is_laid(weight: Tensor) -> bool:
    """Whether a convolution's weight is in channels_last, and not in both layouts at once."""
    return weight.is_contiguous(memory_format=LAST) and not weight.is_contiguous()


def laid_strides(x: Tensor) -> tuple[int, ...]:
    """The strides of a map in channels_last."""
    _, c, y, width = x.shape
    return c * y * width, 1, width * c, c


def build_on_meta(build: Callable[[], M], dtype: torch.dtype, laid: bool) -> M:
    """A model without values."""
    with BuildOnMeta():
        model = build().to(dtype).eval()
    if laid:
        lay_channels_last(model)
    return model


def peak_of(model: nn.Module, run: Callable[[], object], skips_maps: bool = False) -> int:
    """The most bytes at one time while run calls a model, without its weights."""
    with torch.no_grad(), FusedAttention(), LiveBytes(skips_maps) as meter:
        for weight in model.parameters():
            meter.add(weight, False)
        run()
    return meter.peak
