"""Sheets of pictures during a training, of scenes that it never sees."""

import tempfile
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.models.vae import VAE
from train_tiny.data import to_tensor, unseen_seeds
from train_tiny.export import load_vae, read_scale, write_folder
from train_tiny.recipe import Recipe

FIRST = 10_000_000  # seed of the first scene; training uses small ones
SHOWN = 16  # pictures of a sheet of round trips


def show_round_trips(recipe: Recipe, work: Path, state: dict[str, Tensor], step: int) -> str:
    """Write held-back pictures above their round trips; says the mean PSNR in dB."""
    seeds = unseen_seeds(recipe.world, FIRST, recipe.measured)
    scenes = [recipe.world.sample(seed) for seed in seeds]
    target = to_tensor(np.stack([np.asarray(recipe.world.draw(s, recipe.size)) for s in scenes]))
    vae = VAE(recipe.vae)
    vae.load_state_dict(state)
    again = round_trip(vae, target)
    error = (again - target).square().mean(dim=(1, 2, 3))
    decibel = 10 * torch.log10(4 / error)
    rows = [
        row
        for i in range(0, min(SHOWN, len(seeds)), 8)
        for row in (target[i : i + 8], again[i : i + 8])
    ]
    write_sheet(rows, work / f"vae_{step:06d}.png")
    return f"held-back PSNR {decibel.mean():.2f} dB, the worst {decibel.min():.2f}"


@torch.no_grad()
def round_trip(vae: VAE, pictures: Tensor) -> Tensor:
    """Pictures (n, 3, y, x) in [-1, 1] through the VAE, eight at a time."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [vae.decode(vae.encode(part)).float() for part in pictures.split(8)]
    return torch.cat(parts).clamp(-1, 1)


def write_sheet(rows: list[Tensor], path: Path) -> None:
    """Rows of pictures (n, 3, y, x) in [-1, 1] as one PNG."""
    lines = [torch.cat(list(row), dim=2) for row in rows]
    whole = (torch.cat(lines, dim=1).permute(1, 2, 0) + 1) * 127.5
    Image.fromarray((whole + 0.5).clamp(0, 255).to(torch.uint8).numpy()).save(path)


def show_samples(recipe: Recipe, work: Path, state: dict[str, Tensor], step: int) -> str:
    """Write pictures that the averaged weights make of held-back captions, beside the captions."""
    texts = make_captions(recipe, recipe.prompts)
    with tempfile.TemporaryDirectory() as folder:
        write_folder(recipe, load_vae(work), state, read_scale(work), Path(folder))
        editor = Editor.from_pretrained(folder, "cpu")
    found = [editor.generate(text, seed=i, num_inference_steps=20) for i, text in enumerate(texts)]
    pictures = to_tensor(np.stack([np.asarray(source.image) for source in found]))
    path = work / f"unet_{step:06d}.png"
    write_sheet(list(pictures.split(6)), path)
    path.with_suffix(".txt").write_text("\n".join(texts) + "\n", "utf-8")
    return path.name


def make_captions(recipe: Recipe, count: int) -> list[str]:
    """Captions of scenes that training never sees, always the same ones."""
    world = recipe.world
    seeds = unseen_seeds(world, FIRST, count)
    return [world.random_caption(world.sample(seed), Random(seed)) for seed in seeds]
