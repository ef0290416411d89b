"""An autoencoder that computes its large maps in stripes of rows: the same picture in less memory.

A map of 1024x1024 cells and 256 channels takes 1 GiB in float32, and a residual block holds three
at a time. Here each layer of large maps is computed for a few rows at a time. A group norm reads
the whole map, so its mean and variance are computed before. Unlike tiles, stripes have no seams:
the result differs from that of a whole call by rounding alone.
Shapes: b batch, c channels, y x height and width.
"""

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial, reduce
from itertools import chain
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdp_lite.models.config import VAEConfig
from mdp_lite.models.layers import ResnetBlock2D, Upsample2D, activation
from mdp_lite.models.vae import VAE, VAEMid

ROWS = 32  # of a stripe of a layer's result
LARGE = 2**26  # bytes of a map from which it is computed in stripes
# What count_bytes counts; tests/engine/test_stripes.py compares it with what is alive.
MIDDLE_MAPS = 5  # of the middle, which is always whole, at one time
SMALL_MAPS = 4.75  # of a layer that is whole because its maps are not LARGE
STRIPE_BYTES = 12  # for each number of a stripe: float32 of a norm and of what it reads, and more
Change = Callable[[Tensor], Tensor]


class Stripes(NamedTuple):
    """How maps are computed: rows at a time, on the device of the weights or its input.

    home is where whole maps lie: None is the device itself, the CPU leaves only stripes on a GPU.
    """

    rows: int = ROWS
    large: int = LARGE
    home: torch.device | None = None


def stripe(vae: VAE, stripes: Stripes = Stripes()) -> VAE:  # noqa: B008
    """The same VAE around the same weights, whose encode and decode work in stripes.

    >>> stripe(vae).decode(latent)
    """
    striped: Any = copy(vae)
    parts = {"encoder": _Striped(vae.encoder, stripes), "decoder": _Striped(vae.decoder, stripes)}
    striped._modules = {**vae._modules, **parts}
    return striped


