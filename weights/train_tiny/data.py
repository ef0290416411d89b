"""Synthetic scenes and their captions as arrays on disk."""

import itertools
import multiprocessing
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTokenizer

from mdp_lite.eval.worlds import World
from mdp_lite.names import BadInput
from train_tiny.recipe import Recipe

CAPTIONS = 12  # captions of different forms per scene
CHUNK = 250


class Scenes(NamedTuple):
    """pictures (n, size, size, 3) uint8, mapped from disk; ids (n, CAPTIONS, length) int16."""

    pictures: np.ndarray
    ids: np.ndarray


class DrawJob(NamedTuple):
    """A chunk of scenes to draw: from index start on, of these seeds."""

    folder: Path
    start: int
    seeds: list[int]
    recipe: Recipe
    tokenizer: Path


def training_seeds(world: World, count: int) -> list[int]:
    """The first seeds whose scene to train on has a combination that is not held back."""
    seeds = (s for s in itertools.count() if not world.is_held_back(world.sample_training(s)))
    return list(itertools.islice(seeds, count))


def unseen_seeds(world: World, first: int, count: int) -> list[int]:
    """The first seeds from first on whose scene has a combination that training never sees."""
    seeds = (s for s in itertools.count(first) if world.is_held_back(world.sample(s)))
    return list(itertools.islice(seeds, count))


def prepare(folder: Path, recipe: Recipe, tokenizer: Path) -> Scenes:
    """Draw the training scenes into folder, or map those of an earlier run.

    Raises BadInput if these are others than the recipe's by number or size.
    """
    done, pictures, ids = (folder / name for name in ("data.done", "pictures.npy", "ids.npy"))
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        count, size = recipe.scenes, recipe.size
        shape = (count, size, size, 3)
        open_memmap(pictures, "w+", np.uint8, shape)
        open_memmap(ids, "w+", np.int16, (count, CAPTIONS, recipe.length))
        _draw_all(folder, training_seeds(recipe.world, count), recipe, tokenizer)
        done.touch()
    found = open_scenes(folder)
    got, want = found.pictures.shape[:2], (recipe.scenes, recipe.size)
    if got != want:
        raise BadInput(f"scenes must be {want[0]} of {want[1]} pixels, got {got[0]} of {got[1]} "
                         f"in {folder}: name another --work")  # fmt: skip
    return found


def open_scenes(folder: Path) -> Scenes:
    """Map the scenes that prepare wrote to a folder."""
    return Scenes(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Scenes._fields))


def _draw_all(folder: Path, seeds: list[int], recipe: Recipe, tokenizer: Path) -> None:
    starts = range(0, len(seeds), CHUNK)
    jobs = [DrawJob(folder, i, seeds[i : i + CHUNK], recipe, tokenizer) for i in starts]
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        for _ in tqdm(pool.imap_unordered(_draw_chunk, jobs), "drawing", len(jobs)):
            pass


def _draw_chunk(job: DrawJob) -> None:
    folder, start, seeds, recipe, tokenizer = job
    world = recipe.world
    words = CLIPTokenizer.from_pretrained(tokenizer)
    pictures = np.load(folder / "pictures.npy", mmap_mode="r+")
    ids = np.load(folder / "ids.npy", mmap_mode="r+")
    for i, seed in enumerate(seeds, start):
        scene, rng = world.sample_training(seed), random.Random(seed)
        pictures[i] = np.asarray(world.draw(scene, recipe.size))
        texts = [world.random_caption(scene, rng) for _ in range(CAPTIONS)]
        ids[i] = words(texts, padding="max_length", max_length=recipe.length)["input_ids"]


def open_latents(folder: Path) -> tuple[np.ndarray, float]:
    """Map the encoded latents (n, channels, y, x), and read the scale of the VAE."""
    return np.load(folder / "latents.npy", mmap_mode="r"), float(np.load(folder / "scale.npy"))


def to_tensor(pictures: np.ndarray) -> Tensor:
    """(n, y, x, 3) uint8 -> (n, 3, y, x) float32 in [-1, 1]."""
    return torch.from_numpy(pictures.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


def batches(count: int, size: int, rank: int, ranks: int, step: int) -> Iterator[np.ndarray]:
    """Endless index batches from a step on; processes use the same shuffles, each takes its share.

    A step's batch depends on nothing but these arguments, so that a resumed run sees the same.
    """
    steps = count // (size * ranks)
    while True:
        epoch, first = divmod(step, steps)
        order = np.random.default_rng(epoch).permutation(count)
        for i in range(first, steps):
            start = (i * ranks + rank) * size
            yield np.sort(order[start : start + size])
        step = (epoch + 1) * steps
