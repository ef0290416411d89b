"""Stable Diffusion 1.5's size with random weights, made on the device: nothing is read or fetched.

The tokenizer is the bundled model's, padded to CLIP's 77 tokens.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.gpu_first.findings import Setting
from mdp_lite.checkpoint.assign import BuildOnMeta, assign_tensors
from mdp_lite.checkpoint.knowledge import Knowledge
from mdp_lite.checkpoint.models import Models
from mdp_lite.editor import Editor
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import CLIPConfig, SchedulerConfig, UNetConfig, VAEConfig
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE

TOKENS, GUIDANCE = 77, 7.5
UNET = UNetConfig(cross_attention_dim=768, sample_size=64)
VAE_CONFIG = VAEConfig(
    block_out_channels=(128, 256, 512, 512),
    down_block_types=("DownEncoderBlock2D",) * 4,
    up_block_types=("UpDecoderBlock2D",) * 4,
    sample_size=512,
)
TEXT = CLIPConfig(49408, 768, 3072, 12, 12)
SCHEDULER = SchedulerConfig(
    beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
    set_alpha_to_one=False,
)  # fmt: skip
WEIGHTS = {"text_encoder": "model.safetensors"}  # else diffusers' name
DIFFUSERS = "diffusion_pytorch_model.safetensors"


def build_models(setting: Setting, dtype: torch.dtype) -> Models:
    """Models of SD 1.5's size on the device, or in a rehearsal the bundled ones."""
    tiny = Editor.from_pretrained("tiny", setting.device if setting.small else "cpu", dtype).models
    if setting.small:
        return tiny
    with BuildOnMeta():
        parts: dict[str, Any] = {
            "unet": UNet(UNET), "vae": VAE(VAE_CONFIG), "text_encoder": CLIPTextEncoder(TEXT),
        }  # fmt: skip
    torch.manual_seed(0)
    for part in parts.values():
        assign_tensors(part, draw_weights(part, setting.device), setting.device, dtype)
    return replace(
        tiny, **parts, name="random, SD 1.5's size", folder=None, scheduler=SCHEDULER,
        tokenizer=replace(tiny.tokenizer, length=TOKENS), knowledge=Knowledge(),
        defaults=replace(tiny.defaults, num_inference_steps=50, guidance_scale=GUIDANCE),
        origin=replace(tiny.origin, name="random", scheduler=SCHEDULER, dtype=dtype),
    )  # fmt: skip


def draw_weights(model: nn.Module, device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """Random weights for a model on the meta device: activations stay near unit variance."""
    for name, one in model.state_dict().items():
        yield name, _draw(name, one.shape, device)


def _draw(name: str, shape: torch.Size, device: torch.device) -> Tensor:
    weight = torch.randn(shape, device=device)
    if len(shape) == 1:
        return float(name.endswith("weight")) + 0.1 * weight
    return weight if "embedding" in name else weight * weight[0].numel() ** -0.5


def write_folder(models: Models, tokenizer: Path, folder: Path) -> int:
    """The models as a folder in the diffusers layout; returns the bytes of the weights.

    tokenizer is the folder of the bundled model's tokenizer.
    """
    shutil.copytree(tokenizer, folder / "tokenizer")
    config = folder / "tokenizer" / "tokenizer_config.json"
    settings = json.loads(config.read_text("utf-8")) | {"model_max_length": models.tokenizer.length}
    _write_json(config, settings)
    _write_json(
        folder / "scheduler" / "scheduler_config.json",
        asdict(models.scheduler) | {"clip_sample": False},
    )
    parts: Mapping[str, Any] = {
        "unet": models.unet, "vae": models.vae, "text_encoder": models.text_encoder,
    }  # fmt: skip
    for name, part in parts.items():
        _write_json(folder / name / "config.json", asdict(part.config))
        tensors = {key: one.contiguous() for key, one in part.state_dict().items()}
        save_file(tensors, folder / name / WEIGHTS.get(name, DIFFUSERS))
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), "utf-8")
