"""Train the VAE: first both halves, later (the latents fixed) the decoder alone."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mdp_lite.config import VAEConfig
from mdp_lite.vae import VAE
from train_tiny.data import Scenes, to_tensor
from train_tiny.fit import Settings, fit, load
from train_tiny.workers import Worker

KL_WEIGHT = 5e-5


def loss(picture: Tensor, target: Tensor) -> Tensor:
    """2 MSE + 0.5 L1 + 0.25 L1 of the gradients: squares for PSNR, the rest for sharp edges."""
    error = picture - target
    dx, dy = error.diff(dim=-1).abs().mean(), error.diff(dim=-2).abs().mean()
    return 2 * error.square().mean() + 0.5 * error.abs().mean() + 0.25 * (dx + dy)


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL divergence to the unit Gaussian, per latent number."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def reconstruct(vae: VAE, picture: Tensor, decoder_only: bool) -> tuple[Tensor, Tensor]:
    """Reconstruction and KL; the decoder alone sees the mean, as it will at run time."""
    if decoder_only:
        with torch.no_grad():
            z = vae.encode(picture)
        return vae.decode(z), picture.new_zeros(())
    mean, logvar = vae.posterior(picture)
    z = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
    return vae.decode(z * vae.config.scaling_factor), kl(mean, logvar)


def freeze_encoder(vae: VAE) -> None:
    """Leave the decoder alone to the optimiser."""
    halves = (vae.encoder, vae.quant_conv)
    for half in halves:
        if half is not None:
            half.requires_grad_(False)


def train(
    worker: Worker, config: VAEConfig, data: Scenes, path: Path, minutes: float, first: Path | None
) -> None:
    """Train for the given minutes; first is the checkpoint whose encoder is kept, if any."""
    torch.manual_seed(0)
    vae = VAE(config)
    start = load(first) if first else None
    if start:
        vae.load_state_dict(start["ema"])
        freeze_encoder(vae)
    vae.to(worker.device)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        picture = to_tensor(data.pictures[index]).to(worker.device)
        with torch.autocast(worker.device.type, torch.bfloat16):
            output, divergence = reconstruct(vae, picture, decoder_only=first is not None)
        psnr = 10 * torch.log10(4 / F.mse_loss(output.detach().float(), picture))
        return loss(output.float(), picture) + KL_WEIGHT * divergence.float(), f"{psnr:.2f} dB"

    settings = Settings(minutes, batch=16, peak=1e-3 if first else 2e-3, average=0.998)
    fit(worker, vae, loss_of, len(data.pictures), settings, path)
