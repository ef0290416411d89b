"""A whole checkpoint folder with random weights, small enough to make anew."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from mdp_lite.models.clip import CLIPTextEncoder
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


def write_checkpoint(folder: Path) -> Path:
    """A folder in the diffusers layout: 32x32 pictures, 10 steps by default."""
    torch.manual_seed(0)
    write_tokenizer(folder / "tokenizer", WORDS)
    vocab = json.loads((folder / "tokenizer" / "vocab.json").read_text("utf-8"))
    text = CLIPConfig(len(vocab), 16, 32, 1, 2, max_position_embeddings=LENGTH)
    write_part(folder / "text_encoder", "model.safetensors", CLIPTextEncoder(text), text)
    weights = "diffusion_pytorch_model.safetensors"
    write_part(folder / "unet", weights, UNet(UNET_CONFIG), UNET_CONFIG)
    write_part(folder / "vae", weights, VAE(VAE_CONFIG), VAE_CONFIG)
    scheduler = {**asdict(SCHEDULER), "clip_sample": False}
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    write_json(folder / "mdp_lite.json", DEFAULTS)
    return folder
