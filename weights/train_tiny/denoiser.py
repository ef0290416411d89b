"""Train the UNet and the text encoder together on the VAE's latents."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from mdp_lite.method.schedule import alphas_cumprod
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import CLIPConfig, UNetConfig
from mdp_lite.models.unet import UNet
from train_tiny.data import CAPTIONS, open_latents, open_scenes
from train_tiny.fit import fit
from train_tiny.previews import show_samples
from train_tiny.recipe import SCHEDULER, Recipe
from train_tiny.workers import Worker

DROP = 0.1  # share of captions replaced by the empty one, for classifier-free guidance


class Denoiser(nn.Module):
    """The text encoder and the UNet, which are trained together."""

    def __init__(self, text: CLIPConfig, unet: UNetConfig) -> None:
        super().__init__()
        self.text_encoder, self.unet = CLIPTextEncoder(text), UNet(unet)

    def forward(self, x: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """x (b, channels, y, x), t (b,), ids (b, l) -> the predicted noise, of x's shape."""
        return self.unet(x, t, self.text_encoder(ids))


def loss_weights() -> Tensor:
    """Weight of each timestep, (1000,): clamp(SNR^-1/2, 0.15, 10), mean 1.

    Weights that favour low noise (min-SNR) do not teach the place of the object, because that is
    decided at high noise.
    """
    a = alphas_cumprod(SCHEDULER)
    weights = (a / (1 - a)).rsqrt().clamp(0.15, 10)
    return (weights / weights.mean()).float()


def sample_timesteps(count: int) -> Tensor:
    """One timestep from each of count equal parts of 0..999: less variance than free draws."""
    return ((torch.arange(count) + torch.rand(count)) * 1000 / count).long()


def attention(worker: Worker) -> AbstractContextManager[object]:
    """Plain attention on a CPU, where the fused kernel's backward costs more than 64 tokens do."""
    return sdpa_kernel(SDPBackend.MATH) if worker.device.type == "cpu" else nullcontext()


def train(worker: Worker, recipe: Recipe, work: Path, vocab: int, empty: list[int]) -> None:
    """Predict the noise in noised latents from a caption: unet.pt.

    vocab is the size of the vocabulary, empty the tokens of the empty caption.
    """
    torch.manual_seed(0)
    data, (latents, _) = open_scenes(work), open_latents(work)
    model = Denoiser(recipe.text_config(vocab), recipe.unet).to(worker.device)
    a, weights = alphas_cumprod(SCHEDULER).float(), loss_weights()
    nothing = torch.tensor(empty)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        count = len(index)
        x0, t = torch.from_numpy(latents[index]), sample_timesteps(count)
        eps = torch.randn_like(x0)
        ids = torch.from_numpy(data.ids[index, torch.randint(CAPTIONS, (count,)).numpy()]).long()
        ids = torch.where(torch.rand(count, 1) < DROP, nothing, ids)
        a_t = a[t][:, None, None, None]
        x = a_t.sqrt() * x0 + (1 - a_t).sqrt() * eps
        x, eps, t, ids, weight = (v.to(worker.device) for v in (x, eps, t, ids, weights[t]))
        with torch.autocast(worker.device.type, torch.bfloat16), attention(worker):
            predicted = model(x, t, ids)
        error = (predicted.float() - eps).square().mean(dim=(1, 2, 3))
        return (weight * error).mean(), f"error {error.mean().item():.4f}"

    preview, settings = partial(show_samples, recipe, work), recipe.unet_training
    fit(worker, model, loss_of, len(latents), settings, work / "unet.pt", preview)
