"""The cost of one call of a model, from its config alone: nothing is loaded or computed.

The models run on the meta device, where tensors have shapes but no values, and a meter counts.
"""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mdp_lite.engine.meta_shapes import run_on_meta
from mdp_lite.engine.pages import round_up
from mdp_lite.engine.windowed import WindowedUNet
from mdp_lite.engine.windows import Size, Window
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import AnyVAEConfig, CLIPConfig, UNetConfig
from mdp_lite.models.taesd import build_vae
from mdp_lite.models.unet import UNet

M = TypeVar("M", bound=nn.Module)
# glibc's malloc gives a tensor of more bytes pages for it alone, which go back when it is freed.
# Smaller ones share a heap, whose gaps stay resident: it grows to about twice what is in use at a
# time. tests/engine/test_memory.py compares the sums with the system's count.
ALONE_BYTES = 32 * 1024**2


class CallCost(NamedTuple):
    """FLOPs of convolutions, matrix products and attention (a multiply-add is two), and bytes.

    peak_bytes is the most memory of inputs and activations at one time, without weights and scratch
    memory of kernels; attention is fused and stores no matrix. cpu_bytes is the same on a CPU, with
    the copies that oneDNN makes of maps which do not lie channels last: those of the VAE.
    resident_bytes is that with the gaps which malloc leaves between tensors of up to ALONE_BYTES.
    channels_last_bytes is peak_bytes with the copies that a GPU makes of maps whose convolutions
    have weights in channels_last: torch's group norm gives maps that do not lie so.
    """

    flops: int
    peak_bytes: int
    cpu_bytes: int
    resident_bytes: int
    channels_last_bytes: int = 0


def unet(
    config: UNetConfig, y: int, x: int, rows: int = 1, tokens: int = 77,
    dtype: torch.dtype = torch.float32,
) -> CallCost:  # fmt: skip
    """Cost of a UNet call: latents (rows, 4, y, x) with conditions (rows, tokens, d)."""
    latents = (rows, config.in_channels, y, x)
    conditions = (rows, tokens, config.cross_attention_dim)
    return _measure(
        lambda: UNet(config).to(dtype),
        lambda model: model(
            torch.empty(latents, dtype=dtype), torch.empty(()), torch.empty(conditions, dtype=dtype)
        ),
    )


class WindowCost(NamedTuple):
    """A UNet row that computes a window: its share of a whole row's FLOPs.

    kept_bytes is what the recorded row keeps for it, in Pages.
    """

    share: float
    kept_bytes: int


def window(
    config: UNetConfig, rectangle: Window, size: Size, tokens: int = 77,
    dtype: torch.dtype = torch.float32,
) -> WindowCost:  # fmt: skip
    """Cost of a window of latents (1, 4, *size) with conditions (1, tokens, d)."""
    with torch.no_grad(), torch.device("meta"):
        with _SkipInit():
            model = UNet(config).to(dtype)
        windowed = WindowedUNet(
            model, F.scaled_dot_product_attention, _prepare_nothing, rectangle, size
        )
        x = torch.empty(1, config.in_channels, *size, dtype=dtype)
        c = torch.empty(1, tokens, config.cross_attention_dim, dtype=dtype)
        with _Meter(model, copies=False):
            times, text = model.times(torch.empty(()), c), model.text(c)
        with _Meter(model, copies=False) as whole:
            windowed.predict(x, times, text)
        recorded = windowed.tape.recorded
        windowed.tape.play(recorded)
        with _Meter(model, copies=False) as part:
            windowed.predict(x, times, text)
    return WindowCost(part.flops / whole.flops, sum(round_up(one.nbytes) for one in recorded))


def _prepare_nothing(unet: UNet, height: int, width: int) -> None:
    pass


def encode(
    config: AnyVAEConfig, height: int, width: int, rows: int = 1, dtype: torch.dtype = torch.float32
) -> CallCost:
    """Cost of encoding pictures (rows, 3, height, width) to latents."""
    pictures = (rows, config.in_channels, height, width)
    return _measure(
        lambda: build_vae(config).to(dtype),
        lambda model: model.encode(torch.empty(pictures, dtype=dtype)),
        copies=True,
    )


