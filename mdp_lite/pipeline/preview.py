"""Previews: a linear map from latent to RGB, fitted to a checkpoint by its own VAE.

It calls no model once it is fitted, and its pictures have the latent's resolution, blown up.
"""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mdp_lite.models.vae import VAE
from mdp_lite.pictures import images
from mdp_lite.pipeline.finite import dtype_of, finite

# What the map is fitted on: smooth latents of unit variance, which are nearer to pictures' than
# white noise is. 16 of 8x8 cells, 2x2 of them drawn, decode in a quarter of a 64x64 one's time.
COUNT, CELLS, DRAWN = 16, 8, 2


@torch.no_grad()
def fit_preview(vae: VAE) -> Tensor:
    """The map (c + 1, 3) float64 on the CPU: least squares from latents, and 1, to their pictures.

    Its latents are drawn from a seed of their own, so that a checkpoint has one map.
    """
    weight, channels = next(vae.parameters()), vae.config.latent_channels
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(COUNT, channels, DRAWN, DRAWN, generator=generator)
    latents = F.interpolate(drawn, size=(CELLS, CELLS), mode="bicubic")
    latents = (latents / latents.std()).to(weight)  # in the VAE's dtype, as it will see them
    decode = lambda vae: vae.decode(latents.to(dtype_of(vae)))  # noqa: E731
    pictures = finite(decode, vae, "the decoded picture").double().cpu()
    seen = F.avg_pool2d(pictures, vae.config.factor)
    a, b = _cells(_with_one(latents)), _cells(seen)
    return torch.linalg.solve(a.T @ a, a.T @ b)  # lstsq has other last bits every time


def rgb(fitted: Tensor, latent: Tensor) -> Tensor:
    """A latent (b, c, y, x) by the map (c + 1, 3) -> (b, 3, y, x) in [-1, 1] on the CPU."""
    return torch.einsum("bcyx,cr->bryx", _with_one(latent), fitted).clamp(-1, 1)


def preview(fitted: Tensor, latent: Tensor, factor: int) -> Image.Image:
    """A latent (1, c, y, x) as a blurred picture of the size that it would decode to."""
    small = images.to_image(rgb(fitted, latent))
    size = (factor * small.width, factor * small.height)
    return small.resize(size, Image.Resampling.BICUBIC)


def _with_one(latent: Tensor) -> Tensor:
    latent = latent.double().cpu()
    return torch.cat([latent, torch.ones_like(latent[:, :1])], 1)


def _cells(maps: Tensor) -> Tensor:
    """(b, k, y, x) -> (b y x, k)."""
    return maps.movedim(1, -1).flatten(0, -2)
