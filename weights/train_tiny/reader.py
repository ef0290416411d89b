"""Train the reader of synthetic pictures, with distortions like those of a model."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mdp_lite.models.vae import VAE
from train_tiny.data import open_scenes, to_tensor, training_seeds, unseen_seeds
from train_tiny.fit import fit, load
from train_tiny.previews import FIRST
from train_tiny.recipe import Recipe
from train_tiny.workers import Worker, spawn

# Pictures that each process sends through the VAE; every other one of its batches comes from them.
POOL = 4096
SHIFT = 4  # pixels at most that a picture is moved in each direction
NAME = "reader.safetensors"  # its weights, in the work folder
HELD_BACK = 2000  # pictures that its accuracy is measured on


def blur(picture: Tensor) -> Tensor:
    """A 3x3 binomial blur of (b, 3, y, x), mixed in by a random share per picture."""
    kernel = torch.tensor([1.0, 2.0, 1.0]) / 4
    weight = (kernel[:, None] * kernel).expand(3, 1, 3, 3)
    soft = F.conv2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), weight, groups=3)
    return torch.lerp(picture, soft, torch.rand(len(picture), 1, 1, 1))


def disturb(picture: Tensor) -> Tensor:
    """Slight blur, noise, contrast and colour shift: what a VAE and a sampler do to pictures."""
    count = len(picture)
    noise = 0.06 * torch.rand(count, 1, 1, 1) * torch.randn_like(picture)
    gain = 1 + 0.04 * torch.randn(count, 3, 1, 1)
    return blur(picture) * gain + 0.03 * torch.randn(count, 3, 1, 1) + noise


def mirror(pictures: Tensor, labels: Tensor, place: int) -> tuple[Tensor, Tensor]:
    """Every second picture mirrored; in column place of its labels left and right change places."""
    mirrored = labels[::2].clone()
    mirrored[:, place] = 2 - mirrored[:, place]
    both = torch.cat([pictures[::2].flip(3), pictures[1::2]])
    return both, torch.cat([mirrored, labels[1::2]])


def shift(pictures: Tensor) -> Tensor:
    """Each picture moved by a few pixels; its edge fills what is free."""
    wide = F.pad(pictures, (SHIFT,) * 4, mode="replicate")
    size, places = pictures.shape[-1], torch.randint(2 * SHIFT + 1, (len(pictures), 2)).tolist()
    return torch.stack([
        one[:, y : y + size, x : x + size] for one, (y, x) in zip(wide, places, strict=True)
    ])  # fmt: skip


@torch.no_grad()
def through_vae(vae: VAE, pictures: np.ndarray, error: float) -> np.ndarray:
    """Round trip (n, y, x, 3) uint8 through the VAE, its latents off by up to error deviations."""
    chunks = []
    for start in range(0, len(pictures), 64):
        with torch.autocast("cpu", torch.bfloat16):
            z = vae.encode(to_tensor(pictures[start : start + 64])).float()
            spread = error * torch.rand(len(z), 1, 1, 1) * z.std()
            chunks.append(vae.decode(z + spread * torch.randn_like(z)).float())
    found = (torch.cat(chunks).permute(0, 2, 3, 1) + 1) * 127.5
    return (found + 0.5).clamp(0, 255).to(torch.uint8).numpy()


def loss(logits: tuple[Tensor, ...], wanted: Tensor) -> Tensor:
    """Sum of the heads' cross entropies; wanted (b, heads)."""
    pairs = zip(logits, wanted.T, strict=True)
    return torch.stack([F.cross_entropy(found, want) for found, want in pairs]).sum()


def find_scenes(recipe: Recipe, work: Path) -> Path:
    """The folder of the scenes that the reader learns from: its own if it has more than others."""
    return work / "reader" if recipe.reader_scenes else work


def build_vae(recipe: Recipe, work: Path) -> VAE | None:
    """The VAE in work with its better decoder, if it has been trained."""
    state = load(work / "decoder.pt") or load(work / "vae.pt")
    if not state:
        return None
    vae = VAE(recipe.vae)
    vae.load_state_dict(state["ema"])
    return vae