def decode(
    config: AnyVAEConfig, height: int, width: int, rows: int = 1, dtype: torch.dtype = torch.float32
) -> CallCost:
    """Cost of decoding latents to pictures (rows, 3, height, width)."""
    latents = (rows, config.latent_channels, height // config.factor, width // config.factor)
    return _measure(
        lambda: build_vae(config).to(dtype),
        lambda model: model.decode(torch.empty(latents, dtype=dtype)),
        copies=True,
    )


def text(
    config: CLIPConfig, tokens: int = 77, rows: int = 1, dtype: torch.dtype = torch.float32
) -> CallCost:
    """Cost of encoding token ids (rows, tokens) to conditions."""
    return _measure(
        lambda: CLIPTextEncoder(config).to(dtype),
        lambda model: model(torch.empty(rows, tokens, dtype=torch.long)),
    )


def _measure(build: Callable[[], M], run: Callable[[M], Tensor], copies: bool = False) -> CallCost:
    with torch.no_grad(), torch.device("meta"):
        with _SkipInit():
            model = build()
        with _Meter(model, copies) as meter:
            run(model)
    peaks = meter.peak, meter.cpu_peak, meter.resident_peak, meter.laid_peak
    return CallCost(meter.flops, *peaks)


class _SkipInit(TorchFunctionMode):
    """A context without initial values: on the meta device random ones load torch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


class _Meter(TorchFunctionMode):
    """Adds up the FLOPs of every torch call and tracks the memory of its results."""

    def __init__(self, model: nn.Module, copies: bool) -> None:
        super().__init__()
        self.copies = copies
        self.flops = self.alive = self.peak = self.cpu_peak = 0
        self.resident = self.resident_peak = self.laid_peak = 0
        self.known = weakref.WeakSet(weight.untyped_storage() for weight in model.parameters())

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Calls inside this one are not counted, like the inside of a kernel.
        out = run_on_meta(func, args, kwargs or {})
        self.flops += _flops(func, args, out)
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor):
                self._track(tensor.untyped_storage())
        if isinstance(out, Tensor):
            laid = self.alive + (args[0].nbytes if func is F.conv2d else 0)
            self.laid_peak = max(self.laid_peak, laid)
            copies = _list_copies(args[0], out) if self.copies and func is F.conv2d else []
            self.cpu_peak = max(self.cpu_peak, self.alive + sum(copies))
            resident = self.resident + sum(map(_add_gaps, copies))
            self.resident_peak = max(self.resident_peak, resident)
        return out

    def _track(self, storage: torch.UntypedStorage) -> None:
        if storage not in self.known:  # a view has the storage of another tensor
            self.known.add(storage)
            self.alive += storage.nbytes()
            self.resident += _add_gaps(storage.nbytes())
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self._release, storage.nbytes())

    def _release(self, size: int) -> None:
        self.alive -= size
        self.resident -= _add_gaps(size)


def _list_copies(x: Tensor, out: Tensor) -> list[int]:
    """Bytes of each of oneDNN's copies in a convolution: x, and in 16 bits its result too."""
    return [x.nbytes, out.nbytes] if x.element_size() == 2 else [x.nbytes]


def _add_gaps(size: int) -> int:
    """What a tensor of this size takes of a CPU's memory."""
    return size if size > ALONE_BYTES else 2 * size


def _flops(func: Any, args: Any, out: Any) -> int:
    """FLOPs of a call: two for each multiply-add of the sum behind every cell of out."""
    if func is F.linear:
        return 2 * out.numel() * args[0].shape[-1]
    if func is F.conv2d:
        return 2 * out.numel() * args[1][0].numel()
    if func is F.scaled_dot_product_attention:  # q k^T, and its softmax times v
        q, k, _ = args
        return 2 * (q.numel() + out.numel()) * k.shape[-2]
    return 0
