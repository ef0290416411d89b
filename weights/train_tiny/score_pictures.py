"""Score a checkpoint's pictures: captions that it follows, its VAE, and the reader behind it.

All figures come from scenes that training never sees, with fixed seeds: two runs on one machine
give the same table.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mdp_lite.editor import Editor
from mdp_lite.eval.metrics import psnr
from mdp_lite.eval.score import build_guidance, decode, round_trip, sample_path
from train_tiny.data import to_tensor, unseen_seeds
from train_tiny.previews import FIRST, write_sheet
from train_tiny.recipe import Recipe

BATCH = 16


@dataclass(frozen=True)
class PicturePlan:
    """How many captions are followed, and how many drawings go through the VAE."""

    captions: int = 256
    pictures: int = 512


QUICK_PICTURES = PicturePlan(captions=32, pictures=64)
Table = dict[str, dict[str, float]]


def draw_scenes(recipe: Recipe, seeds: Sequence[int]) -> Tensor:
    """The drawings of scenes, (n, 3, y, x) in [-1, 1]."""
    scenes = [recipe.world.sample(seed) for seed in seeds]
    return to_tensor(np.stack([np.asarray(recipe.world.draw(s, recipe.size)) for s in scenes]))


def generate(
    editor: Editor, texts: Sequence[str], seeds: Sequence[int], steps: int, g: float
) -> Tensor:
    """Pictures of captions, each from the noise of its seed."""
    x = torch.cat([editor.runner.noise(seed, *editor.runner.size) for seed in seeds])
    path = sample_path(editor, editor.runner.grid(steps), x, build_guidance(editor, texts, g))
    return decode(editor, path.x[-1])


def share_right(recipe: Recipe, seeds: Sequence[int], pictures: Tensor) -> dict[str, float]:
    """The share of pictures on which the reader finds each field as in the scene, and all."""
    kit = recipe.reader
    reader = kit.load()
    answers = [kit.truth(recipe.world.sample(seed)) for seed in seeds]
    pairs = list(zip(kit.ask(reader, pictures), answers, strict=True))
    right = {name: [got[name] == want[name] for got, want in pairs] for name in kit.heads}
    whole = [got == want for got, want in pairs]
    return {name: round(float(np.mean(hits)), 4) for name, hits in {**right, "all": whole}.items()}


def follow_captions(
    recipe: Recipe, editor: Editor, plan: PicturePlan, out: Path, g: float
) -> dict[str, float]:
    """Full captions: the share of generated pictures that read as asked; the first on a sheet."""
    steps = editor.models.defaults.num_inference_steps
    seeds = unseen_seeds(recipe.world, FIRST, plan.captions)
    texts = [recipe.world.full_caption(recipe.world.sample(seed), seed) for seed in seeds]
    parts = [
        generate(editor, texts[i : i + BATCH], seeds[i : i + BATCH], steps, g)
        for i in range(0, len(seeds), BATCH)
    ]
    pictures = torch.cat(parts)
    write_sheet(list(pictures[:32].split(8)), out / "captions.png")
    (out / "captions.txt").write_text("\n".join(texts[:32]) + "\n", "utf-8")
    return share_right(recipe, seeds, pictures)


def stage(
    recipe: Recipe, folder: Path, out: Path, plan: PicturePlan, guidance: float | None
) -> None:
    """Score the checkpoint in folder; write pictures.json and a sheet to out."""
    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    editor = Editor.from_pretrained(folder, "cpu")
    g = editor.models.defaults.guidance_scale if guidance is None else guidance
    seeds = unseen_seeds(recipe.world, FIRST, plan.pictures)
    drawn = draw_scenes(recipe, seeds)
    again = round_trip(editor, drawn)
    decibel = psnr(again, drawn)
    table: Table = {
        "reader on drawings": share_right(recipe, seeds, drawn),
        "reader through the VAE": share_right(recipe, seeds, again),
        "text to image": follow_captions(recipe, editor, plan, out, g),
        "vae dB": {
            "mean": round(float(decibel.mean()), 2),
            "worst": round(float(decibel.min()), 2),
        },
    }
    settings = {"guidance": g, "first_seed": FIRST, **asdict(plan)}
    whole = {"settings": settings, **table, "seconds": round(time.monotonic() - begun)}
    (out / "pictures.json").write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
    print(json.dumps(whole, indent=1))
