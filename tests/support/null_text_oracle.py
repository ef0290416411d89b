"""Null-text inversion as published (Mokady et al. 2022, arXiv 2211.09794), on diffusers' parts.

The reference for mdp_lite.method.null_text: float32 throughout, eager, torch.optim.Adam, one
loss.item() an iteration. Written from the paper's Algorithm 1 and its section 4; the schedule of
the learning rate and of the early stop are those of its public code.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from mdp_lite.models.condition import unpack

INNER_STEPS, EARLY_STOP = 10, 1e-5


class Model(NamedTuple):
    """A denoiser and its scheduler, whose set_timesteps was called; the UNet's weights frozen."""

    unet: UNet2DConditionModel
    scheduler: DDIMScheduler

    def predict(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """c is packed for SDXL, whose pooled state and sizes are not tuned."""
        dim = pooled_dim(self.unet)
        if not dim:
            return self.unet(x, t, encoder_hidden_states=c).sample
        states, pooled, sizes = unpack(c, dim)
        added = {"text_embeds": pooled.detach(), "time_ids": sizes.detach()}
        return self.unet(x, t, encoder_hidden_states=states, added_cond_kwargs=added).sample


class Oracle(NamedTuple):
    """nulls (N, 1, l, d) after each step; losses: those of each step's iterations.

    pivots (N + 1, 1, 4, y, x) are the inversion's latents, noise first; latents (N + 1, 1, 4, y, x)
    those that the guided path reaches with the nulls.
    """

    nulls: Tensor
    losses: list[list[float]]
    pivots: Tensor
    latents: Tensor

    @property
    def iterations(self) -> list[int]:
        return [len(losses) for losses in self.losses]


def pooled_dim(unet: UNet2DConditionModel) -> int:
    """Width of the pooled state that SDXL's UNet reads; 0 for other UNets."""
    config = unet.config
    if config["addition_embed_type"] is None:
        return 0
    return config["projection_class_embeddings_input_dim"] - 6 * config["addition_time_embed_dim"]


def model(unet: UNet2DConditionModel, config: dict, n: int) -> Model:
    """The denoiser with a DDIM scheduler of n steps; config is a scheduler's."""
    scheduler = DDIMScheduler.from_config(config)
    assert isinstance(scheduler, DDIMScheduler)
    scheduler.set_timesteps(n)
    return Model(unet.eval().requires_grad_(False), scheduler)


@torch.no_grad()
def ddim_inversion(model: Model, x: Tensor, c: Tensor) -> Tensor:
    """The pivots (N + 1, 1, 4, y, x), noise first, of the clean latent x under c at guidance 1.

    At the cleaner level b of each step the noise is predicted with the timestep of the level a that
    is reached: DDIM backwards, on the assumption that the noise changes little in a step.
    """
    pivots = [x]
    for t in reversed(model.scheduler.timesteps):
        a, b = levels(model.scheduler, int(t))
        out = model.predict(x, t, c)
        x0, eps = (x - (1 - b).sqrt() * out) / b.sqrt(), out
        if model.scheduler.config["prediction_type"] == "v_prediction":
            x0, eps = b.sqrt() * x - (1 - b).sqrt() * out, b.sqrt() * out + (1 - b).sqrt() * x
        x = a.sqrt() * x0 + (1 - a).sqrt() * eps
        pivots.append(x)
    return torch.stack(pivots[::-1])


def levels(scheduler: DDIMScheduler, t: int) -> tuple[Tensor, Tensor]:
    """abar at t and at the timestep a step below it."""
    assert scheduler.num_inference_steps
    below = t - scheduler.config["num_train_timesteps"] // scheduler.num_inference_steps
    abar, last = scheduler.alphas_cumprod, scheduler.final_alpha_cumprod
    return abar[t], abar[below] if below >= 0 else torch.as_tensor(last)


def null_text(
    model: Model, pivots: Tensor, c: Tensor, null: Tensor, g: float,
    inner_steps: int = INNER_STEPS, early_stop: float = EARLY_STOP,
) -> Oracle:  # fmt: skip
    """Algorithm 1: tune the null embedding (1, l, d) of each step so that guidance g by c (1, l, d)
    meets the pivots."""
    x = pivots[0]
    nulls, losses, latents = [], [], [x]
    for i, t in enumerate(model.scheduler.timesteps):
        with torch.no_grad():
            e = model.predict(x, t, c)
        null, found = tune_step(model, x, t, e, pivots[i + 1], null, g, i, inner_steps, early_stop)
        with torch.no_grad():
            x = guided_step(model, x, t, e, null, g)
        nulls.append(null)
        losses.append(found)
        latents.append(x)
    return Oracle(torch.stack(nulls), losses, pivots, torch.stack(latents))


def tune_step(
    model: Model, x: Tensor, t: Tensor, e: Tensor, pivot: Tensor, null: Tensor, g: float, i: int,
    inner_steps: int, early_stop: float,
) -> tuple[Tensor, list[float]]:  # fmt: skip
    """The null embedding of step i, from that of the step before, and the loss of each iteration.

    The loss is that of the embedding before its update, so what ends a step is still updated.
    """
    null = null.clone().requires_grad_()
    adam = torch.optim.Adam([null], lr=1e-2 * (1 - i / 100))
    losses = []
    for _ in range(inner_steps):
        loss = F.mse_loss(guided_step(model, x, t, e, null, g), pivot)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
        if losses[-1] < early_stop + 2e-5 * i:
            break
    return null.detach(), losses


def guided_step(model: Model, x: Tensor, t: Tensor, e: Tensor, null: Tensor, g: float) -> Tensor:
    """x at the next level, by the prediction e under c and the one under the null embedding."""
    e_null = model.predict(x, t, null)
    out = e_null + g * (e - e_null)
    return model.scheduler.step(out, t, x).prev_sample  # type: ignore[arg-type]