def count_bytes(
    config: VAEConfig, name: str, height: int, width: int, dtype: torch.dtype, streamed: bool
) -> int:  # fmt: skip
    """The most bytes of one picture's encode or decode in stripes, without weights.

    A residual block holds its input, the map within and its result. streamed: maps are elsewhere.
    """
    every, widths = list[int](), config.block_out_channels
    for level, out in enumerate(widths):
        cells = height * width // 4**level
        inner, outer = widths[min(level + 1, len(widths) - 1)], widths[max(level - 1, 0)]
        every.append(cells * ((inner if name == "decode" else outer) + 2 * out))
        every.append(cells * inner * 5 // 4 if name == "decode" else 0)  # a map and the doubled one
    middle = MIDDLE_MAPS * widths[-1] * (height // config.factor) * (width // config.factor)
    stripe = STRIPE_BYTES * max(widths[:2]) * (ROWS + 2) * width
    maps = 0 if streamed else dtype.itemsize * max(every)
    return max(maps + stripe, middle * dtype.itemsize, int(SMALL_MAPS * LARGE))


class _Striped(nn.Module):
    """An Encoder or a Decoder in stripes, one picture at a time."""

    def __init__(self, whole: Any, stripes: Stripes) -> None:
        super().__init__()
        self.whole, self.stripes = whole, stripes

    def forward(self, x: Tensor) -> Tensor:
        """As the whole one's forward."""
        return torch.cat([self._run(one) for one in x.split(1)])

    def _run(self, x: Tensor) -> Tensor:
        whole, device = self.whole, x.device
        maps, down = _Maps(self.stripes, device), hasattr(whole, "down_blocks")
        levels = whole.down_blocks if down else whole.up_blocks
        layers = [*chain.from_iterable(level.layers() for level in levels)]
        x = maps.convolve(x, whole.conv_in, _keep)
        for layer in [*layers, whole.mid_block] if down else [whole.mid_block, *layers]:
            x = maps.run_layer(layer, x)
        norm = maps.fit_norm(whole.conv_norm_out, x)
        return maps.convolve(x, whole.conv_out, lambda part: F.silu(norm(part))).to(device)


class _Maps(NamedTuple):
    """Layers of one picture's maps (1, c, y, x), computed in stripes on a device."""

    stripes: Stripes
    device: torch.device

    def run_layer(self, layer: nn.Module, x: Tensor) -> Tensor:
        """A residual block, an upsampling, a downsampling, or the middle, which is always whole."""
        grown = 4 * x.nbytes if isinstance(layer, Upsample2D) else x.nbytes
        if isinstance(layer, VAEMid) or grown < self.stripes.large:
            return layer(x.to(self.device)).to(self.home)
        if isinstance(layer, ResnetBlock2D):
            return self._add_residual(layer, x)
        if isinstance(layer, Upsample2D):
            return self.convolve(x, layer.conv, _double, scale=2)
        return self._halve(layer, x)

    def convolve(self, x: Tensor, conv: Any, change: Change, scale: int = 1) -> Tensor:
        """conv(change(x)), 3x3 with padding; change works on rows alone and enlarges by scale."""

        def compute(start: int, stop: int) -> Tensor:
            first, last = start // scale, -(-stop // scale)
            part, above = self._read(x, first, last, halo=1)
            skip = start - scale * (first - above)
            return conv(change(part)).narrow(2, skip, stop - start)

        height, width = (scale * side for side in x.shape[2:])
        return self._fill(x, (1, conv.out_channels, height, width), compute)

    def fit_norm(self, norm: Any, x: Tensor) -> Change:
        """The group norm of x (1, c, y, x) as a function of any of its rows."""
        shares, means, variances = list[float](), list[Tensor](), list[Tensor]()
        for start, stop in self._spans(x.shape[2]):
            part, _ = self._read(x, start, stop)
            groups = part.float().unflatten(1, (norm.num_groups, -1))
            variance, mean = torch.var_mean(groups, dim=(2, 3, 4), correction=0, keepdim=True)
            shares.append((stop - start) / x.shape[2])
            means.append(mean)
            variances.append(variance)
        mean = _add_up(shares, means)
        # The variance of all is the mean of the stripes' variances and of their means' squares.
        spread = [v + (m - mean).square() for v, m in zip(variances, means, strict=True)]
        return partial(_normalise, norm, mean, (_add_up(shares, spread) + norm.eps).rsqrt())

    def _add_residual(self, block: ResnetBlock2D, x: Tensor) -> Tensor:
        """The block as layers.py has it: x + conv2(act(norm2(conv1(act(norm1 x)))))."""
        norm, shortcut = self.fit_norm(block.norm1, x), block.conv_shortcut
        h = self.convolve(x, block.conv1, lambda part: activation(block.act, norm(part)))
        other = self.fit_norm(block.norm2, h)

        def compute(start: int, stop: int) -> Tensor:
            part, above = self._read(h, start, stop, halo=1)
            part = block.conv2(activation(block.act, other(part))).narrow(2, above, stop - start)
            own, _ = self._read(x, start, stop)
            return part.add_(own if shortcut is None else shortcut(own))

        return self._fill(x, tuple(h.shape), compute)

    def _halve(self, layer: Any, x: Tensor) -> Tensor:
        """A downsampling that pads right and below: row r of its result reads 2 r to 2 r + 2."""

        def compute(start: int, stop: int) -> Tensor:
            part, _ = self._read(x, 2 * start, 2 * stop, below=1)
            return layer(part)

        height, width = (side // 2 for side in x.shape[2:])
        return self._fill(x, (1, layer.conv.out_channels, height, width), compute)

    def _fill(
        self, x: Tensor, shape: Sequence[int], compute: Callable[[int, int], Tensor]
    ) -> Tensor:  # fmt: skip
        """A whole map, in which rows of one stripe lie beside each other."""
        out = torch.empty(
            tuple(shape), dtype=x.dtype, device=self.home, memory_format=torch.channels_last
        )
        for start, stop in self._spans(shape[2]):
            out.narrow(2, start, stop - start).copy_(compute(start, stop))
        return out

    def _read(
        self, x: Tensor, start: int, stop: int, halo: int = 0, below: int = 0
    ) -> tuple[Tensor, int]:
        """A copy of rows with the neighbours that there are, and how many of those are above."""
        first, last = max(start - halo, 0), min(stop + max(halo, below), x.shape[2])
        return x.narrow(2, first, last - first).to(self.device, copy=True), start - first

    def _spans(self, height: int) -> list[tuple[int, int]]:
        rows = self.stripes.rows
        return [(start, min(start + rows, height)) for start in range(0, height, rows)]

    @property
    def home(self) -> torch.device:
        """Where whole maps lie."""
        return self.stripes.home or self.device


def _normalise(norm: Any, mean: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    """Rows of a group norm whose mean and 1 / deviation, (1, g, 1, 1, 1), are those of the map."""
    each = x.float().unflatten(1, (norm.num_groups, -1))
    weight, bias = (one.float().unflatten(0, (norm.num_groups, -1)) for one in norm.parameters())
    slope = scale * weight[None, ..., None, None]
    shift = bias[None, ..., None, None] - mean * slope
    return (each * slope).add_(shift).flatten(1, 2).to(x.dtype)


def _add_up(shares: list[float], parts: list[Tensor]) -> Tensor:
    """The sum of parts, each times its share."""
    scaled = [part * share for share, part in zip(shares, parts, strict=True)]
    return reduce(torch.add, scaled)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _keep(x: Tensor) -> Tensor:
    return x
