"""The denoiser of Stable Diffusion 1.x, 2.x and XL (UNet2DConditionModel; Rombach et al. 2022).

Shapes: b batch, c channels, y x height and width, l tokens, h heads, d head dim.
Attribute names are the diffusers-layout checkpoint keys.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdp_lite.models.aligned import Linear
from mdp_lite.models.condition import find_extra, find_states, unpack
from mdp_lite.models.config import UNetConfig
from mdp_lite.models.conv import Conv2d
from mdp_lite.models.layers import (
    Downsample2D,
    GroupNorm,
    ResnetBlock2D,
    Upsample2D,
    activation,
)
from mdp_lite.models.transformer import (
    SDPA,
    Attend,
    Attention,
    BasicTransformerBlock,
    Conditioning,
    Transformer2DModel,
)

# The residual blocks in the middle, by mid_block_type.
MID_BLOCKS = {"UNetMidBlock2DCrossAttn": 2, "UNetMidBlock2D": 1, None: 0}


def timestep_embedding(t: Tensor, dim: int, flip: bool, shift: float) -> Tensor:
    """Sines and cosines of t (n,) at dim/2 frequencies 10000^(-j / (dim/2 - shift)) -> (n, dim)."""
    half = dim // 2
    j = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * (-math.log(10000.0) * j / (half - shift)).exp()
    waves = [angles.cos(), angles.sin()] if flip else [angles.sin(), angles.cos()]
    return F.pad(torch.cat(waves, dim=-1), (0, dim % 2))


class TimestepEmbedding(nn.Module):
    """Two linear layers over the sinusoidal embedding, and LCM's projection of a second one."""

    def __init__(self, dim: int, hidden: int, act: str, cond: int | None = None) -> None:
        super().__init__()
        self.act = act
        self.linear_1 = Linear(dim, hidden)
        self.linear_2 = Linear(hidden, hidden)
        if cond is not None:
            self.cond_proj = Linear(cond, dim, bias=False)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """(n, dim), and (n, cond) or nothing -> (n, hidden)."""
        x = x if cond is None else x + self.cond_proj(cond)
        return self.linear_2(activation(self.act, self.linear_1(x)))


class Block(nn.Module):
    """One level: residual blocks, each followed by a transformer where the level attends.

    Its subclasses only say which way the level resamples and what each residual block reads.
    """

    def __init__(
        self, config: UNetConfig, level: int, inputs: list[int], depths: tuple[int, ...]
    ) -> None:
        super().__init__()
        out, heads = config.block_out_channels[level], config.heads[level]
        self.resnets = nn.ModuleList(_resnet(config, inp, out) for inp in inputs)
        self.attentions = nn.ModuleList(
            Transformer2DModel(config, out, heads, depth) for depth in depths
        )

    def layer(self, i: int, x: Tensor, conditioning: Conditioning) -> Tensor:
        """Residual block i and its transformer, if there is one."""
        x = self.resnets[i](x, conditioning.times)
        return self.attentions[i](x, conditioning) if self.attentions else x


class Down(Block):
    """One level on the way down; every layer's output is also read on the way up."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        widths = config.block_out_channels
        inputs = [widths[max(level - 1, 0)]] + [widths[level]] * (config.layers_per_block - 1)
        super().__init__(config, level, inputs, config.depths[level])
        last = level == len(widths) - 1
        self.downsamplers = nn.ModuleList([] if last else [Downsample2D(widths[level], padding=1)])

    def forward(
        self, x: Tensor, conditioning: Conditioning, first: Tensor | None = None
    ) -> list[Tensor]:
        """x (b, inp, y, x) -> the outputs of all layers, then the downsampler's if there is one.

        first is the output of the first layer if that is already computed.
        """
        skips = []
        for i in range(len(self.resnets)):
            x = self.layer(i, x, conditioning) if i or first is None else first
            skips.append(x)
        for downsampler in self.downsamplers:
            skips.append(downsampler(x))
        return skips


class Mid(nn.Module):
    """Residual blocks at the lowest resolution, with a transformer between each and the next.

    There are two; SSD-1B and Vega have one, and other small UNets none.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        channels, count = config.block_out_channels[-1], MID_BLOCKS[config.mid_block_type]
        self.resnets = nn.ModuleList(_resnet(config, channels, channels) for _ in range(count))
        self.attentions = nn.ModuleList(
            Transformer2DModel(config, channels, config.heads[-1], config.mid_depth)
            for _ in range(count - 1)
        )

    def forward(self, x: Tensor, conditioning: Conditioning) -> Tensor:
        """(b, channels, y, x) -> (b, channels, y, x)."""
        for i, resnet in enumerate(self.resnets):
            x = self.attentions[i - 1](x, conditioning) if i else x
            x = resnet(x, conditioning.times)
        return x


