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

from mdp_lite.eval import world
from train_tiny.tokens import LENGTH

CAPTIONS = 12  # captions of different forms per scene
CHUNK = 250


class Scenes(NamedTuple):
    """pictures (n, size, size, 3) uint8, mapped from disk; ids (n, CAPTIONS, LENGTH) int16."""

    pictures: np.ndarray
    ids: np.ndarray


def training_seeds(count: int) -> list[int]:
    """The first seeds whose combination of named values is not held back."""
    seeds = (seed for seed in itertools.count() if not world.is_held_back(world.sample(seed)))
    return list(itertools.islice(seeds, count))


def prepare(folder: Path, count: int, size: int, tokenizer: Path) -> Scenes:
    """Draw the training scenes into folder, or map those of an earlier run."""
    done, pictures, ids = (folder / name for name in ("data.done", "pictures.npy", "ids.npy"))
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shape = (count, size, size, 3)
        open_memmap(pictures, "w+", np.uint8, shape)
        open_memmap(ids, "w+", np.int16, (count, CAPTIONS, LENGTH))
        _draw_all(folder, training_seeds(count), size, tokenizer)
        done.touch()
    return open_scenes(folder)


def open_scenes(folder: Path) -> Scenes:
    """Map the scenes that prepare wrote to a folder."""
    return Scenes(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in Scenes._fields))


def _draw_all(folder: Path, seeds: list[int], size: int, tokenizer: Path) -> None:
    starts = range(0, len(seeds), CHUNK)
    jobs = [(folder, start, seeds[start : start + CHUNK], size, tokenizer) for start in starts]
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        for _ in tqdm(pool.imap_unordered(_draw_chunk, jobs), "drawing", len(jobs)):
            pass


def _draw_chunk(job: tuple[Path, int, list[int], int, Path]) -> None:
    folder, start, seeds, size, tokenizer = job
    words = CLIPTokenizer.from_pretrained(tokenizer)
    pictures = np.load(folder / "pictures.npy", mmap_mode="r+")
    ids = np.load(folder / "ids.npy", mmap_mode="r+")
    for i, seed in enumerate(seeds, start):
        scene, rng = world.sample(seed), random.Random(seed)
        pictures[i] = np.asarray(world.draw(scene, size))
        texts = [world.random_caption(scene, rng) for _ in range(CAPTIONS)]
        ids[i] = words(texts, padding="max_length", max_length=LENGTH)["input_ids"]


def open_latents(folder: Path) -> tuple[np.ndarray, float]:
    """Map the encoded latents (n, 4, y, x), and read the scale of the VAE."""
    return np.load(folder / "latents.npy", mmap_mode="r"), float(np.load(folder / "scale.npy"))


def to_tensor(pictures: np.ndarray) -> Tensor:
    """(n, y, x, 3) uint8 -> (n, 3, y, x) float32 in [-1, 1]."""
    return torch.from_numpy(pictures.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


def batches(count: int, size: int, rank: int, ranks: int, seed: int) -> Iterator[np.ndarray]:
    """Endless index batches; all processes use the same shuffles, and each takes its share."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - size * ranks + 1, size * ranks):
            yield np.sort(order[start + rank * size : start + (rank + 1) * size])
