"""Small models and LoRAs of random weights, and a service of several of them."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from safetensors.torch import save_file

from mdp_lite.cli.model_options import ModelOptions
from mdp_lite.editor import Editor
from mdp_lite.model_pool.specs import ModelSpec, read_editor_facts
from mdp_lite.models.unet import UNet
from mdp_lite.serve import pictures
from support.checkpoints import UNET_CONFIG, write_checkpoint, write_part

WEIGHTS = "diffusion_pytorch_model.safetensors"
STEPS = 2
ATTENTION = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1"
Loras = Sequence[tuple[str, float]]


class Zoo(NamedTuple):
    """Three models of one size, a, b and c, and a folder with the LoRAs x and y for all of them."""

    folder: Path
    loras: Path

    def spec(self, alias: str, is_pinned: bool = False) -> ModelSpec:
        options = ModelOptions(name=str(self.folder / alias), device="cpu")
        return ModelSpec(alias, options, is_pinned=is_pinned)

    def editor(self, alias: str, loras: Loras = ()) -> Editor:
        """A lone editor of a model with these LoRAs of the folder."""
        files = [(self.loras / f"{name}.safetensors", weight) for name, weight in loras]
        return Editor.from_pretrained(self.folder / alias, device="cpu", loras=files)

    def size(self) -> int:
        """Bytes of the weights of each model."""
        return read_editor_facts(self.editor("a")).bytes

    def settings(self, room: float, others: str = "bc", **more: Any) -> dict[str, Any]:
        """Settings of a service of a and others, with memory for so many models."""
        return {
            "alias": "a", "first": self.spec("a"), "others": tuple(map(self.spec, others)),
            "lora_folder": self.loras, "model_memory": int(room * self.size()), **more,
        }  # fmt: skip


def build_zoo(folder: Path, width: int = 0) -> Zoo:
    """The models and LoRAs; width: that of the UNets' lower level, if not write_checkpoint's."""
    for seed, alias in enumerate("abc"):
        write_checkpoint(folder / alias, seed=seed)
        if width:
            config = replace(UNET_CONFIG, block_out_channels=(8, width))
            torch.manual_seed(seed)
            write_part(folder / alias / "unet", WEIGHTS, UNet(config), config)
    (folder / "loras").mkdir()
    for seed, name in enumerate("xy"):
        write_lora(folder / "loras" / f"{name}.safetensors", seed, width or 16)
    return Zoo(folder, folder / "loras")


def write_lora(path: Path, seed: int, width: int = 16) -> None:
    """A LoRA of an attention of write_checkpoint's UNet, if the width is 16."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    tensors = {}
    for name in ("to_q", "to_v"):
        tensors[f"{ATTENTION}.{name}.lora_A.weight"] = draw(2, width)
        tensors[f"{ATTENTION}.{name}.lora_B.weight"] = draw(width, 2)
    save_file(tensors, path)


def ask_for(model: str | None, loras: Loras = (), seed: int = 0) -> dict[str, Any]:
    """The body of a generation."""
    body = {"prompt": "a red house", "seed": seed, "num_inference_steps": STEPS}
    listed = [{"name": name, "weight": weight} for name, weight in loras]
    return body | ({} if model is None else {"model": model}) | ({"lora": listed} if loras else {})


def generate_alone(editor: Editor, seed: int = 0) -> Image.Image:
    """The picture that the service must give for ask_for."""
    return editor.generate("a red house", seed, STEPS).image


def read_picture(answer: dict[str, Any]) -> Image.Image:
    data = pictures.from_base64(answer["data"][0]["b64_json"], "picture")
    return Image.open(io.BytesIO(data)).convert("RGB")
