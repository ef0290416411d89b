"""Small models of Stable Diffusion's own four-level shape, as folders and as single LDM files."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import CLIPConfig, UNetConfig, VAEConfig
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from mdp_lite_weights.layouts import ldm_tensors
from support.checkpoints import SCHEDULER, WORDS, write_json, write_part
from train_tiny.tokens import LENGTH, write_tokenizer

Tensors = dict[str, Tensor]
WEIGHTS = {
    "text_encoder": "model.safetensors",
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
}


def models(openclip: bool, vocab: int, channels: int = 4) -> dict[str, nn.Module]:
    """Random models built like SD 1.x, or like SD 2.x, as narrow as 32 groups allow.

    channels are those that the UNet reads.
    """
    torch.manual_seed(3)
    text = CLIPConfig(vocab, 64, 128, 2, 1, LENGTH, "gelu" if openclip else "quick_gelu")
    widths = (64, 128, 128, 128) if openclip else (32, 64, 64, 64)
    unet = UNetConfig(
        cross_attention_dim=64,
        in_channels=channels,
        block_out_channels=widths,
        attention_head_dim=tuple(w // 64 for w in widths) if openclip else 8,
        use_linear_projection=openclip,
        sample_size=64,
    )
    down, up = ("DownEncoderBlock2D",) * 4, ("UpDecoderBlock2D",) * 4
    vae = VAEConfig((32, 32, 32, 64), down, up, sample_size=512)
    return {"text_encoder": CLIPTextEncoder(text), "unet": UNet(unet), "vae": VAE(vae)}


def write_folder(folder: Path, openclip: bool = False, channels: int = 4) -> dict[str, Tensors]:
    """A checkpoint folder of such models, and their tensors by part."""
    write_tokenizer(folder / "tokenizer", WORDS)
    vocab = len(json.loads((folder / "tokenizer" / "vocab.json").read_text("utf-8")))
    made = models(openclip, vocab, channels)
    for part, model in made.items():
        write_part(folder / part, WEIGHTS[part], model, model.config)
    scheduler = {**asdict(SCHEDULER), "clip_sample": False}
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    return {part: model.state_dict() for part, model in made.items()}


def single(parts: dict[str, Tensors], openclip: bool = False) -> Tensors:
    """The tensors of a single LDM file; that diffusers reads them alike is tested beside it."""
    return ldm_tensors(parts, openclip)


def write_single(path: Path, tensors: Tensors, **metadata: str) -> Path:
    """Write a safetensors file."""
    save_file({k: t.clone().contiguous() for k, t in tensors.items()}, path, metadata or None)
    return path
