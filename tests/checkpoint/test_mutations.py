"""Damaged and altered files: each is read, or refused in one sentence; memory stays flat.

    .venv/bin/python -m pytest -m slow -rP tests/checkpoint/test_mutations.py

reads 5,000 mutated pictures, configs, checkpoints, LoRA files and embeddings; the quick suite 150.
"""

import gc
import io
import json
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from mdp_lite import BadInput, Editor
from mdp_lite.pictures import images

Mutation = Callable[[random.Random, Path], None]
PARTS = ("unet", "vae", "text_encoder", "scheduler")
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 7, 2**40, 0.5, -0.5, 1e300, "", "linear", "gelu", [], [8], [8, 16],
    [0, 0], {}, {"a": 1}, "v_prediction", "epsilon",
]  # fmt: skip


def flip_bytes(rng: random.Random, path: Path) -> None:
    """Change a few bytes, mostly near the start, where the headers are."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 8)):
        end = len(data) if rng.random() < 0.3 else min(len(data), 400)
        data[rng.randrange(end)] = rng.randrange(256)
    path.write_bytes(data)


def cut(rng: random.Random, path: Path) -> None:
    """Truncate the file."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def change_json(rng: random.Random, path: Path) -> None:
    """Give one key of a config another value, or add or remove one."""
    config = json.loads(path.read_text("utf-8"))
    key = rng.choice([*config, "an_unknown_key"])
    if rng.random() < 0.2:
        config.pop(key, None)
    else:
        config[key] = rng.choice(VALUES)
    path.write_text(json.dumps(config), "utf-8")


def read_or_refuse(read: Callable[[], Any], what: str) -> bool:
    """Whether it was read; a refusal is one line."""
    try:
        read()
    except BadInput as error:
        assert str(error) and "\n" not in str(error), (what, str(error))
        return False
    return True


def mutate(rng: random.Random, path: Path) -> None:
    rng.choice((flip_bytes, flip_bytes, cut))(rng, path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Sound pictures of the formats and modes that people bring."""
    rng, files = np.random.default_rng(0), []
    for mode in ("RGB", "RGBA", "L", "P", "CMYK"):
        for kind in ("PNG", "JPEG", "WEBP"):
            image = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).convert(mode)
            buffer = io.BytesIO()
            try:
                image.save(buffer, kind)
            except OSError:
                continue  # this format does not have this mode
            files.append(buffer.getvalue())
    return files


def read_pictures(count: int, files: list[bytes], folder: Path) -> int:
    """How many of count mutated pictures were read."""
    read, path = 0, folder / "picture"
    for seed in range(count):
        rng = random.Random(seed)
        path.write_bytes(rng.choice(files))
        mutate(rng, path)
        read += read_or_refuse(lambda: images.rgb(images.open_picture(path)).load(), str(seed))
    return read


def read_checkpoints(count: int, checkpoint: Path, folder: Path) -> int:
    """How many of count checkpoints with one mutated file were loaded."""
    loaded = 0
    for seed in range(count):
        rng, copy = random.Random(seed), folder / f"model-{seed}"
        shutil.copytree(checkpoint, copy)
        files = sorted(path for path in copy.rglob("*") if path.is_file())
        path = rng.choice(files)
        if path.suffix == ".json" and rng.random() < 0.8 and path.parent.name in PARTS:
            change_json(rng, path)
        else:
            mutate(rng, path)
        load = partial(Editor.from_pretrained, copy, device="cpu")
        loaded += read_or_refuse(load, f"{seed} {path}")
        shutil.rmtree(copy)
    return loaded


def read_addons(count: int, checkpoint: Path, folder: Path) -> int:
    """How many of count mutated LoRA files and embeddings were merged."""
    down, up = torch.randn(2, 16), torch.randn(16, 2)
    key = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    lora = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.ones(())}
    save_file({f"{key}.{k}": v for k, v in lora.items()}, folder / "lora.safetensors")
    save_file({"emb_params": torch.randn(2, 16)}, folder / "word.safetensors")
    merged = 0
    for seed in range(count):
        rng = random.Random(seed)
        name = rng.choice(("lora", "word"))
        path = folder / f"{name}-{seed}.safetensors"
        shutil.copy(folder / f"{name}.safetensors", path)
        mutate(rng, path)
        addon = {"loras": [path]} if name == "lora" else {"embeddings": [(path, "<sks>")]}
        load = partial(Editor.from_pretrained, checkpoint, device="cpu", **addon)
        merged += read_or_refuse(load, f"{seed} {name}")
        path.unlink()
    return merged


def test_mutated_pictures(pictures: list[bytes], tmp_path: Path) -> None:
    assert 0 < read_pictures(60, pictures, tmp_path) < 60


def test_mutated_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    assert 0 < read_checkpoints(50, checkpoint, tmp_path) < 50


def test_mutated_addons(checkpoint: Path, tmp_path: Path) -> None:
    assert 0 < read_addons(40, checkpoint, tmp_path) < 40


@pytest.mark.slow
def test_5000_mutated_files(pictures: list[bytes], checkpoint: Path, tmp_path: Path) -> None:
    read_pictures(300, pictures, tmp_path)
    read_checkpoints(100, checkpoint, tmp_path)
    read_addons(100, checkpoint, tmp_path)
    gc.collect()
    process = psutil.Process()
    began = process.memory_info().rss
    counts = (
        read_pictures(2500, pictures, tmp_path),
        read_checkpoints(1500, checkpoint, tmp_path),
        read_addons(1000, checkpoint, tmp_path),
    )
    gc.collect()
    grown = process.memory_info().rss - began
    print(f"read {counts} of (2500, 1500, 1000); memory grew by {grown / 2**20:.1f} MiB")
    assert grown < 64 * 2**20
