"""Train the VAE: first both halves, later (the latents fixed) the decoder alone."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.lib.format import open_memmap
from torch import Tensor, nn
from tqdm import tqdm

from mdp_lite.models.vae import VAE
from mdp_lite.names import BadInput
from train_tiny.data import open_latents, open_scenes, to_tensor
from train_tiny.fit import fit, load
from train_tiny.previews import show_round_trips
from train_tiny.recipe import Recipe
from train_tiny.workers import Worker, spawn

KL_WEIGHT = 5e-5
SQUARES, SQUARES_LATER = 4.0, 8.0  # weight of the MSE; the decoder alone is tuned for PSNR


def loss(picture: Tensor, target: Tensor, squares: float) -> Tensor:
    """squares MSE + 0.5 L1 + 0.25 L1 of the gradients: squares for PSNR, the rest for edges."""
    error = picture - target
    dx, dy = error.diff(dim=-1).abs().mean(), error.diff(dim=-2).abs().mean()
    return squares * error.square().mean() + 0.5 * error.abs().mean() + 0.25 * (dx + dy)


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL divergence to the unit Gaussian, per latent number."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def reconstruct(vae: VAE, picture: Tensor) -> tuple[Tensor, Tensor]:
    """Reconstruction from a sample of the posterior, and its KL divergence."""
    mean, logvar = vae.posterior(picture)
    z = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
    return vae.decode(z * vae.config.scaling_factor), kl(mean, logvar)


def psnr(picture: Tensor, target: Tensor) -> str:
    """Peak signal-to-noise ratio of a batch in [-1, 1], for the progress line."""
    return f"{10 * torch.log10(4 / F.mse_loss(picture.detach(), target)):.2f} dB"


def train(worker: Worker, recipe: Recipe, work: Path) -> None:
    """Train encoder and decoder: vae.pt."""
    torch.manual_seed(0)
    data, vae = open_scenes(work), VAE(recipe.vae).to(worker.device)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        target = to_tensor(data.pictures[index]).to(worker.device)
        with torch.autocast(worker.device.type, torch.bfloat16):
            output, divergence = reconstruct(vae, target)
        output = output.float()
        total = loss(output, target, SQUARES) + KL_WEIGHT * divergence.float()
        return total, psnr(output, target)

    preview, settings = partial(show_round_trips, recipe, work), recipe.vae_training
    fit(worker, vae, loss_of, len(data.pictures), settings, work / "vae.pt", preview)


def freeze_encoder(vae: VAE) -> None:
    """Freeze the encoder, so that only the decoder is trained."""
    for half in (vae.encoder, vae.quant_conv):
        if isinstance(half, nn.Module):
            half.requires_grad_(False)


def train_decoder(worker: Worker, recipe: Recipe, work: Path) -> None:
    """Continue with the decoder alone, on the latents of vae.pt: decoder.pt."""
    data, (latents, scale) = open_scenes(work), open_latents(work)
    vae = VAE(recipe.vae).to(worker.device)
    vae.load_state_dict((load(work / "vae.pt") or {})["ema"])
    freeze_encoder(vae)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        target = to_tensor(data.pictures[index]).to(worker.device)
        z = torch.from_numpy(latents[index]).to(worker.device) / scale
        with torch.autocast(worker.device.type, torch.bfloat16):
            output = vae.decode(z).float()
        return loss(output, target, SQUARES_LATER), psnr(output, target)

    preview, settings = partial(show_round_trips, recipe, work), recipe.decoder_training
    fit(worker, vae, loss_of, len(data.pictures), settings, work / "decoder.pt", preview)


@torch.no_grad()
def encode_share(worker: Worker, recipe: Recipe, work: Path) -> None:
    """Encode this process's share of all pictures into raw.npy, (n, channels, y, x)."""
    pictures, vae = open_scenes(work).pictures, VAE(recipe.vae).to(worker.device)
    vae.load_state_dict((load(work / "vae.pt") or {})["ema"])
    raw = np.load(work / "raw.npy", mmap_mode="r+")
    starts = range(16 * worker.rank, len(pictures), 16 * worker.count)
    for start in tqdm(starts, "encoding", disable=worker.rank > 0):
        chunk = to_tensor(pictures[start : start + 16]).to(worker.device)
        with torch.autocast(worker.device.type, torch.bfloat16):
            raw[start : start + 16] = vae.encode(chunk).float().cpu().numpy()


def start_latents(recipe: Recipe, work: Path) -> None:
    """Make room for the latents of all pictures: raw.npy."""
    side = recipe.size // recipe.vae.factor
    shape = (len(open_scenes(work).pictures), recipe.vae.latent_channels, side, side)
    open_memmap(work / "raw.npy", "w+", np.float32, shape)


def scale_latents(work: Path) -> None:
    """Scale raw.npy to unit standard deviation: latents.npy, and the factor in scale.npy."""
    raw = np.load(work / "raw.npy")
    np.save(work / "latents.npy", raw / raw.std())
    np.save(work / "scale.npy", 1 / raw.std())
    (work / "raw.npy").unlink()


def read_steps(work: Path) -> tuple[int, int]:
    """The VAE's steps, and those of the VAE that the latents are of; -1 where there are none."""
    state, steps = load(work / "vae.pt") or {"step": -1}, work / "steps.npy"
    return state["step"], int(np.load(steps)) if steps.exists() else -1


def check_latents(work: Path) -> None:
    """Raise BadInput for a UNet or a decoder that was trained on latents of an earlier VAE."""
    now, encoded = read_steps(work)
    old = " and ".join(name for name in ("unet.pt", "decoder.pt") if (work / name).exists())
    if old and -1 < encoded < now:
        raise BadInput(f"{old}: of the VAE after {encoded} steps, vae.pt has {now}: remove {old}")


def encode(recipe: Recipe, work: Path) -> None:
    """Write the latents of all pictures, their scale, and the VAE's steps, unless they are there.

    Raises BadInput for a UNet or a decoder of an earlier VAE.
    """
    now, encoded = read_steps(work)
    check_latents(work)
    if now != encoded:
        start_latents(recipe, work)
        spawn(encode_share, recipe, work)
        scale_latents(work)
        np.save(work / "steps.npy", now)