class Up(Block):
    """One level on the way up; every layer also reads an output of the way down."""

    def __init__(self, config: UNetConfig, index: int) -> None:
        widths = config.block_out_channels
        level, last = len(widths) - 1 - index, index == len(widths) - 1
        arriving = [widths[min(level + 1, len(widths) - 1)]] + [
            widths[level]
        ] * config.layers_per_block
        skips = [widths[level]] * config.layers_per_block + [widths[max(level - 1, 0)]]
        inputs = [a + b for a, b in zip(arriving, skips, strict=True)]
        super().__init__(config, level, inputs, config.up_depths[index])
        self.upsamplers = nn.ModuleList([] if last else [Upsample2D(widths[level])])

    def forward(self, x: Tensor, skips: list[Tensor], conditioning: Conditioning) -> Tensor:
        """x (b, inp, y, x) -> (b, out, 2y, 2x), or (b, out, y, x) at the last level; pops skips."""
        for i in range(len(self.resnets)):
            x = self.layer(i, torch.cat([x, skips.pop()], dim=1), conditioning)
        for upsampler in self.upsamplers:
            x = upsampler(x, size=skips[-1].shape[-2:])
        return x


class TextFree(NamedTuple):
    """The part of a call that does not depend on the text, up to the first attention to it.

    x (b, c, y, x) is conv_in's output, r (b, c, y, x) that of the first residual block. h is the
    hidden state (b, y x, c) that the first transformer's self-attention gives, not a number of
    heads; None if the first level has no transformer.
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
        self.conv_in = Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(
            widths[0], 4 * widths[0], config.act_fn, config.time_cond_proj_dim
        )
        if config.pooled_dim:
            added = config.projection_class_embeddings_input_dim or 0
            self.add_embedding = TimestepEmbedding(added, 4 * widths[0], config.act_fn)
        self.down_blocks = nn.ModuleList(Down(config, level) for level in range(len(widths)))
        self.mid_block = Mid(config)
        self.up_blocks = nn.ModuleList(Up(config, index) for index in range(len(widths)))
        self.conv_norm_out = GroupNorm(config.norm_num_groups, widths[0], config.norm_eps)
        self.conv_out = Conv2d(widths[0], config.out_channels, 3, padding=1)
        _set_slices(self._resnets, [block.time_emb_proj.out_features for block in self._resnets])
        _set_slices(self._text_readers, [2 * one.to_k.out_features for one in self._text_readers])

    def temb(self, t: Tensor, c: Tensor) -> Tensor:
        """Activated time embedding of t () or (b,), and of what c adds to it -> (1 or b, 4 c).

        One t for a whole batch is embedded once: cheaper, and a row's value can't depend on how
        many rows there are.
        """
        config = self.config
        waves = self._waves(t.reshape(-1), config.block_out_channels[0])
        x = self.time_embedding(waves, self.guided(c) if config.time_cond_proj_dim else None)
        return activation(config.act_fn, x + self.added(c) if config.pooled_dim else x)

    def added(self, c: Tensor) -> Tensor:
        """SDXL's embedding of the pooled state and the sizes of c (b, l, context_dim)."""
        _, pooled, sizes = unpack(c, self.config.pooled_dim, self.config.extra_dim)
        waves = self._waves(sizes.flatten(), self.config.addition_time_embed_dim or 0)
        x = torch.cat([pooled, waves.reshape(len(pooled), -1)], dim=-1)
        return self.add_embedding(x.to(waves.dtype))

    def guided(self, c: Tensor) -> Tensor:
        """LCM's embedding (b, cond) of w = g - 1 (arXiv 2310.04378, Eq. 13; g is ours)."""
        g, dim = find_extra(c, self.config.extra_dim)[..., -1], self.config.time_cond_proj_dim or 0
        dtype = self.time_embedding.linear_1.weight.dtype
        return timestep_embedding(1000 * (g.float() - 1), dim, False, 1).to(dtype)

    def _waves(self, t: Tensor, dim: int) -> Tensor:
        config, dtype = self.config, self.time_embedding.linear_1.weight.dtype
        return timestep_embedding(t, dim, config.flip_sin_to_cos, config.freq_shift).to(dtype)

    def times(self, t: Tensor, c: Tensor) -> Tensor:
        """What all residual blocks add for t () or (b,), side by side: (1 or b, -1).

        Only SDXL and LCMs read c here: its pooled state and sizes, the guidance scale.
        """
        temb = self.temb(t, c)
        return torch.cat([block.time_emb_proj(temb) for block in self._resnets], dim=-1)

    def text(self, c: Tensor) -> Tensor:
        """All keys and values of c (..., l, context_dim), side by side: (..., l, -1).

        They are linear in c, so mixing them (MDP-c) equals mixing the conditions.
        """
        states = find_states(c, self.config.extra_dim)
        return torch.cat(
            [to(states) for one in self._text_readers for to in (one.to_k, one.to_v)], dim=-1
        )

    def forward(self, x: Tensor, t: Tensor, c: Tensor, attend: Attend = SDPA) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, context_dim) -> (b, 4, y, x)."""
        return self.predict(x, self.times(t, c), self.text(c), attend)

    def predict(self, x: Tensor, times: Tensor, text: Tensor, attend: Attend = SDPA) -> Tensor:
        """The same, given times(t, c) and text(c)."""
        return self.with_text(self.text_free(x, times, attend), text, attend)

    def text_free(self, x: Tensor, times: Tensor, attend: Attend = SDPA) -> TextFree:
        """First part of a call, from x (b, 4, y, x) and times(t, c): it does not read the text.

        Null-text inversion tries many texts at one x and t, and computes this part once.
        """
        x = self.conv_in(x)
        block: Any = self.down_blocks[0]
        r = block.resnets[0](x, times)
        h = block.attentions[0].text_free(r, attend) if block.attentions else None
        return TextFree(times, x, r, h)

    def with_text(self, part: TextFree, text: Tensor, attend: Attend = SDPA) -> Tensor:
        """Second part of a call, given text(c) -> (b, 4, y, x)."""
        (times, x, r, h), level = part, cast(Any, self.down_blocks[0])
        conditioning = Conditioning(times, text, attend)
        first = r if h is None else level.attentions[0].with_text(r, h, conditioning)
        del part, r, h  # large, and not needed any more
        skips = [x, *level(x, conditioning, first)]
        for block in self.down_blocks[1:]:
            skips += block(skips[-1], conditioning)
        x = self.mid_block(skips[-1], conditioning)
        for block in self.up_blocks:
            x = block(x, skips, conditioning)
        return self.conv_out(self.conv_norm_out.activate(x, self.config.act_fn))

    @property
    def _resnets(self) -> list[ResnetBlock2D]:
        return [module for module in self.modules() if isinstance(module, ResnetBlock2D)]

    @property
    def _text_readers(self) -> list[Attention]:
        """The attentions that read the text."""
        blocks = [one for one in self.modules() if isinstance(one, BasicTransformerBlock)]
        return [block.attn2 for block in blocks]


def _set_slices(layers: Sequence[ResnetBlock2D | Attention], widths: Sequence[int]) -> None:
    """Give each layer the slice that holds its projections in UNet.times or UNet.text."""
    for layer, end, width in zip(layers, accumulate(widths), widths, strict=True):
        layer.proj_slice = slice(end - width, end)


def _resnet(config: UNetConfig, inp: int, out: int) -> ResnetBlock2D:
    time_dim = 4 * config.block_out_channels[0]
    groups, eps, act = config.norm_num_groups, config.norm_eps, config.act_fn
    return ResnetBlock2D(inp, out, time_dim, groups, eps, act)
