"""Random pipelines of diffusers' own classes, of many shapes: the oracle of the models."""

import random
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WORDS = ("<unk>", "<|startoftext|>", "<|endoftext|>", *(f"{c}</w>" for c in "abcdefghijklmn"))
SIZE = 8  # of a latent's side by default
Options = dict[str, Any]
# Seeds 0 and 1 are cut to the shape of SD 1.x and 2.x; the others are whatever comes.
FIXED: dict[int, Options] = {
    0: {
        "depth": 4,
        "layers": 2,
        "blocks": 1,
        "heads": 8,
        "linear": False,
        "text_act": "quick_gelu",
    },
    1: {"depth": 4, "layers": 2, "blocks": 1, "heads": (2, 4, 8, 8), "linear": True},
}
FIXED[0] |= {"act": "silu", "vae_act": "silu", "shift": 0, "flip": True}
FIXED[1] |= FIXED[0] | FIXED[1] | {"text_act": "gelu"}


def draw(seed: int) -> Options:
    """Random options of a checkpoint; what few draws could miss goes round by the seed."""
    rng = random.Random(seed)
    depth = 4 if seed in FIXED else 2 + seed % 3
    per_block = tuple(rng.choice((1, 2)) for _ in range(depth))
    heads = tuple(rng.choice((2, 4, 8)) for _ in range(depth))
    options: Options = {
        "depth": depth,
        "layers": 1 + seed // 2 % 3,
        "blocks": (1, 2, per_block)[seed // 3 % 3],
        "heads": rng.choice((1, 2, 4, heads)),
        "linear": rng.random() < 0.5,
        "act": ("silu", "gelu", "mish", "relu")[seed % 4],
        "shift": rng.choice((0, 1)),
        "flip": rng.random() < 0.5,
        "groups": rng.choice((2, 4, 8)),
        "eps": rng.choice((1e-5, 1e-6, 1e-3)),
        "widths": tuple(rng.choice((8, 16, 24)) for _ in range(depth)),
        "attends": tuple(rng.random() < 0.6 for _ in range(depth)),
        "text_width": rng.choice((16, 24)),
        "text_act": ("quick_gelu", "gelu")[seed % 2],
        "text_layers": rng.choice((1, 2, 3)),
        "vae_depth": 2 + seed % 3,
        "vae_layers": rng.choice((1, 2)),
        "vae_act": ("silu", "gelu", "relu")[seed // 2 % 3],
        "vae_attends": seed % 4 != 3,
        "vae_convs": seed % 4 != 2,
        "scaling": rng.choice((0.18215, 1.0, 0.7)),
        "size": ((16, 16), (18, 22), (9, 13))[seed // 2 % 3],
    }
    return options | FIXED.get(seed, {})


def randomise(model: nn.Module, seed: int) -> nn.Module:
    """Move every parameter off its initial value: norms too, so that no two can be exchanged."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval().requires_grad_(False)


def text_encoder(o: Options) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(WORDS),
            hidden_size=o["text_width"],
            intermediate_size=2 * o["text_width"] + 8,
            num_hidden_layers=o["text_layers"],
            num_attention_heads=4,
            max_position_embeddings=16,
            hidden_act=o["text_act"],
            layer_norm_eps=o["eps"],
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def unet(o: Options, added: Options | None = None) -> UNet2DConditionModel:
    """A denoiser; added are arguments that only some families have."""
    attends = o["attends"]
    return UNet2DConditionModel(
        in_channels=o.get("channels", 4),
        block_out_channels=o["widths"],
        down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]],
        layers_per_block=o["layers"],
        transformer_layers_per_block=o["blocks"],
        attention_head_dim=o["heads"],
        cross_attention_dim=o["text_width"],
        use_linear_projection=o["linear"],
        act_fn=o["act"],
        norm_num_groups=o["groups"],
        norm_eps=o["eps"],
        freq_shift=o["shift"],
        flip_sin_to_cos=o["flip"],
        sample_size=SIZE,
        **(added or {}),
    )


def vae(o: Options) -> AutoencoderKL:
    depth = o["vae_depth"]
    return AutoencoderKL(
        block_out_channels=tuple((8, 16, 8, 24)[:depth]),
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
        layers_per_block=o["vae_layers"],
        norm_num_groups=4,
        act_fn=o["vae_act"],
        scaling_factor=o["scaling"],
        mid_block_add_attention=o["vae_attends"],
        use_quant_conv=o["vae_convs"],
        use_post_quant_conv=o["vae_convs"],
    )


def tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    ids = {word: i for i, word in enumerate(WORDS)}
    return CLIPTokenizer(ids, [], pad_token=pad, model_max_length=16)


def pipeline(o: Options, seed: int, prediction: str = "epsilon") -> StableDiffusionPipeline:
    scheduler = DDIMScheduler(clip_sample=False, steps_offset=1, prediction_type=prediction)
    return StableDiffusionPipeline(
        vae=randomise(vae(o), seed),
        text_encoder=randomise(text_encoder(o), seed + 1),
        tokenizer=tokenizer(),
        unet=randomise(unet(o), seed + 2),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
