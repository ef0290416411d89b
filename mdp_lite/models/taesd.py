"""TAESD, a small autoencoder for the latents of a large one (github.com/madebyollin/taesd).

It is AutoencoderTiny in diffusers. It has no norm and no attention, and about 1/34 of the weights
of Stable Diffusion's VAE, so its pictures are near that one's and much cheaper.
Shapes: b batch, c channels, y x height and width, f = 2 ** (stages - 1) pixels per latent cell.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mdp_lite.models.config import AnyVAEConfig, TAESDConfig, VAEConfig
from mdp_lite.models.conv import Conv2d
from mdp_lite.models.layers import activation
from mdp_lite.models.vae import VAE

REACH = 3  # latents are squeezed softly into [-3, 3] before they are decoded


class Activation(nn.Module):
    """An activation as a layer, as it counts in the keys of the layers behind it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Any shape -> the same."""
        return activation(self.name, x)


class Doubling(nn.Module):
    """Nearest-neighbour upsampling by 2 as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, c, 2y, 2x)."""
        return F.interpolate(x, scale_factor=2.0, mode="nearest")


class TAESDBlock(nn.Module):
    """relu(x + conv(act(conv(act(conv x)))))."""

    def __init__(self, channels: int, act: str) -> None:
        super().__init__()
        convs = [Conv2d(channels, channels, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convs[0], Activation(act), convs[1], Activation(act), convs[2])

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> (b, c, y, x)."""
        return F.relu(self.conv(x) + x)


class Layers(nn.Module):
    """One layer after the other, under the key that AutoencoderTiny has for them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, y, x) -> whatever the last layer gives."""
        return self.layers(x)


class TAESD(nn.Module):
    """Pictures in [-1, 1] to latents of about unit variance, and back."""

    def __init__(self, config: TAESDConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Layers(*_encode(config)), Layers(*_decode(config))

    def encode(self, picture: Tensor) -> Tensor:
        """(b, 3, f y, f x) in [-1, 1] -> scaled latent (b, c, y, x)."""
        return self.encoder((picture + 1) / 2) * self.config.scaling_factor

    def decode(self, latent: Tensor) -> Tensor:
        """Scaled latent (b, c, y, x) -> picture (b, 3, f y, f x), about [-1, 1]."""
        z = latent / self.config.scaling_factor
        return self.decoder((z / REACH).tanh() * REACH) * 2 - 1


AnyVAE = VAE | TAESD


def build_vae(config: AnyVAEConfig) -> AnyVAE:
    """The autoencoder that a config is of."""
    return VAE(config) if isinstance(config, VAEConfig) else TAESD(config)


def _encode(config: TAESDConfig) -> list[nn.Module]:
    """Each stage begins with a convolution, which halves the sides but in the first stage."""
    width, layers = config.encoder_block_out_channels[0], list[nn.Module]()
    for blocks in config.num_encoder_blocks:
        halving = Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        layers += [halving if layers else Conv2d(config.in_channels, width, 3, padding=1)]
        layers += [TAESDBlock(width, config.act_fn) for _ in range(blocks)]
    return [*layers, Conv2d(width, config.latent_channels, 3, padding=1)]


def _decode(config: TAESDConfig) -> list[nn.Module]:
    """Each stage ends with a convolution, after a doubling of the sides but in the last stage."""
    width, *_ = config.decoder_block_out_channels
    layers = [Conv2d(config.latent_channels, width, 3, padding=1), Activation(config.act_fn)]
    for blocks in config.num_decoder_blocks:
        layers += [TAESDBlock(width, config.act_fn) for _ in range(blocks)]
        layers += [Doubling(), Conv2d(width, width, 3, padding=1, bias=False)]
    return [*layers[:-2], Conv2d(width, config.out_channels, 3, padding=1)]
