"""The denoiser of Stable Diffusion 1.x and 2.x (UNet2DConditionModel; Rombach et al. 2022).

Shapes: b batch, c channels, y x height and width, l tokens, h heads, d head dim.
Attribute names are the diffusers-layout checkpoint keys.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdp_lite.models.config import UNetConfig
from mdp_lite.models.layers import Downsample2D, ResnetBlock2D, Upsample2D, activation
from mdp_lite.models.transformer import (
    SDPA,
    Attend,
    Attention,
    BasicTransformerBlock,
    Given,
    Transformer2DModel,
)


def timestep_embedding(t: Tensor, dim: int, flip: bool, shift: float) -> Tensor:
    """Sines and cosines of t (n,) at dim/2 frequencies 10000^(-j / (dim/2 - shift)) -> (n, dim)."""
    half = dim // 2
    j = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * (-math.log(10000.0) * j / (half - shift)).exp()
    waves = [angles.cos(), angles.sin()] if flip else [angles.sin(), angles.cos()]
    return F.pad(torch.cat(waves, dim=-1), (0, dim % 2))


class TimestepEmbedding(nn.Module):
    """Two linear layers over the sinusoidal embedding."""

    def __init__(self, dim: int, hidden: int, act: str) -> None:
        super().__init__()
        self.act = act
        self.linear_1 = nn.Linear(dim, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(n, dim) -> (n, hidden)."""
        return self.linear_2(activation(self.act, self.linear_1(x)))


class Block(nn.Module):
    """One level: residual blocks, each followed by a transformer where the level attends.

    Its subclasses only say which way the level resamples and what each residual block reads.
    """

    def __init__(self, config: UNetConfig, level: int, inputs: list[int], attends: bool) -> None:
        super().__init__()
        out, heads, depth = (
            values[level] for values in (config.block_out_channels, config.heads, config.depths)
        )
        self.resnets = nn.ModuleList(_resnet(config, inp, out) for inp in inputs)
        self.attentions = nn.ModuleList(
            Transformer2DModel(config, out, heads, depth) for _ in inputs if attends
        )

    def layer(self, i: int, x: Tensor, given: Given) -> Tensor:
        """Residual block i and its transformer, if there is one."""
        x = self.resnets[i](x, given.times)
        return self.attentions[i](x, given) if self.attentions else x


class Down(Block):
    """One level on the way down; every layer's output is kept for the way up."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        widths = config.block_out_channels
        inputs = [widths[max(level - 1, 0)]] + [widths[level]] * (config.layers_per_block - 1)
        super().__init__(config, level, inputs, "CrossAttn" in config.down_block_types[level])
        last = level == len(widths) - 1
        self.downsamplers = nn.ModuleList([] if last else [Downsample2D(widths[level], padding=1)])

    def forward(self, x: Tensor, given: Given, first: Tensor | None = None) -> list[Tensor]:
        """x (b, inp, y, x) -> the outputs of all layers, the last one halved if it is sampled.

        first is the output of the first layer where that is known.
        """
        kept = []
        for i in range(len(self.resnets)):
            x = self.layer(i, x, given) if i or first is None else first
            kept.append(x)
        for downsampler in self.downsamplers:
            kept.append(downsampler(x))
        return kept


class Mid(nn.Module):
    """Residual block, transformer, residual block at the lowest resolution."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        channels = config.block_out_channels[-1]
        self.resnets = nn.ModuleList(_resnet(config, channels, channels) for _ in range(2))
        transformer = Transformer2DModel(config, channels, config.heads[-1], config.depths[-1])
        self.attentions = nn.ModuleList([transformer])

    def forward(self, x: Tensor, given: Given) -> Tensor:
        """(b, channels, y, x) -> (b, channels, y, x)."""
        x = self.attentions[0](self.resnets[0](x, given.times), given)
        return self.resnets[1](x, given.times)


class Up(Block):
    """One level on the way up; every layer also reads what the way down kept."""

    def __init__(self, config: UNetConfig, index: int) -> None:
        widths = config.block_out_channels
        level, last = len(widths) - 1 - index, index == len(widths) - 1
        arriving = [widths[min(level + 1, len(widths) - 1)]] + [
            widths[level]
        ] * config.layers_per_block
        kept = [widths[level]] * config.layers_per_block + [widths[max(level - 1, 0)]]
        inputs = [a + b for a, b in zip(arriving, kept, strict=True)]
        super().__init__(config, level, inputs, "CrossAttn" in config.up_block_types[index])
        self.upsamplers = nn.ModuleList([] if last else [Upsample2D(widths[level])])

    def forward(self, x: Tensor, kept: list[Tensor], given: Given) -> Tensor:
        """x (b, inp, y, x) -> (b, out, 2y, 2x), or (b, out, y, x) at the last level; pops kept."""
        for i in range(len(self.resnets)):
            x = self.layer(i, torch.cat([x, kept.pop()], dim=1), given)
        for upsampler in self.upsamplers:
            x = upsampler(x, size=kept[-1].shape[-2:])
        return x


