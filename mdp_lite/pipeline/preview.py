"""Previews by a linear map from latents to RGB, which is fitted once to a checkpoint's VAE.

A preview then calls no model. It has the latent's resolution, enlarged.
"""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from mdp_lite.models.taesd import AnyVAE
from mdp_lite.pictures import images
from mdp_lite.pipeline.finite import dtype_of, run_finite

# The map is fitted to smooth random latents of unit variance, which resemble the latents of
# pictures more than white noise does: 16 of 8x8 cells, interpolated from 2x2. Decoding them takes a
# quarter of the time of one 64x64 latent.
COUNT, CELLS, COARSE = 16, 8, 2


@torch.no_grad()
def fit_preview(vae: AnyVAE) -> Tensor:
    """The map (c + 1, 3) in float64 on the CPU, by least squares from latents, and 1, to pictures.

    The seed of the latents is fixed, so a checkpoint always has the same map.
    """
    weight, channels = next(vae.parameters()), vae.config.latent_channels
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(COUNT, channels, COARSE, COARSE, generator=generator)
    latents = F.interpolate(coarse, size=(CELLS, CELLS), mode="bicubic")
    latents = (latents / latents.std()).to(weight)  # in the VAE's dtype, as in decoding
    decode = lambda vae: vae.decode(latents.to(dtype_of(vae)))  # noqa: E731
    pictures = run_finite(decode, vae, "the decoded picture").cpu().double()
    small = F.avg_pool2d(pictures, vae.config.factor)
    a, b = _cells(_add_one(latents)), _cells(small)
    return torch.linalg.solve(a.T @ a, a.T @ b)  # the last bits of lstsq differ between calls


def to_rgb(preview_map: Tensor, latent: Tensor) -> Tensor:
    """A latent (b, c, y, x) through the map (c + 1, 3) -> (b, 3, y, x) in [-1, 1] on the CPU."""
    return torch.einsum("bcyx,cr->bryx", _add_one(latent), preview_map).clamp(-1, 1)


def preview(preview_map: Tensor, latent: Tensor, factor: int) -> Image.Image:
    """A latent (1, c, y, x) as a blurred picture of the size that it would decode to."""
    small = images.to_image(to_rgb(preview_map, latent))
    size = (factor * small.width, factor * small.height)
    return small.resize(size, Image.Resampling.BICUBIC)


def _add_one(latent: Tensor) -> Tensor:
    latent = latent.cpu().double()
    return torch.cat([latent, torch.ones_like(latent[:, :1])], 1)


def _cells(maps: Tensor) -> Tensor:
    """(b, k, y, x) -> (b y x, k)."""
    return maps.movedim(1, -1).flatten(0, -2)
