"""Model folders that can't be read: one sentence each, by the Python API and by the command."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.names import BadCheckpoint

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
Damage = Callable[[Path], Any]


def options(name: str, **changed: Any) -> Damage:
    """Change options of a config file; None takes an option out."""

    def damage(folder: Path) -> None:
        data = json.loads((folder / name).read_text("utf-8")) | changed
        rest = {key: value for key, value in data.items() if value is not None}
        (folder / name).write_text(json.dumps(rest), "utf-8")

    return damage


def tensors(change: Callable[[dict[str, torch.Tensor]], Any]) -> Damage:
    """Change the UNet's tensors."""

    def damage(folder: Path) -> None:
        found = load((folder / WEIGHTS).read_bytes())
        change(found)
        save_file(found, folder / WEIGHTS)

    return damage


UNET = "unet/config.json"
FOLDERS: dict[str, tuple[Damage, str]] = {
    "no config": (
        lambda folder: (folder / UNET).unlink(),
        "a checkpoint folder must hold unet/config.json, found none",
    ),
    "broken JSON": (
        lambda folder: (folder / UNET).write_text("{"),
        "unet/config.json must be JSON: ",
    ),
    "JSON list": (
        lambda folder: (folder / UNET).write_text("[]"),
        "unet/config.json must be a JSON object, got list",
    ),
    "binary JSON": (
        lambda folder: (folder / UNET).write_bytes(b"\xff\xfe"),
        "unet/config.json must be JSON: 'utf-8'",
    ),
    "quantised weights": (
        options(UNET, quantization_config={"quant_method": "bitsandbytes"}),
        "unet: quantization_config {'quant_method': 'bitsandbytes'} is not supported, want None",
    ),
    "an LCM without its projection": (
        options(UNET, time_cond_proj_dim=256),
        "unet: 1 keys missing (time_embedding.cond_proj.weight), 0 unexpected",
    ),
    "an LCM with no room for waves": (
        options(UNET, time_cond_proj_dim=2),
        "unet: time_cond_proj_dim must be 4 or more, got 2",
    ),
    "pruned heads": (
        options("text_encoder/config.json", pruned_heads={"0": [1]}),
        "text_encoder: pruned_heads {'0': [1]} is not supported, want {} or None",
    ),
    "flow matching": (
        lambda folder: (folder / "scheduler/scheduler_config.json").write_text(
            '{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}'
        ),
        "scheduler: FlowMatchEulerDiscreteScheduler is for models of another noise than DDIM's",
    ),
    "levels of different depth": (
        options(UNET, layers_per_block=[1, 2]),
        "unet: layers_per_block must be of type int, got (1, 2)",
    ),
    "unsupported option": (
        options(UNET, class_embed_type="timestep"),
        "unet: class_embed_type 'timestep' is not supported, want None",
    ),
    "option missing": (
        options(UNET, cross_attention_dim=None),
        "unet: the config has no 'cross_attention_dim'",
    ),
    "InstructPix2Pix model": (
        options(UNET, in_channels=8),
        "the folder broken is an InstructPix2Pix model: its UNet reads 8 channels, want 4 or 9",
    ),
    "depth-to-image model": (
        options(UNET, in_channels=5),
        "the folder broken is a depth-to-image model: its UNet reads 5 channels, want 4 or 9",
    ),
    "channels of no known model": (
        options(UNET, in_channels=6),
        "unet must read and write the vae's 4 channels (or read 9, to inpaint), got 6 and 4",
    ),
    "other text encoder": (
        options(UNET, cross_attention_dim=32),
        "unet attends to width 32, text encoder has 16",
    ),
    "heads that don't divide": (
        options(UNET, attention_head_dim=3),
        "unet: attention_head_dim (the number of heads) must divide 8, got 3",
    ),
    "unknown activation": (
        options("text_encoder/config.json", hidden_act="relu"),
        "text_encoder: hidden_act 'relu' is not supported, want 'quick_gelu' or 'gelu'",
    ),
    "unknown schedule": (
        options("scheduler/scheduler_config.json", beta_schedule="squaredcos_cap_v2"),
        "scheduler: beta_schedule 'squaredcos_cap_v2' is not supported, want 'linear' or",
    ),
    "clipping": (
        options("scheduler/scheduler_config.json", clip_sample=True),
        "scheduler: clip_sample must be false for a latent model, got true",
    ),
    "key missing": (
        tensors(lambda found: found.pop("conv_in.bias")),
        "broken, unet: 1 keys missing (conv_in.bias), 0 unexpected",
    ),
    "key too many": (
        tensors(lambda found: found.update(more=torch.zeros(1))),
        "broken, unet: 0 keys missing, 1 unexpected (more)",
    ),
    "wrong shape": (
        tensors(lambda found: found.update({"conv_in.bias": torch.zeros(9)})),
        "broken, unet: conv_in.bias has shape [9], want [8]",
    ),
    "whole numbers": (
        tensors(lambda found: found.update({"conv_in.bias": torch.zeros(8, dtype=torch.int32)})),
        "broken, unet: conv_in.bias has dtype torch.int32, want an 8 to 32-bit float",
    ),
    "pickle only": (
        lambda folder: (folder / WEIGHTS).rename(folder / "unet/diffusion_pytorch_model.bin"),
        "found diffusion_pytorch_model.bin, a pickle, which is never loaded: `mdp-lite convert`",
    ),
    "no weights": (
        lambda folder: (folder / WEIGHTS).unlink(),
        "unet must hold diffusion_pytorch_model.safetensors; found config.json",
    ),
    "truncated weights": (
        lambda folder: os.truncate(folder / WEIGHTS, 5000),
        "unet/diffusion_pytorch_model.safetensors is not a readable safetensors file",
    ),
    "no tokenizer": (
        lambda folder: shutil.rmtree(folder / "tokenizer"),
        "tokenizer must hold vocab.json and merges.txt, or tokenizer.json",
    ),
    "no merges": (
        lambda folder: (folder / "tokenizer/merges.txt").unlink(),
        "tokenizer must hold vocab.json and merges.txt, or tokenizer.json, got",
    ),
    "damaged merges": (
        lambda folder: (folder / "tokenizer/merges.txt").write_text("#version: 0.2\nq zz\n"),
        "tokenizer must be a whole CLIP tokenizer, got",
    ),
    "another tokenizer": (
        options("tokenizer/tokenizer_config.json", tokenizer_class="T5Tokenizer"),
        "tokenizer_class must be CLIPTokenizer, got 'T5Tokenizer'",
    ),
    "a text for a number": (
        options("unet/config.json", layers_per_block="2"),
        "unet: layers_per_block must be of type int, got '2'",
    ),
    "a number for a list": (
        options("unet/config.json", block_out_channels=8),
        "unet: block_out_channels must be of type tuple[int, ...], got 8",
    ),
    "a negative size": (
        options("unet/config.json", layers_per_block=-1),
        "unet: layers_per_block must be from 1 to 1048576, got -1",
    ),
    "an endless size": (
        options("unet/config.json", sample_size=4_000_000_000),
        "unet: sample_size must be from 1 to 1048576, got 4000000000",
    ),
    "no width": (
        options("unet/config.json", cross_attention_dim=16.5),
        "unet: cross_attention_dim must be of type int, got 16.5",
    ),
    "no levels": (
        options("vae/config.json", block_out_channels=[]),
        "vae: block_out_channels must be of type tuple[int, ...], got ()",
    ),
    "no scale": (
        options("vae/config.json", scaling_factor=0.0),
        "vae: scaling_factor must be above 0 and finite, got 0.0",
    ),
    "no timesteps": (
        options("scheduler/scheduler_config.json", num_train_timesteps=0),
        "scheduler: num_train_timesteps must be from 1 to 1048576, got 0",
    ),
    "too much noise": (
        options("scheduler/scheduler_config.json", beta_end=5.0),
        "scheduler: beta_start and beta_end must rise below 1, got",
    ),
    "a text for steps": (
        options("mdp_lite.json", num_inference_steps="a"),
        "mdp_lite.json: want steps, guidance, 0 <= t_m <= t_max <= 1, got",
    ),
    "a window past the path": (
        options("mdp_lite.json", t_max=2.0),
        "mdp_lite.json: want steps, guidance, 0 <= t_m <= t_max <= 1, got",
    ),
    "a negative guidance": (
        options("mdp_lite.json", guidance_scale=-3),
        "mdp_lite.json: want steps from 1 and guidance from 1 to 100, got",
    ),
    "unknown default": (
        options("mdp_lite.json", sampler="euler"),
        "mdp_lite.json: unknown setting 'sampler'",
    ),
}


@pytest.fixture
def model(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the model to break."""
    return Path(shutil.copytree(checkpoint, tmp_path / "broken"))


@pytest.mark.parametrize("name", FOLDERS)
def test_a_broken_model_folder(
    name: str, model: Path, says_one_line: Callable[[str], None]
) -> None:
    damage, sentence = FOLDERS[name]
    damage(model)
    with pytest.raises(BadCheckpoint, match=re.escape(sentence)):
        Editor.from_pretrained(model, "cpu")
    assert main(["info", str(model)]) == 2
    says_one_line(sentence)
