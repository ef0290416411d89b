"""The autoencoder of Stable Diffusion (AutoencoderKL; Rombach et al. 2022, arXiv 2112.10752).

Shapes: b batch, c channels, y x height and width, f = 2 ** (blocks - 1) pixels per latent cell.
Attribute names are the diffusers-layout checkpoint keys.
"""

from itertools import chain
from typing import Any, NamedTuple

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mdp_lite.models.aligned import Linear
from mdp_lite.models.config import VAEConfig
from mdp_lite.models.conv import Conv2d
from mdp_lite.models.layers import Downsample2D, GroupNorm, ResnetBlock2D, Upsample2D

EPS = 1e-6  # of every group norm in the published autoencoders
# Their last activation is always SiLU; act_fn is for the residual blocks only.


class Posterior(NamedTuple):
    """The encoder's Gaussian over unscaled latents: mean and log variance."""

    mean: Tensor
    logvar: Tensor


class VAEAttention(nn.Module):
    """Single-head self-attention over all cells, with a residual."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = GroupNorm(groups, channels, EPS)
        self.to_q = Linear(channels, channels)
        self.to_k = Linear(channels, channels)
        self.to_v = Linear(channels, channels)
        self.to_out = nn.ModuleList([Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, c, y, x)."""
        h = rearrange(self.group_norm(x), "b c y x -> b 1 (y x) c")
        h = F.scaled_dot_product_attention(self.to_q(h), self.to_k(h), self.to_v(h))
        return x + rearrange(self.to_out[0](h), "b 1 (y x) c -> b c y x", y=x.shape[2])


class VAEMid(nn.Module):
    """Two residual blocks with attention between them, if the config has it."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        channels, attends = config.block_out_channels[-1], config.mid_block_add_attention
        self.resnets = nn.ModuleList(_resnet(config, channels, channels) for _ in range(2))
        self.attentions = nn.ModuleList(
            [VAEAttention(channels, config.norm_num_groups)] if attends else []
        )

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, c, y, x)."""
        x = self.resnets[0](x)
        for attention in self.attentions:
            x = attention(x)
        return self.resnets[1](x)


class EncoderLevel(nn.Module):
    """One level of the encoder."""

    def __init__(self, config: VAEConfig, inp: int, out: int, last: bool) -> None:
        super().__init__()
        widths = [inp] + [out] * (config.layers_per_block - 1)
        self.resnets = nn.ModuleList(_resnet(config, width, out) for width in widths)
        self.downsamplers = nn.ModuleList([] if last else [Downsample2D(out, padding=0)])

    def layers(self) -> list[nn.Module]:
        """(b, inp, y, x) -> (b, out, y/2, x/2), or (b, out, y, x) at the last level.

        Whoever calls them one by one frees the input of the level after the first.
        """
        return [*self.resnets, *self.downsamplers]


class DecoderLevel(nn.Module):
    """One level of the decoder."""

    def __init__(self, config: VAEConfig, inp: int, out: int, last: bool) -> None:
        super().__init__()
        widths = [inp] + [out] * config.layers_per_block
        self.resnets = nn.ModuleList(_resnet(config, width, out) for width in widths)
        self.upsamplers = nn.ModuleList([] if last else [Upsample2D(out)])

    def layers(self) -> list[nn.Module]:
        """(b, inp, y, x) -> (b, out, 2y, 2x), or (b, out, y, x) at the last level: see above."""
        return [*self.resnets, *self.upsamplers]


class Encoder(nn.Module):
    """Picture to twice the latent channels: mean and log variance."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.block_out_channels
        self.conv_in = Conv2d(config.in_channels, widths[0], 3, padding=1)
        pairs = zip((widths[0], *widths), widths, strict=False)
        last = len(widths) - 1
        self.down_blocks = nn.ModuleList(
            EncoderLevel(config, inp, out, i == last) for i, (inp, out) in enumerate(pairs)
        )
        self.mid_block = VAEMid(config)
        self.conv_norm_out = GroupNorm(config.norm_num_groups, widths[-1], EPS)
        self.conv_out = Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, f y, f x) -> (b, 2 c, y, x)."""
        x = self.conv_in(x)
        for layer in _layers(self.down_blocks):
            x = layer(x)
        return self.conv_out(self.conv_norm_out.activate(self.mid_block(x), "silu"))


class Decoder(nn.Module):
    """Latent to picture."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = config.block_out_channels[::-1]
        self.conv_in = Conv2d(config.latent_channels, widths[0], 3, padding=1)
        pairs = zip((widths[0], *widths), widths, strict=False)
        last = len(widths) - 1
        self.mid_block = VAEMid(config)
        self.up_blocks = nn.ModuleList(
            DecoderLevel(config, inp, out, i == last) for i, (inp, out) in enumerate(pairs)
        )
        self.conv_norm_out = GroupNorm(config.norm_num_groups, widths[-1], EPS)
        self.conv_out = Conv2d(widths[-1], config.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, 3, f y, f x)."""
        x = self.mid_block(self.conv_in(z))
        for layer in _layers(self.up_blocks):
            x = layer(x)
        return self.conv_out(self.conv_norm_out.activate(x, "silu"))


class VAE(nn.Module):
    """Pictures in [-1, 1] to latents of about unit variance, and back."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        both, one = 2 * config.latent_channels, config.latent_channels
        self.quant_conv = Conv2d(both, both, 1) if config.use_quant_conv else None
        self.post_quant_conv = Conv2d(one, one, 1) if config.use_post_quant_conv else None

    def posterior(self, picture: Tensor) -> Posterior:
        """(b, 3, f y, f x) in [-1, 1] -> mean and log variance, each (b, c, y, x), unscaled."""
        moments = self.encoder(picture)
        if self.quant_conv is not None:
            moments = self.quant_conv(moments)
        mean, logvar = moments.chunk(2, dim=1)
        return Posterior(mean, logvar.clamp(-30.0, 20.0))

    def encode(self, picture: Tensor) -> Tensor:
        """(b, 3, f y, f x) in [-1, 1] -> scaled latent (b, c, y, x), the posterior's mean."""
        return self.posterior(picture).mean * self.config.scaling_factor

    def decode(self, latent: Tensor) -> Tensor:
        """Scaled latent (b, c, y, x) -> picture (b, 3, f y, f x), about [-1, 1]."""
        z = latent / self.config.scaling_factor
        return self.decoder(z if self.post_quant_conv is None else self.post_quant_conv(z))


def _resnet(config: VAEConfig, inp: int, out: int) -> ResnetBlock2D:
    return ResnetBlock2D(inp, out, None, config.norm_num_groups, EPS, config.act_fn)


def _layers(levels: Any) -> list[nn.Module]:
    return list(chain.from_iterable(level.layers() for level in levels))
