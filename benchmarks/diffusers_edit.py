"""An MDP-epsilon edit of a generated picture as a script on diffusers: what the suites compare to.

    python benchmarks/diffusers_edit.py MODEL OUT.png "a red house" "a blue house" --seed 7

The source is sampled with guidance and its noise is recorded; with --picture FILE it is that
picture, inverted by DDIM without guidance. The edit starts from the same latent, and on the steps
of the window it uses the source's noise. As in the published code every step calls the UNet; --skip
leaves out calls whose result is not used. Without a target the picture of the prompt is written.
The script imports nothing of mdp_lite.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer


class Parts(NamedTuple):
    """The models of a folder in the diffusers layout; unet takes (x, t, c)."""

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: Callable[[Tensor, Tensor, Tensor], Tensor]
    vae: AutoencoderKL
    scheduler: DDIMScheduler
    config: Any  # the UNet's


class Source(NamedTuple):
    """A recorded path: its noise, the guided noise of each step, and where it ends."""

    start: Tensor
    noises: list[Tensor]
    latent: Tensor


def load(
    folder: Path, dtype: torch.dtype, device: str = "cpu", channels_last: bool = False
) -> Parts:
    """The models, ready to run."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=dtype).to(device)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype).to(device)
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype).to(device)
    if channels_last:
        unet, vae = (one.to(memory_format=torch.channels_last) for one in (unet, vae))
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler", clip_sample=False)
    call = lambda x, t, c: unet(x, t, encoder_hidden_states=c, return_dict=False)[0]  # noqa: E731
    return Parts(tokenizer, text.eval(), call, vae.eval(), scheduler, unet.eval().config)


def noise(p: Parts, seed: int) -> Tensor:
    """The starting noise of a seed, (1, 4, y, x)."""
    side = p.config.sample_size
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, p.config.in_channels, side, side, generator=generator)
    return x.to(p.vae.device, p.vae.dtype)


@torch.inference_mode()
def encode(p: Parts, prompt: str) -> Tensor:
    """The null row and the prompt's condition, (2, l, d)."""
    ids = p.tokenizer(["", prompt], padding="max_length", truncation=True, return_tensors="pt")
    return p.text_encoder(ids.input_ids.to(p.vae.device))[0]


def predict(p: Parts, x: Tensor, t: Tensor, c: Tensor, g: float) -> Tensor:
    """Classifier-free guidance, both rows in one call."""
    e_null, e = p.unet(torch.cat([x, x]), t, c).chunk(2)
    return e_null + g * (e - e_null)


@torch.inference_mode()
def source(p: Parts, prompt: str, start: Tensor, steps: int, g: float) -> Source:
    """Sample the path of a prompt."""
    p.scheduler.set_timesteps(steps)
    c, x, noises = encode(p, prompt), start, []
    for t in p.scheduler.timesteps:
        noises.append(predict(p, x, t, c, g))
        x = p.scheduler.step(noises[-1], t, x, return_dict=False)[0]
    return Source(start, noises, x)


@torch.inference_mode()
def invert(p: Parts, prompt: str, file: Path, steps: int) -> Source:
    """The path of a picture: DDIM from its latent up to noise, one row a step, read backwards."""
    p.scheduler.set_timesteps(steps)
    c, x, noises = encode(p, prompt)[1:], latent_of(p, file), []
    for t in p.scheduler.timesteps.flip(0):
        noises.append(p.unet(x, t, c))
        a, b = levels(p, int(t), steps)
        x0 = (x - (1 - b) ** 0.5 * noises[-1]) / b**0.5
        x = a**0.5 * x0 + (1 - a) ** 0.5 * noises[-1]
    return Source(x, noises[::-1], x)


def levels(p: Parts, t: int, steps: int) -> tuple[float, float]:
    """abar of a timestep and of the next lower one of the grid."""
    lower = t - p.scheduler.config.num_train_timesteps // steps
    alphas = p.scheduler.alphas_cumprod
    return float(alphas[t]), float(alphas[lower] if lower >= 0 else p.scheduler.final_alpha_cumprod)


def latent_of(p: Parts, file: Path) -> Tensor:
    """The latent of a picture, brought to the model's size."""
    side = p.config.sample_size * 2 ** (len(p.vae.config.block_out_channels) - 1)
    with Image.open(file) as image:
        pixels = np.array(image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS))
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(p.vae.device, p.vae.dtype) / 127.5 - 1
    return p.vae.encode(x).latent_dist.mode() * p.vae.config.scaling_factor


@torch.inference_mode()
def edit(
    p: Parts, path: Source, target: str, window: range, g: float, skip: bool = False
) -> Tensor:
    """The latent of the edit, with the source's noise on the steps of the window."""
    p.scheduler.set_timesteps(len(path.noises))
    c, x = encode(p, target), path.start
    for i, t in enumerate(p.scheduler.timesteps):
        w = float(i in window)
        if skip and w == 1:
            e = path.noises[i]
        else:
            e = w * path.noises[i] + (1 - w) * predict(p, x, t, c, g)
        x = p.scheduler.step(e, t, x, return_dict=False)[0]
    return x


@torch.inference_mode()
def picture(p: Parts, latent: Tensor) -> Image.Image:
    """The decoded picture of a latent."""
    out = p.vae.decode(latent / p.vae.config.scaling_factor, return_dict=False)[0]
    pixels = (out[0] / 2 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def window_of(steps: int) -> range:
    """The steps of the authors' window: 47 and 26 of 50 steps."""
    start = steps - round(0.94 * steps)
    return range(start, start + round(0.52 * steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("prompt")
    parser.add_argument("target", nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--guidance", type=float, default=7.5)
    parser.add_argument("--skip", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--picture", type=Path, help="edit this instead of a generated one")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--channels-last", action="store_true")
    a = parser.parse_args()
    p = load(a.model, getattr(torch, a.dtype), a.device, a.channels_last)
    if a.picture:
        path = invert(p, a.prompt, a.picture, a.steps)
    else:
        path = source(p, a.prompt, noise(p, a.seed), a.steps, a.guidance)
    latent = path.latent
    if a.target is not None:
        latent = edit(p, path, a.target, window_of(a.steps), a.guidance, a.skip)
    picture(p, latent).save(a.output)


if __name__ == "__main__":
    main()
