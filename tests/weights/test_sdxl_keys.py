"""The real SDXL by its names and shapes, on the meta device: no weight exists, every key does."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
    infer_diffusers_model_type,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from mdp_lite.checkpoint.config_files import read_clip_config, read_unet_config, read_vae_config
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.taesd import build_vae
from mdp_lite.models.unet import UNet
from mdp_lite_weights import keys
from mdp_lite_weights.folder import prefix_text_keys
from mdp_lite_weights.layouts import ldm_tensors
from mdp_lite_weights.single import SingleFile, from_tensors

Shapes = dict[str, torch.Tensor]
# The configs in stabilityai/stable-diffusion-xl-base-1.0, as far as they change a shape or number.
UNET: dict[str, Any] = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "layers_per_block": 2,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
    "transformer_layers_per_block": [1, 2, 10],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "use_linear_projection": True,
}
VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "layers_per_block": 2,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
CLIP: dict[str, Any] = {
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "projection_dim": 768,
    "vocab_size": 49408,
}
OPENCLIP = CLIP | {
    "hidden_act": "gelu",
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_attention_heads": 20,
    "num_hidden_layers": 32,
    "projection_dim": 1280,
}
CONFIGS = {"text_encoder": CLIP, "text_encoder_2": OPENCLIP, "unet": UNET, "vae": VAE}
PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model."}


def shapes(tensors: Shapes) -> dict[str, torch.Size]:
    return {key: tensor.shape for key, tensor in tensors.items()}


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    """SDXL's four models by diffusers and transformers, without memory."""
    with torch.device("meta"):
        return {
            "text_encoder": CLIPTextModel(CLIPTextConfig(**CLIP)),
            "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**OPENCLIP)),
            "unet": UNet2DConditionModel(**UNET),
            "vae": AutoencoderKL(**VAE),
        }


@pytest.fixture(scope="module")
def parts(models: dict[str, nn.Module]) -> dict[str, Shapes]:
    """Their tensors by the names of ours."""
    states = {part: dict(model.state_dict()) for part, model in models.items()}
    for part in ("text_encoder", "text_encoder_2"):
        states[part] = prefix_text_keys(states[part], part == "text_encoder_2")
    return states


@pytest.fixture(scope="module")
def file(parts: dict[str, Shapes]) -> Shapes:
    return ldm_tensors(parts, False)


@pytest.fixture(scope="module")
def read(file: Shapes) -> SingleFile:
    return from_tensors("sd_xl_base_1.0.safetensors", dict(file), {}, False, None)


def test_our_unet_has_the_keys_and_shapes_of_diffusers(parts: dict[str, Shapes]) -> None:
    with torch.device("meta"):
        ours = UNet(read_unet_config(UNET)).state_dict()
    assert shapes(ours) == shapes(parts["unet"])
    assert len(ours) == 1680 and sum(t.numel() for t in ours.values()) == 2_567_463_684


# Keys and parameters, as transformers and diffusers have them for these configs. The text encoders'
# states are those of a file: without position_ids, which older ones also hold.
COUNTS = {
    "text_encoder": (196, 123_060_480),
    "text_encoder_2": (517, 694_659_840),
    "vae": (248, 83_653_863),
}


@pytest.mark.parametrize("part", COUNTS)
def test_our_other_models_have_their_keys_and_shapes(part: str, parts: dict[str, Shapes]) -> None:
    """Every key of the two text encoders and of the VAE, without a weight."""
    raw = CONFIGS[part]
    with torch.device("meta"):
        if part == "vae":
            state = build_vae(read_vae_config(raw)).state_dict()
        else:
            state = CLIPTextEncoder(read_clip_config(part, raw)).state_dict()
    assert shapes(state) == shapes(parts[part])
    assert (len(state), sum(t.numel() for t in state.values())) == COUNTS[part]


def test_the_names_are_a_bijection(parts: dict[str, Shapes]) -> None:
    ldm = {key: keys.ldm_unet_key(key, keys.XL_LEVELS) for key in parts["unet"]}
    assert len(set(ldm.values())) == 1680
    assert all(keys.unet_key(old, keys.XL_LEVELS) == key for key, old in ldm.items())
    left = [old for old in ldm.values() if "resnets" in old or "attentions" in old]
    assert left == [] and ldm["add_embedding.linear_2.bias"] == "label_emb.0.2.bias"


def test_diffusers_names_them_alike(
    models: dict[str, nn.Module], parts: dict[str, Shapes], file: Shapes
) -> None:
    """Its own converters turn each part of the file into the part that it was written from."""
    assert infer_diffusers_model_type(file) == "xl_base"
    configs = {part: dict(models[part].config) for part in PREFIXES}
    unet = convert_ldm_unet_checkpoint(dict(file), configs["unet"])
    assert shapes(unet) == shapes(parts["unet"])
    vae = convert_ldm_vae_checkpoint(dict(file), configs["vae"])
    flat = {k: t[..., 0, 0] if ".attentions." in k and t.ndim == 4 else t for k, t in vae.items()}
    assert shapes(flat) == shapes(parts["vae"])
    at = "conditioner.embedders.1.model."
    text = convert_open_clip_checkpoint(models["text_encoder_2"], dict(file), at)
    assert shapes(text) == shapes(parts["text_encoder_2"])
    first = keys.strip_prefix(file, "conditioner.embedders.0.transformer.")
    assert shapes(first) == shapes(parts["text_encoder"])


def test_the_whole_file_is_read_back(parts: dict[str, Shapes], read: SingleFile) -> None:
    for part, want in parts.items():
        assert shapes(read.tensors[part]) == shapes(want)
    assert read.family == "Stable Diffusion XL" and read.zero_empty
    assert read.notes == ("prediction type epsilon: as nearly all of Stable Diffusion XL",)


@pytest.mark.parametrize("part", CONFIGS)
def test_the_configs_are_those_of_sdxl(part: str, read: SingleFile) -> None:
    got = read.configs[part]
    assert {key: got[key] for key in CONFIGS[part]} == CONFIGS[part]


def test_the_schedule_is_that_of_sdxl(read: SingleFile) -> None:
    want = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "timestep_spacing": "leading",
        "steps_offset": 1,
        "set_alpha_to_one": False,
        "prediction_type": "epsilon",
    }
    assert read.configs["scheduler"].items() >= want.items()


def test_the_tables_of_three_and_four_levels() -> None:
    """LoRAs name blocks by both, so neither function may guess the number of levels."""
    key = "down_blocks.1.attentions.0.proj_in.weight"
    assert keys.ldm_unet_key(key) == "input_blocks.4.1.proj_in.weight"
    assert keys.ldm_unet_key(key, levels=3) == "input_blocks.4.1.proj_in.weight"
    key = "up_blocks.0.attentions.2.proj_in.weight"
    assert keys.ldm_unet_key(key) == key  # SD 1.x and 2.x have none there
    assert keys.ldm_unet_key(key, levels=3) == "output_blocks.2.1.proj_in.weight"
    key = "up_blocks.1.upsamplers.0.conv.bias"
    assert keys.ldm_unet_key(key) == keys.ldm_unet_key(key, 3) == "output_blocks.5.2.conv.bias"
    key = "down_blocks.0.attentions.0.norm.bias"
    assert keys.ldm_unet_key(key) == "input_blocks.1.1.norm.bias"
    assert keys.ldm_unet_key(key, 3) == key
