"""Train the reader of drawn pictures, on drawings disturbed as a model would disturb them."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from mdp_lite.eval import world
from mdp_lite.eval.reader import HEADS, SIZES, Reader, labels, read, truth
from mdp_lite.vae import VAE
from train_tiny.data import Scenes, batches, to_tensor, training_seeds
from train_tiny.fit import save
from train_tiny.workers import Worker, report

STEPS, BATCH, PEAK = 3000, 64, 3e-3
POOL = 4096  # pictures sent through the VAE, which then stand for every other picture of a batch
HELD_BACK = 10_000_000  # first seed of the scenes that figures are measured on


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


@torch.no_grad()
def through_vae(vae: VAE, pictures: np.ndarray, error: float) -> np.ndarray:
    """Round trip (n, y, x, 3) uint8 through the VAE, with Gaussian error added to the latents."""
    chunks = []
    for start in range(0, len(pictures), 64):
        z = vae.encode(to_tensor(pictures[start : start + 64]))
        spread = error * torch.rand(len(z), 1, 1, 1) * z.std()
        chunks.append(vae.decode(z + spread * torch.randn_like(z)))
    found = (torch.cat(chunks).permute(0, 2, 3, 1) + 1) * 127.5
    return (found + 0.5).clamp(0, 255).to(torch.uint8).numpy()


def targets(count: int) -> Tensor:
    """Labels (count, heads) int64 of the training scenes."""
    return torch.tensor([labels(world.sample(seed)) for seed in training_seeds(count)])


def loss(logits: tuple[Tensor, ...], wanted: Tensor) -> Tensor:
    """Sum of the heads' cross entropies; wanted (b, heads)."""
    pairs = zip(logits, wanted.T, strict=True)
    return torch.stack([F.cross_entropy(found, want) for found, want in pairs]).sum()


def train(worker: Worker, data: Scenes, vae: VAE | None, path: Path, steps: int = STEPS) -> Reader:
    """Train for a fixed number of steps; every other picture has been through the VAE, if any."""
    torch.manual_seed(0)
    reader, wanted = Reader(), targets(len(data.pictures))
    pool = through_vae(vae, data.pictures[:POOL], error=0.3) if vae else data.pictures[:POOL]
    optimizer = torch.optim.AdamW(reader.parameters(), PEAK, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
    drawn, rng = batches(len(data.pictures), BATCH // 2, 0, 1, seed=0), np.random.default_rng(0)
    for step, index in zip(range(steps), drawn, strict=False):
        again = rng.integers(len(pool), size=BATCH // 2)
        pictures = to_tensor(np.concatenate([data.pictures[index], pool[again]]))
        found = loss(reader(disturb(pictures)), wanted[np.concatenate([index, again])])
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 200 == 0:
            report(worker, f"reader step {step} loss {found.item():.3f}")
    save(path, {"model": reader.state_dict()})
    return reader.eval()


def export(reader: Reader, path: Path) -> None:
    """Write the weights as fp16 safetensors."""
    save_file({name: t.half().contiguous() for name, t in reader.state_dict().items()}, path)


def held_back(count: int) -> list[world.Scene]:
    """The first scenes from HELD_BACK on whose combination of values training never sees."""
    scenes = (world.sample(seed) for seed in range(HELD_BACK, HELD_BACK + 100 * count))
    return [scene for scene, _ in zip(filter(world.held_back, scenes), range(count), strict=False)]


def draw(scenes: list[world.Scene]) -> np.ndarray:
    """The scenes' pictures, (n, y, x, 3) uint8."""
    return np.stack([np.asarray(world.draw(scene)) for scene in scenes])


def accuracy(reader: Reader, scenes: list[world.Scene], pictures: np.ndarray) -> dict[str, float]:
    """Share of pictures on which each head is right."""
    pairs = list(zip(read(reader, to_tensor(pictures)), map(truth, scenes), strict=True))
    return {
        name: sum(found[name] == want[name] for found, want in pairs) / len(pairs) for name in HEADS
    }


def confusions(
    reader: Reader, scenes: list[world.Scene], pictures: np.ndarray
) -> dict[str, list[int]]:
    """Mistakes: "field: value read as value" -> which pictures."""
    mistakes: dict[str, list[int]] = {}
    for i, (found, scene) in enumerate(zip(read(reader, to_tensor(pictures)), scenes, strict=True)):
        for name, want in truth(scene).items():
            if found[name] != want:
                mistakes.setdefault(f"{name}: {want} read as {found[name]}", []).append(i)
    return mistakes
