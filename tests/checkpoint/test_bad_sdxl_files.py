"""Single files of SDXL that are of another model, lack a part, or have other keys: one sentence."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.names import BadCheckpoint
from support.sdxl_files import SmallXL

Tensors = dict[str, Tensor]
UNET, VAE = "model.diffusion_model.", "first_stage_model."
CLIP, OPENCLIP = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
ONE = torch.ones(1)
# The keys that are left out, by prefix, those that are put in, and the sentence.
BAD: dict[str, tuple[tuple[str, ...], Tensors, str]] = {
    "the refiner": (
        (CLIP, OPENCLIP),
        {"conditioner.embedders.0.model.token_embedding.weight": ONE},
        "is the refiner of Stable Diffusion XL, which finishes the pictures of another model",
    ),
    "the refiner's UNet": (
        (CLIP, OPENCLIP, VAE),
        {f"{UNET}label_emb.0.0.weight": torch.ones(2, 2560)},
        "is the refiner of Stable Diffusion XL",
    ),
    "depth": (
        (),
        {f"{UNET}input_blocks.0.0.weight": torch.zeros(64, 5, 3, 3)},
        "is a depth-to-image model: its UNet reads 5 channels, want 4 or 9",
    ),
    "InstructPix2Pix": (
        (),
        {f"{UNET}input_blocks.0.0.weight": torch.zeros(64, 8, 3, 3)},
        "is an InstructPix2Pix model: its UNet reads 8 channels",
    ),
    "Playground 2.5": ((), {"edm_mean": torch.ones(1, 4, 1, 1)}, "is Playground 2.5, whose"),
    "CosXL": ((), {"edm_vpred.sigma_max": ONE}, "is a model with a continuous noise schedule"),
    "a video model": (
        (CLIP, OPENCLIP),
        {"conditioner.embedders.0.open_clip.model.logit_scale": ONE},
        "is a video model",
    ),
    "a LoRA": ((UNET, VAE, CLIP, OPENCLIP), {"lora_te2_text_model.alpha": ONE}, "is a LoRA"),
    "an embedding": ((UNET, VAE, CLIP, OPENCLIP), {"clip_g": ONE}, "is a textual inversion"),
    "a UNet alone": ((VAE, CLIP, OPENCLIP), {}, "holds no VAE and no text encoder and no second"),
    "a bare UNet": (
        (UNET, VAE, CLIP, OPENCLIP),
        {"input_blocks.0.0.weight": ONE},
        "is a UNet alone",
    ),
    "no VAE": ((VAE,), {}, "holds no VAE: give one beside it (vae=)"),
    "no text encoders": ((CLIP, OPENCLIP), {}, "no text encoder and no second text encoder: want"),
    "no second text encoder": ((OPENCLIP,), {}, "holds no second text encoder: want a whole"),
    "no first text encoder": ((CLIP,), {}, "holds no text encoder: want a whole checkpoint"),
    "no projection": ((f"{OPENCLIP}text_projection",), {}, "lacks 'the text_projection of its"),
    "no embedding of sizes": ((f"{UNET}label_emb",), {}, "lacks 'add_embedding.linear_1.weight'"),
    "a third text encoder": (
        (),
        {"conditioner.embedders.2.model.ln_final.bias": ONE},
        "1 unexpected keys (conditioner.embedders.2.model.ln_final.bias)",
    ),
    "a fourth level": (
        (),
        {f"{UNET}input_blocks.9.0.op.weight": ONE},
        "unet: 0 keys missing, 1 unexpected (input_blocks.9.0.op.weight)",
    ),
    "another depth": (
        (f"{UNET}middle_block.1.transformer_blocks.2.",),
        {},
        "unet: 20 keys missing (mid_block.attentions.0.transformer_blocks.2.",
    ),
    "a layer missing": (
        (f"{OPENCLIP}transformer.resblocks.1.mlp.c_fc.bias",),
        {},
        "text_encoder_2: 1 keys missing (text_model.encoder.layers.1.mlp.fc1.bias)",
    ),
    "a narrow projection": (
        (),
        {f"{OPENCLIP}text_projection": torch.zeros(128, 64)},
        "unet reads a pooled state of width 96, text encoder 2 has 64",
    ),
    "uneven in_proj": (
        (),
        {f"{OPENCLIP}transformer.resblocks.0.attn.in_proj_bias": torch.zeros(383)},
        "text_encoder_2: text_model.encoder.layers.0.self_attn.v_proj.bias has shape [127]",
    ),
}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> SmallXL:
    return SmallXL(tmp_path_factory.mktemp("sdxl"))


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file(name: str, case: SmallXL, tmp_path: Path) -> None:
    without, change, sentence = BAD[name]
    path = case.write(tmp_path / "model.safetensors", change, without)
    with pytest.raises(BadCheckpoint, match=re.escape(sentence)) as caught:
        Editor.from_pretrained(path, tokenizer=case.folder)
    assert "\n" not in str(caught.value)
