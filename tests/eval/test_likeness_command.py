"""The command that measures how well a model's VAE gives pictures back."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.likeness import describe, run, to_jpeg


def test_a_line_counts_what_is_below_the_bound() -> None:
    line = describe("scenes", [20.0, 23.0, 30.0], 23.5)
    assert line == "scenes: 3, 20.0 to 30.0 dB, 2 below 23.5"
    assert describe("scenes", [], 23.5) == "scenes: none"


def test_a_jpeg_is_near_but_not_the_picture() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    picture = Image.fromarray(np.stack([ramp, ramp.T, ramp], -1))
    apart = np.abs(np.asarray(to_jpeg(picture), float) - np.asarray(picture, float))
    assert 0 < apart.max() < 20


@pytest.mark.parametrize(("model", "bound"), [("tiny", "27"), ("small", "23.5")])
def test_noise_is_below_the_bound_and_scenes_are_not(
    model: str, bound: str, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (tmp_path / "notes.txt").write_text("no picture")
    scenes, jpegs, others = run(
        argparse.Namespace(model=model, scenes=3, jpegs=2, pictures=tmp_path)
    )
    assert scenes.startswith("scenes: 3, ") and scenes.endswith(f" dB, 0 below {bound}")
    assert jpegs.startswith("as JPEG: 2, ") and jpegs.endswith(f" dB, 0 below {bound}")
    assert others.startswith("other pictures: 1, ") and others.endswith(f"1 below {bound}")
