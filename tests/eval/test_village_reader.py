"""The reader of the village reads drawings that training never saw, and refuses other tensors."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mdp_lite import BadInput
from mdp_lite.eval.village.reader import HEADS, VillageReader, load_village_reader, read, truth
from mdp_lite.eval.worlds import VILLAGE
from train_tiny.data import to_tensor, unseen_seeds

FIRST = 30_000_000  # neither training nor the scores of the card have these seeds


def test_it_reads_held_back_drawings() -> None:
    scenes = [VILLAGE.sample(seed) for seed in unseen_seeds(VILLAGE, FIRST, 64)]
    drawn = to_tensor(np.stack([np.asarray(VILLAGE.draw(scene)) for scene in scenes]))
    found = read(load_village_reader(), drawn)
    for field in HEADS:
        right = [got[field] == truth(one)[field] for got, one in zip(found, scenes, strict=True)]
        assert np.mean(right) >= 0.9, field


def test_its_errors(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="reader must be a safetensors file, got .*none"):
        load_village_reader(tmp_path / "none.safetensors")
    with pytest.raises(BadInput, match=r"shape \[b, 3, 128, 128\], got \[1, 3, 64, 64\]"):
        read(VillageReader(), torch.zeros(1, 3, 64, 64))
