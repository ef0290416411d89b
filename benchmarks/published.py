"""MDP on a real picture as its public repositories run it, rebuilt on diffusers' parts.

Null-text inversion (Mokady et al. 2022), then an edit by MDP-epsilon, with all that makes it slow:

- the UNet's weights are not frozen: every backward pass fills their gradients too
- gradient checkpointing is on: every backward pass computes most of the forward pass again. The
  repositories' diffusers 0.10 ignored the call in eval mode, so load can leave it out
- each iteration waits for its loss, and each step ends with both rows predicted anew
- the source path is sampled once more, for its noise, and decoded
- every step of the edit calls the UNet, also those that the source's noise replaces

Latents are (1, 4, y, x), conditions (1, l, d), all float32; pictures (1, 3, y, x) in [-1, 1].
"""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

INNER_STEPS, EARLY_STOP = 10, 1e-5


class CountingUNet:
    """A UNet that counts its rows, forward and backward."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.unet, self.forward, self.backward = unet, 0, 0

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        self.forward += len(x)
        self.backward += len(x) * torch.is_grad_enabled()  # a backward pass follows each
        return self.unet(x, t, encoder_hidden_states=c).sample


class PublishedFlow(NamedTuple):
    """The parts of a pipeline, for one number of steps and one guidance."""

    pipe: StableDiffusionPipeline
    unet: CountingUNet
    scheduler: DDIMScheduler
    g: float


class PublishedResult(NamedTuple):
    """The decoded reconstruction and edit, the latent of the edit; nulls (N, 1, l, d)."""

    nulls: Tensor
    iterations: list[int]
    latent: Tensor
    reconstruction: Tensor
    edit: Tensor


def load(folder: Path, steps: int, g: float, checkpointing: bool = True) -> PublishedFlow:
    """Load a folder in the diffusers layout and set it up as the authors' notebook does."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    assert isinstance(scheduler, DDIMScheduler)
    scheduler.set_timesteps(steps)
    set_exact_alphas(scheduler)
    pipe.vae.requires_grad_(False)
    pipe.text_encoder.requires_grad_(False)
    if checkpointing:
        pipe.unet.enable_gradient_checkpointing()
    return PublishedFlow(pipe, CountingUNet(pipe.unet), scheduler, g)


def set_exact_alphas(scheduler: DDIMScheduler) -> None:
    """abar from float64: summed in float32, as diffusers does, it alone moves null rows by 2e-4."""
    lo, hi = (scheduler.config[name] ** 0.5 for name in ("beta_start", "beta_end"))
    betas = torch.linspace(lo, hi, len(scheduler.alphas_cumprod), dtype=torch.float64) ** 2
    scheduler.alphas_cumprod = (1 - betas).cumprod(0).float()
    if not scheduler.config["set_alpha_to_one"]:
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]


def run(
    p: PublishedFlow, picture: Tensor, prompt: str, target: str, weights: Tensor
) -> PublishedResult:
    """The whole flow: invert a picture described by prompt, and edit it with weights (N,)."""
    _, latents = invert(p, picture, prompt)
    nulls, iterations = null_text(p, latents, prompt)
    noises, reconstruction = source_path(p, latents[-1], prompt, nulls)
    latent, edited = edit(p, latents[-1], target, nulls, noises, weights)
    return PublishedResult(torch.stack(nulls), iterations, latent, reconstruction, edited)


@torch.no_grad()
def invert(p: PublishedFlow, picture: Tensor, prompt: str) -> tuple[Tensor, list[Tensor]]:
    """The picture through the VAE, and the latents of its DDIM inversion, noise last."""
    x = p.pipe.vae.encode(picture).latent_dist.mean * p.pipe.vae.config.scaling_factor
    c, latents = encode(p, prompt), [x]
    for t in reversed(p.scheduler.timesteps):
        x = next_step(p, p.unet(x, t, c), int(t), x)
        latents.append(x)
    return decode(p, latents[0]), latents


