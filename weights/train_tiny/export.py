"""Write the trained parts as a Stable Diffusion checkpoint in the diffusers folder layout."""

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from train_tiny.fit import load
from train_tiny.recipe import SCHEDULER, Recipe
from train_tiny.tokens import END, START, write_tokenizer

DIFFUSERS = "0.42.1"  # the version whose names these configs use
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": DIFFUSERS,
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def export(recipe: Recipe, work: Path, out: Path) -> None:
    """Read the averaged weights of every part from work, write the folder out.

    decoder.pt is optional: without it the decoder is that of vae.pt.
    """
    unet = (load(work / "unet.pt") or {})["ema"]
    write_folder(recipe, load_vae(work), unet, read_scale(work), out)
    write_example(recipe, out)


def write_example(recipe: Recipe, out: Path) -> None:
    """Write what `mdp-lite demo` shows, unless it is there: prompts, and a drawing to edit."""
    if (out / "example.json").exists():
        return
    world = recipe.world
    made, given = (next(world.iterate_edits(kind, "tune")) for kind in ("color", "ground"))
    pairs = {"synthetic": [made.source, made.target], "real": [given.source, given.target]}
    write_json(out / "example.json", pairs)
    world.draw(given.source_scene, recipe.size).save(out / "example.png")


def load_vae(work: Path) -> dict[str, Tensor]:
    """The averaged weights of the VAE, with the better decoder if there is one."""
    return (load(work / "decoder.pt") or load(work / "vae.pt") or {})["ema"]


def read_scale(work: Path) -> float:
    """The factor that gives the latents unit standard deviation."""
    return float(np.load(work / "scale.npy"))


def write_folder(
    recipe: Recipe, vae: dict[str, Tensor], both: dict[str, Tensor], scale: float, out: Path
) -> None:
    """Write the checkpoint folder from the VAE's state and that of UNet and text encoder."""
    with tempfile.TemporaryDirectory() as plain:
        write_tokenizer(Path(plain), recipe.world.words, recipe.length)
        CLIPTokenizer.from_pretrained(plain).save_pretrained(out / "tokenizer")
        words = json.loads((Path(plain) / "vocab.json").read_text("utf-8"))
    write_json(out / "model_index.json", INDEX)
    write_json(out / "mdp_lite.json", defaults(recipe), in_order=False)
    write_json(out / "scheduler" / "scheduler_config.json", scheduler_config())
    write_part(out / "vae", vae_config(recipe, scale), vae, "diffusion_pytorch_model")
    write_part(out / "unet", unet_config(recipe), part(both, "unet."), "diffusion_pytorch_model")
    text = part(both, "text_encoder.")
    write_part(out / "text_encoder", text_config(recipe, words), text, "model")


def defaults(recipe: Recipe) -> dict[str, Any]:
    """The checkpoint's own defaults, and what the model knows: its pictures and its words."""
    world = recipe.world
    knows: dict[str, Any] = {"pictures": world.pictures}
    knows |= {"least_psnr": recipe.least_psnr} if recipe.least_psnr else {}
    knows |= {"words": sorted(word for word in world.words if word.isalpha())}
    knows |= {"groups": world.groups} if world.groups else {}
    return recipe.defaults | knows


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def write_part(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], name: str) -> None:
    """A config and its fp16 weights."""
    write_json(folder / "config.json", config)
    halves = {key: tensor.to(torch.float16).contiguous() for key, tensor in tensors.items()}
    save_file(halves, folder / f"{name}.safetensors", {"format": "pt"})


def write_json(path: Path, data: dict[str, Any], in_order: bool = True) -> None:
    """JSON with its keys in order, so that a rewrite shows as a small difference; or as they are.

    The groups of words in mdp_lite.json are in an order that means something.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2, sort_keys=in_order) + "\n", "utf-8")


def scheduler_config() -> dict[str, Any]:
    """diffusers' DDIMScheduler with the flags of Stable Diffusion 1.x."""
    head = {"_class_name": "DDIMScheduler", "_diffusers_version": DIFFUSERS, "clip_sample": False}
    return {**head, **asdict(SCHEDULER)}


def vae_config(recipe: Recipe, scale: float) -> dict[str, Any]:
    """diffusers' AutoencoderKL; scale gives its latents unit standard deviation."""
    head = {"_class_name": "AutoencoderKL", "_diffusers_version": DIFFUSERS, "force_upcast": False}
    return {**head, **asdict(replace(recipe.vae, scaling_factor=scale))}


def unet_config(recipe: Recipe) -> dict[str, Any]:
    """diffusers' UNet2DConditionModel."""
    head = {"_class_name": "UNet2DConditionModel", "_diffusers_version": DIFFUSERS}
    return {**head, **asdict(recipe.unet)}


def text_config(recipe: Recipe, words: dict[str, int]) -> dict[str, Any]:
    """transformers' CLIPTextModel."""
    start, end = words[START], words[END]
    ids = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    head = {"architectures": ["CLIPTextModel"], "model_type": "clip_text_model"}
    return {
        **head,
        **ids,
        "projection_dim": recipe.text_width,
        **asdict(recipe.text_config(len(words))),
    }
