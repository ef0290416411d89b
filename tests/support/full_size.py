"""Stable Diffusion 1.5 and 2.1 (768, v) in full size with random weights, as diffusers writes them.

The settings are those of the published checkpoints, the classes are diffusers' and transformers'.
`python tests/support/full_size.py sd15 FOLDER [float16]` writes one in the diffusers layout.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from train_tiny.tokens import byte_symbols, vocabulary

MERGES = 48894  # with 512 bytes, a start and an end: the 49408 tokens of CLIP
DOWN = ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",)
UP = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3
NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "trained_betas": None,
    "skip_prk_steps": True,
    "clip_sample": False,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}


class Size(NamedTuple):
    """One published model: parameters of UNet, VAE and text encoder, and all settings."""

    parameters: tuple[int, int, int]
    unet: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]
    scheduler: PNDMScheduler | DDIMScheduler
    pad: str


def sizes() -> dict[str, Size]:
    """The two models by name."""
    sd15 = Size(
        (859_520_964, 83_653_863, 123_060_480),
        {"cross_attention_dim": 768, "attention_head_dim": 8, "sample_size": 64},
        {**VAE, "sample_size": 512},
        {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
         "num_attention_heads": 12, "projection_dim": 768, "hidden_act": "quick_gelu"},
        PNDMScheduler.from_config(NOISE),
        "<|endoftext|>",
    )  # fmt: skip
    sd21 = Size(
        (865_910_724, 83_653_863, 340_387_840),
        {"cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20), "sample_size": 96,
         "use_linear_projection": True, "upcast_attention": True},
        {**VAE, "sample_size": 768},
        {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23,
         "num_attention_heads": 16, "projection_dim": 512, "hidden_act": "gelu"},
        DDIMScheduler.from_config(NOISE | {"prediction_type": "v_prediction"}),
        "!",
    )  # fmt: skip
    return {"sd15": sd15, "sd21": sd21}


def fill(model: nn.Module, seed: int) -> nn.Module:
    """Seeded weights for a model on the meta device: its activations stay near unit variance.

    Norms and biases are moved off 1 and 0, so that no two tensors can be exchanged unseen.
    """
    model.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            std = 1 if parameter.shape[0] == 49408 else parameter[0].numel() ** -0.5
            nn.init.normal_(parameter, 0, std, generator)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, float(name.endswith("weight")), 0.1, generator)
    for name, buffer in model.named_buffers():
        assert name.endswith("position_ids"), name
        buffer.copy_(torch.arange(buffer.shape[1]))
    return model.eval().requires_grad_(False)


def pipeline(name: str, tokenizer: Path) -> StableDiffusionPipeline:
    """The whole pipeline in fp32, in memory: 4.3 GB (sd15) or 5.2 GB (sd21)."""
    size = sizes()[name]
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=(320, 640, 1280, 1280), down_block_types=DOWN, up_block_types=UP,
            **size.unet,
        )  # fmt: skip
        vae = AutoencoderKL(**size.vae)
        text = CLIPTextModel(CLIPTextConfig(vocab_size=49408, **size.text))
    models = (unet, vae, text)
    counts = tuple(sum(p.numel() for p in model.parameters()) for model in models)
    assert counts == size.parameters, counts
    for seed, model in enumerate(models):
        fill(model, seed)
    return StableDiffusionPipeline(
        vae, text, CLIPTokenizer.from_pretrained(tokenizer), unet, size.scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def write_tokenizer(folder: Path, pad: str) -> None:
    """49408 tokens in the files of the published folders; merges of two letters, made up."""
    symbols = byte_symbols()
    letters = [symbol for symbol in symbols if "a" <= symbol <= "z"]
    merges = [(a, b) for a in letters for b in letters]
    merges += [(a, f"{b}</w>") for a in symbols for b in symbols]
    merges = merges[:MERGES]
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
               "unk_token": "<|endoftext|>", "pad_token": pad}  # fmt: skip
    config = {**special, "tokenizer_class": "CLIPTokenizer", "model_max_length": 77,
              "do_lower_case": True, "add_prefix_space": False, "errors": "replace"}  # fmt: skip
    folder.mkdir(parents=True)
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    files = (("vocab", vocabulary(merges)), ("tokenizer_config", config),
             ("special_tokens_map", special))  # fmt: skip
    for name, data in files:
        (folder / f"{name}.json").write_text(json.dumps(data, ensure_ascii=False), "utf-8")


def write(
    name: str,
    folder: Path,
    dtype: torch.dtype = torch.float32,
    variant: str | None = None,
    max_shard_size: str | None = None,
) -> Path:
    """Write "sd15" or "sd21" with save_pretrained, its tokenizer as the published folders have."""
    tokenizer = folder / "tokenizer"
    write_tokenizer(tokenizer, sizes()[name].pad)
    whole = pipeline(name, tokenizer)
    if dtype != torch.float32:
        whole.to(dtype=dtype)
    whole.save_pretrained(folder, variant=variant, max_shard_size=max_shard_size)
    shutil.rmtree(tokenizer)  # transformers 5 writes one tokenizer.json
    write_tokenizer(tokenizer, sizes()[name].pad)
    return folder


def lacking(where: Path) -> str | None:
    """Why a machine is too small for models of this size, or None."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return "free memory is read from Linux's /proc/meminfo"
    free = int(meminfo.read_text().partition("MemAvailable:")[2].split()[0]) * 1024
    for room, need, kind in ((free, 14, "memory"), (shutil.disk_usage(where).free, 15, "disk")):
        if room < need * 1e9:
            return f"needs {need} GB of free {kind}, there are {room / 1e9:.1f}"
    return None


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]), getattr(torch, *sys.argv[3:] or ["float32"]))