class Stem(NamedTuple):
    """What all texts have in common at one x and t, before they are first attended to.

    r (b, c, y, x) is the first residual block's output, h (b, y x, c) what follows, if it attends.
    """

    times: Tensor
    x: Tensor
    r: Tensor
    h: Tensor | None


class UNet(nn.Module):
    """Noisy latent, timestep and text condition to the predicted noise (or v)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.block_out_channels
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], 4 * widths[0], config.act_fn)
        self.down_blocks = nn.ModuleList(Down(config, level) for level in range(len(widths)))
        self.mid_block = Mid(config)
        self.up_blocks = nn.ModuleList(Up(config, index) for index in range(len(widths)))
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, widths[0], config.norm_eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)
        _place(self._resnets, [block.time_emb_proj.out_features for block in self._resnets])
        _place(self._readers, [2 * one.to_k.out_features for one in self._readers])

    def temb(self, t: Tensor) -> Tensor:
        """Activated time embedding of t () or (b,) -> (1 or b, 4 c).

        One t for a whole batch is embedded once: cheaper, and a row's value can't depend on how
        many rows there are.
        """
        config, dtype = self.config, self.time_embedding.linear_1.weight.dtype
        dim = config.block_out_channels[0]
        waves = timestep_embedding(t.reshape(-1), dim, config.flip_sin_to_cos, config.freq_shift)
        return activation(config.act_fn, self.time_embedding(waves.to(dtype)))

    def times(self, t: Tensor) -> Tensor:
        """What all residual blocks add for t () or (b,), side by side: (1 or b, -1)."""
        temb = self.temb(t)
        return torch.cat([block.time_emb_proj(temb) for block in self._resnets], dim=-1)

    def text(self, c: Tensor) -> Tensor:
        """All keys and values of c (..., l, context_dim), side by side: (..., l, -1).

        They are linear in c, so conditions may as well be mixed as these.
        """
        return torch.cat([to(c) for one in self._readers for to in (one.to_k, one.to_v)], dim=-1)

    def forward(self, x: Tensor, t: Tensor, c: Tensor, attend: Attend = SDPA) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, context_dim) -> (b, 4, y, x)."""
        return self.predict(x, self.times(t), self.text(c), attend)

    def predict(self, x: Tensor, times: Tensor, text: Tensor, attend: Attend = SDPA) -> Tensor:
        """The same, given times(t) and text(c)."""
        return self.finish(self.stem(x, times, attend), text, attend)

    def stem(self, x: Tensor, times: Tensor, attend: Attend = SDPA) -> Stem:
        """x (b, 4, y, x), times(t): what a call does before it needs c."""
        x = self.conv_in(x)
        block: Any = self.down_blocks[0]
        r = block.resnets[0](x, times)
        h = block.attentions[0].before(r, attend) if block.attentions else None
        return Stem(times, x, r, h)

    def finish(self, stem: Stem, text: Tensor, attend: Attend = SDPA) -> Tensor:
        """The rest of a call, given text(c) -> (b, 4, y, x)."""
        (_, x, r, h), given = stem, Given(stem.times, text, attend)
        level: Any = self.down_blocks[0]
        first = r if h is None else level.attentions[0].after(r, h, given)
        del stem, r, h  # large, and of no more use here
        kept = [x, *level(x, given, first)]
        for block in self.down_blocks[1:]:
            kept += block(kept[-1], given)
        x = self.mid_block(kept[-1], given)
        for block in self.up_blocks:
            x = block(x, kept, given)
        return self.conv_out(activation(self.config.act_fn, self.conv_norm_out(x)))

    @property
    def _resnets(self) -> list[ResnetBlock2D]:
        return [module for module in self.modules() if isinstance(module, ResnetBlock2D)]

    @property
    def _readers(self) -> list[Attention]:
        """Those that attend to the text."""
        blocks = [one for one in self.modules() if isinstance(one, BasicTransformerBlock)]
        return [block.attn2 for block in blocks]


def _place(layers: Sequence[ResnetBlock2D | Attention], widths: Sequence[int]) -> None:
    """Say to layers where, side by side, their parts are."""
    for layer, end, width in zip(layers, accumulate(widths), widths, strict=True):
        layer.place = slice(end - width, end)


def _resnet(config: UNetConfig, inp: int, out: int) -> ResnetBlock2D:
    time_dim = 4 * config.block_out_channels[0]
    groups, eps, act = config.norm_num_groups, config.norm_eps, config.act_fn
    return ResnetBlock2D(inp, out, time_dim, groups, eps, act)
