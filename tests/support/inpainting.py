"""Random inpainting pipelines of diffusers' own classes: the oracle of nine-channel UNets."""

from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLInpaintPipeline,
)
from PIL import Image

from support.diffusers_pipelines import draw, pipeline
from support.sdxl import pipeline_xl

Inpaint = StableDiffusionInpaintPipeline | StableDiffusionXLInpaintPipeline
CHANNELS = 9
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def inpaint_pipeline(seed: int, xl: bool) -> Inpaint:
    """A random pipeline; its VAE draws no noise, so that the latent of a picture is its mean."""
    more: dict[str, Any] = {}
    if xl:
        plain = pipeline_xl(seed, CHANNELS)
        more["force_zeros_for_empty_prompt"] = plain.config["force_zeros_for_empty_prompt"]
        theirs = StableDiffusionXLInpaintPipeline(**plain.components, add_watermarker=False, **more)
    else:
        options = draw(seed) | {"channels": CHANNELS, "vae_depth": 4}
        plain = pipeline(options, seed, ("epsilon", "v_prediction")[seed % 2])
        theirs = StableDiffusionInpaintPipeline(**plain.components, requires_safety_checker=False)
    theirs.scheduler = DDIMScheduler.from_config(
        plain.scheduler.config, clip_sample=False, **SCHEDULE
    )
    theirs.set_progress_bar_config(disable=True)
    _silence(theirs.vae)
    _lay_plain(theirs.vae)
    return theirs


def _lay_plain(vae: AutoencoderKL) -> None:
    """Let the VAE read pictures in plain layout.

    diffusers' pictures lie channels last. torch's GroupNorm loses digits there where a picture is
    even, as under a mask: a difference of up to 0.7 from float64 in these random models.
    """
    encode = vae.encode
    vae.encode = lambda x: encode(x.contiguous())  # type: ignore[method-assign]


def _silence(vae: AutoencoderKL) -> None:
    """Let the VAE's posterior have no spread: diffusers draws from it, this project never does."""
    last: Any = vae.encoder.conv_out if vae.quant_conv is None else vae.quant_conv
    half = len(last.weight) // 2
    last.weight[half:] = 0
    last.bias[half:] = -30


def draw_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Noise in large patches, so that resizing matters and values stay."""
    values = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC)


def draw_mask(width: int, height: int) -> Image.Image:
    """A slanted soft edge: all greys, and cells that it cuts."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(
        (128 + 6 * (x - width / 2) + 3 * (y - height / 3)).clip(0, 255).astype(np.uint8)
    )


def latent_of(theirs: Inpaint, **call: Any) -> torch.Tensor:
    """What the pipeline makes of a call, before it is decoded."""
    return theirs(strength=1.0, output_type="latent", **call).images