def null_text(
    p: PublishedFlow, latents: list[Tensor], prompt: str
) -> tuple[list[Tensor], list[int]]:
    """Tune the null embedding of each step; returns them and the iterations of each."""
    c, null, x = encode(p, prompt), encode(p, ""), latents[-1]
    nulls, iterations = [], []
    for i, t in enumerate(p.scheduler.timesteps):
        null, count = tune_null(p, x, t, c, null, latents[-i - 2], i)
        nulls.append(null)
        iterations.append(count)
        with torch.no_grad():
            x = prev_step(p, predict(p, x, t, null, c), t, x)
    return nulls, iterations


def tune_null(
    p: PublishedFlow, x: Tensor, t: Tensor, c: Tensor, null: Tensor, pivot: Tensor, i: int
) -> tuple[Tensor, int]:
    """Tune the null embedding of step i, so that it leads from x to the pivot."""
    null = null.clone().detach().requires_grad_()
    adam = torch.optim.Adam([null], lr=1e-2 * (1 - i / 100))
    with torch.no_grad():
        e_c = p.unet(x, t, c)
    count, done = 0, False
    while count < INNER_STEPS and not done:
        e = p.unet(x, t, null)
        loss = F.mse_loss(prev_step(p, e + p.g * (e_c - e), t, x), pivot)
        adam.zero_grad()
        loss.backward()
        adam.step()
        count, done = count + 1, loss.item() < EARLY_STOP + i * 2e-5
    return null.detach(), count


@torch.no_grad()
def source_path(
    p: PublishedFlow, x: Tensor, prompt: str, nulls: list[Tensor]
) -> tuple[list[Tensor], Tensor]:
    """The guided noise of each step from the noise x, and the picture that it leads to."""
    c, noises = encode(p, prompt), []
    for t, null in zip(p.scheduler.timesteps, nulls, strict=True):
        noises.append(predict(p, x, t, null, c))
        x = prev_step(p, noises[-1], t, x)
    return noises, decode(p, x)


@torch.no_grad()
def edit(
    p: PublishedFlow, x: Tensor, prompt: str, nulls: list[Tensor], noises: list[Tensor],
    weights: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The latent and picture of the edit: the guided noise mixed with the source's by weights."""
    c = encode(p, prompt)
    for i, t in enumerate(p.scheduler.timesteps):
        noise = predict(p, x, t, nulls[i], c)
        noise = weights[i] * noises[i] + (1 - weights[i]) * noise
        x = prev_step(p, noise, t, x)
    return x, decode(p, x)


def predict(p: PublishedFlow, x: Tensor, t: Tensor, null: Tensor, c: Tensor) -> Tensor:
    """Classifier-free guidance, both rows in one call."""
    e_null, e = p.unet(torch.cat([x, x]), t, torch.cat([null, c])).chunk(2)
    return e_null + p.g * (e - e_null)


def prev_step(p: PublishedFlow, e: Tensor, t: Tensor, x: Tensor) -> Tensor:
    """DDIM along the noise e, from the level t to the next one of the scheduler."""
    return p.scheduler.step(e, t, x).prev_sample  # type: ignore[arg-type]


def next_step(p: PublishedFlow, e: Tensor, t: int, x: Tensor) -> Tensor:
    """DDIM backwards along the noise e, from the level below t up to t."""
    below = t - p.scheduler.config["num_train_timesteps"] // len(p.scheduler.timesteps)
    abar, last = p.scheduler.alphas_cumprod, p.scheduler.final_alpha_cumprod
    a, b = abar[t], abar[below] if below >= 0 else last
    x0 = (x - (1 - b) ** 0.5 * e) / b**0.5
    return a**0.5 * x0 + (1 - a) ** 0.5 * e


@torch.no_grad()
def encode(p: PublishedFlow, prompt: str) -> Tensor:
    """The text encoder's condition of a prompt."""
    ids = p.pipe.tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt")
    return p.pipe.text_encoder(ids.input_ids)[0]


def decode(p: PublishedFlow, x: Tensor) -> Tensor:
    """The picture of a latent."""
    return p.pipe.vae.decode(x / p.pipe.vae.config.scaling_factor).sample.clamp(-1, 1)
