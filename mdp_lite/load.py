"""From a checkpoint on disk to models, strictly: every key must find its place and its shape."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mdp_lite.clip import CLIPTextEncoder
from mdp_lite.config import CLIPConfig, SchedulerConfig, UNetConfig, VAEConfig
from mdp_lite.schedule import T_M, T_MAX
from mdp_lite.tokenizer import load_tokenizer
from mdp_lite.unet import UNet
from mdp_lite.vae import VAE
from mdp_lite_weights import open_checkpoint

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Defaults:
    """Settings for a caller who gives none; a checkpoint may bring its own in mdp_lite.json.

    t_max and t_m are shares of the steps.
    """

    num_inference_steps: int = 50
    guidance_scale: float = 7.5
    t_max: float = T_MAX
    t_m: float = T_M


@dataclass(frozen=True)
class Models:
    """The parts of a Stable Diffusion checkpoint, ready to run, and never changed after."""

    folder: Path
    text_encoder: CLIPTextEncoder
    unet: UNet
    vae: VAE
    tokenizer: Any  # transformers' CLIPTokenizer
    scheduler: SchedulerConfig
    defaults: Defaults


def load(name: str | Path, device: torch.device, dtype: torch.dtype) -> Models:
    """Read a checkpoint folder, or the bundled "tiny"; what does not fit is a ValueError."""
    found = open_checkpoint(name)
    configs, tensors = found.configs, found.tensors
    scheduler = SchedulerConfig.from_dict(configs["scheduler"])
    with torch.device("meta"):
        text = CLIPTextEncoder(CLIPConfig.from_dict(configs["text_encoder"]))
        unet = UNet(UNetConfig.from_dict(configs["unet"]))
        vae = VAE(VAEConfig.from_dict(configs["vae"]))
    _check_fit(text.config, unet.config, vae.config)
    parts = (("text_encoder", text), ("unet", unet), ("vae", vae))
    for part, model in parts:
        fill(part, model, tensors[part])
        model.to(device, dtype)
    tokenizer = load_tokenizer(found.tokenizer, text.config)
    defaults = _defaults(found.defaults)
    return Models(found.folder, text, unet, vae, tokenizer, scheduler, defaults)


def fill(part: str, model: M, tensors: dict[str, Tensor]) -> M:
    """Give a model on the meta device its tensors, by name; strict both ways, without a copy."""
    wanted = model.state_dict()
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or unknown:
        raise ValueError(
            f"{part}: {len(missing)} keys missing{_first(missing)}, "
            f"{len(unknown)} unknown{_first(unknown)}"
        )
    for key, tensor in tensors.items():
        if tensor.shape != wanted[key].shape:
            got, want = list(tensor.shape), list(wanted[key].shape)
            raise ValueError(f"{part}: {key} has shape {got}, want {want}")
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ValueError(f"{part}: {key} has dtype {tensor.dtype}, want a 16 or 32-bit float")
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _check_fit(text: CLIPConfig, unet: UNetConfig, vae: VAEConfig) -> None:
    if unet.in_channels != vae.latent_channels or unet.out_channels != vae.latent_channels:
        raise ValueError(
            f"unet must read and write the vae's {vae.latent_channels} channels, "
            f"got {unet.in_channels} and {unet.out_channels} (inpainting models are not supported)"
        )
    if unet.cross_attention_dim != text.hidden_size:
        raise ValueError(
            f"unet attends to width {unet.cross_attention_dim}, text encoder has {text.hidden_size}"
        )


def _defaults(raw: dict[str, Any]) -> Defaults:
    unknown = set(raw) - set(Defaults.__dataclass_fields__)
    if unknown:
        raise ValueError(f"mdp_lite.json: unknown setting {sorted(unknown)[0]!r}")
    numbers = all(type(value) in (int, float) for value in raw.values())
    chosen = Defaults(**raw)
    whole = type(chosen.num_inference_steps) is int
    if not numbers or not whole or not 0 <= chosen.t_m <= chosen.t_max <= 1:
        raise ValueError(f"mdp_lite.json: want steps, guidance, 0 <= t_m <= t_max <= 1, got {raw}")
    if chosen.num_inference_steps < 1 or not 1 <= chosen.guidance_scale <= 100:
        raise ValueError(f"mdp_lite.json: want steps from 1 and guidance from 1 to 100, got {raw}")
    return chosen


def _first(keys: list[str]) -> str:
    return f" (first: {keys[0]})" if keys else ""
