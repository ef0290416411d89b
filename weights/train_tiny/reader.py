"""Train the reader of synthetic pictures, with distortions like those of a model."""

from itertools import islice
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from mdp_lite.eval import world
from mdp_lite.eval.cases import iterate_scenes
from mdp_lite.eval.reader import HEADS, WEIGHTS, Reader, labels, load_reader, read, truth
from mdp_lite.models.vae import VAE
from train_tiny.data import Scenes, batches, open_scenes, to_tensor, training_seeds
from train_tiny.fit import load, save
from train_tiny.recipe import TINY
from train_tiny.workers import Worker, report

STEPS, BATCH, PEAK = 1500, 64, 3e-3
POOL = 3072  # pictures sent through the VAE, from which every other picture of a batch comes
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


def make_targets(count: int) -> Tensor:
    """Labels (count, heads) int64 of the training scenes."""
    return torch.tensor([labels(world.sample(seed)) for seed in training_seeds(TINY.world, count)])


def loss(logits: tuple[Tensor, ...], wanted: Tensor) -> Tensor:
    """Sum of the heads' cross entropies; wanted (b, heads)."""
    pairs = zip(logits, wanted.T, strict=True)
    return torch.stack([F.cross_entropy(found, want) for found, want in pairs]).sum()


def stage(work: Path) -> None:
    """Train with the VAE in work, if any; write reader.pt there, and fp16 weights to the code."""
    worker = Worker(0, 1, torch.device("cpu"))
    state = load(work / "decoder.pt") or load(work / "vae.pt")
    vae = VAE(TINY.vae) if state else None
    if vae and state:
        vae.load_state_dict(state["ema"])
    reader = train(worker, open_scenes(work), vae, STEPS)
    save(work / "reader.pt", {"ema": reader.state_dict()})
    halves = {name: t.half().contiguous() for name, t in reader.state_dict().items()}
    save_file(halves, WEIGHTS)
    records = list_held_back(HELD_BACK)
    pictures = np.stack([np.asarray(world.draw(scene)) for scene in records])
    report(worker, f"reader on drawings: {accuracy(load_reader(), records, pictures)}")
    if vae:
        again = through_vae(vae, pictures, error=0)
        report(worker, f"reader through the VAE: {accuracy(load_reader(), records, again)}")


def train(worker: Worker, data: Scenes, vae: VAE | None, steps: int) -> Reader:
    """Train for a fixed number of steps; every other picture has been through the VAE, if any."""
    torch.manual_seed(0)
    reader, wanted = Reader(), make_targets(len(data.pictures))
    pool = through_vae(vae, data.pictures[:POOL], error=0.3) if vae else data.pictures[:POOL]
    optimizer = torch.optim.AdamW(reader.parameters(), PEAK, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps)
    indices, rng = batches(len(data.pictures), BATCH // 2, 0, 1, step=0), np.random.default_rng(0)
    for step, index in zip(range(steps), indices, strict=False):
        again = rng.integers(len(pool), size=BATCH // 2)
        pictures = to_tensor(np.concatenate([data.pictures[index], pool[again]]))
        found = loss(reader(disturb(pictures)), wanted[np.concatenate([index, again])])
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 200 == 0:
            report(worker, f"reader step {step} loss {found.item():.3f}")
    return reader.eval().requires_grad_(False)


def list_held_back(count: int) -> list[world.Scene]:
    """The first scenes whose combinations training never sees."""
    return [scene for _, scene in islice(iterate_scenes(), count)]


def accuracy(reader: Reader, records: list[world.Scene], pictures: np.ndarray) -> dict[str, float]:
    """Share of pictures (n, y, x, 3) uint8 on which each head is right."""
    pairs = list(zip(read(reader, to_tensor(pictures)), map(truth, records), strict=True))
    return {
        name: sum(found[name] == want[name] for found, want in pairs) / len(pairs) for name in HEADS
    }