class Lessons(NamedTuple):
    """What one process learns from: all drawings and labels, and its pool of round trips."""

    pictures: np.ndarray  # (n, y, x, 3) uint8
    wanted: Tensor  # (n, heads)
    pool: np.ndarray  # round trips of the chosen pictures
    chosen: np.ndarray
    place: int  # the column of wanted that has the position

    def draw(self, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Distorted pictures and labels: half of index, and as many of the pool by chance."""
        fresh = index[: len(index) // 2]
        again = torch.randint(len(self.pool), (len(index) - len(fresh),)).numpy()
        batch = to_tensor(np.concatenate([self.pictures[fresh], self.pool[again]]))
        target = self.wanted[np.concatenate([fresh, self.chosen[again]])]
        batch, target = mirror(shift(batch), target, self.place)
        return disturb(batch), target


def open_lessons(worker: Worker, recipe: Recipe, work: Path) -> Lessons:
    """The lessons of a process; without a VAE the pool has drawings."""
    pictures = open_scenes(find_scenes(recipe, work)).pictures
    vae = build_vae(recipe, work)
    chosen = np.arange(worker.rank, len(pictures), worker.count)[:POOL]
    pool = through_vae(vae, pictures[chosen], error=0.3) if vae else pictures[chosen]
    seeds = training_seeds(recipe.world, len(pictures))
    scenes = [recipe.world.sample_training(seed) for seed in seeds]
    wanted = torch.tensor([recipe.reader.labels(scene) for scene in scenes])
    return Lessons(pictures, wanted, pool, chosen, list(recipe.reader.heads).index("position"))


def train(worker: Worker, recipe: Recipe, work: Path) -> None:
    """Train on drawings and, half of each batch, on their round trips, if there is a VAE."""
    torch.manual_seed(0)
    lessons = open_lessons(worker, recipe, work)
    model = recipe.reader.build().to(worker.device)

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        batch, target = (one.to(worker.device) for one in lessons.draw(index))
        with torch.autocast(worker.device.type, torch.bfloat16):
            logits = model(batch)
        found = loss(tuple(one.float() for one in logits), target)
        return found, f"loss {found.item():.3f}"

    fit(worker, model, loss_of, len(lessons.pictures), recipe.reader_training, work / "reader.pt")


def stage(recipe: Recipe, work: Path) -> None:
    """Train with the VAE in work, if any; write fp16 weights to work, report the accuracy."""
    spawn(train, recipe, work, batch=recipe.reader_training.batch)
    kit, world = recipe.reader, recipe.world
    reader = kit.build()
    reader.load_state_dict((load(work / "reader.pt") or {})["ema"])
    halves = {name: t.half().contiguous() for name, t in reader.state_dict().items()}
    save_file(halves, work / NAME)
    seeds = unseen_seeds(world, FIRST, HELD_BACK)
    pictures = np.stack([np.asarray(world.draw(world.sample(s), recipe.size)) for s in seeds])
    reader.load_state_dict({name: t.float() for name, t in load_file(work / NAME).items()})
    print("reader on drawings", accuracy(reader.eval(), recipe, seeds, pictures))
    vae = build_vae(recipe, work)
    if vae:
        again = through_vae(vae, pictures, error=0)
        print("reader through the VAE", accuracy(reader, recipe, seeds, again))


def accuracy(
    reader: nn.Module, recipe: Recipe, seeds: list[int], pictures: np.ndarray
) -> dict[str, float]:
    """Share of pictures (n, y, x, 3) uint8 on which each head is right."""
    kit = recipe.reader
    answers = [kit.truth(recipe.world.sample(seed)) for seed in seeds]
    pairs = list(zip(kit.ask(reader, to_tensor(pictures)), answers, strict=True))
    return {
        name: sum(found[name] == want[name] for found, want in pairs) / len(pairs)
        for name in kit.heads
    }
