"""A whole checkpoint folder with random weights, small enough to make anew."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.condition import SIZES
from mdp_lite.models.config import CLIPConfig, SchedulerConfig, UNetConfig, VAEConfig
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from train_tiny.tokens import LENGTH, write_tokenizer

WORDS = ("a", "red", "blue", "house", "boat", "on", "the", "grass", "at", "night")
VAE_CONFIG = VAEConfig(
    block_out_channels=(8, 8, 8),
    down_block_types=("DownEncoderBlock2D",) * 3,
    up_block_types=("UpDecoderBlock2D",) * 3,
    layers_per_block=1,
    norm_num_groups=4,
    sample_size=32,
    scaling_factor=1.0,
)
UNET_CONFIG = UNetConfig(
    cross_attention_dim=16,
    block_out_channels=(8, 16),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    layers_per_block=1,
    attention_head_dim=2,
    norm_num_groups=4,
    sample_size=8,
)
POOLED, TIME_DIM = 20, 8  # widths of SDXL's pooled state, and of the waves of each size
XL: dict[str, Any] = {
    "cross_attention_dim": 16 + 24,
    "transformer_layers_per_block": (1, 2),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": TIME_DIM,
    "projection_class_embeddings_input_dim": POOLED + SIZES * TIME_DIM,
}
SCHEDULER = SchedulerConfig(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    steps_offset=1,
    set_alpha_to_one=False,
)
DEFAULTS = {"num_inference_steps": 10, "guidance_scale": 3.0, "t_max": 0.9, "t_m": 0.5}


def write_json(path: Path, data: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), "utf-8")


def write_part(folder: Path, name: str, model: nn.Module, config: object) -> None:
    write_json(folder / "config.json", asdict(config))  # type: ignore[call-overload]
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / name)


def write_checkpoint(
    folder: Path, xl: bool = False, inpaints: bool = False, scheduler: SchedulerConfig = SCHEDULER,
    seed: int = 0,
) -> Path:  # fmt: skip
    """A folder in the diffusers layout: 32x32 pictures, 10 steps by default. xl: one of SDXL.

    inpaints: its UNet reads a mask and a masked picture too. seed: of the weights.
    """
    torch.manual_seed(seed)
    unet = replace(UNET_CONFIG, **XL) if xl else UNET_CONFIG
    unet = replace(unet, in_channels=9) if inpaints else unet
    _write_text(folder, "", CLIPConfig(0, 16, 32, 1, 2))
    if xl:
        second = CLIPConfig(0, 24, 32, 2, 2, hidden_act="gelu", projection_dim=POOLED)
        _write_text(folder, "_2", second)
    weights = "diffusion_pytorch_model.safetensors"
    write_part(folder / "unet", weights, UNet(unet), unet)
    write_part(folder / "vae", weights, VAE(VAE_CONFIG), VAE_CONFIG)
    config = {**asdict(scheduler), "clip_sample": False}
    write_json(folder / "scheduler" / "scheduler_config.json", config)
    write_json(folder / "mdp_lite.json", DEFAULTS)
    return folder


def _write_text(folder: Path, ending: str, config: CLIPConfig) -> None:
    """A tokenizer and its text encoder; "_2" are SDXL's second ones."""
    tokenizer = folder / f"tokenizer{ending}"
    write_tokenizer(tokenizer, WORDS)
    vocab = json.loads((tokenizer / "vocab.json").read_text("utf-8"))
    text = replace(config, vocab_size=len(vocab), max_position_embeddings=LENGTH)
    write_part(folder / f"text_encoder{ending}", "model.safetensors", CLIPTextEncoder(text), text)
