"""The command that measures how well a model's VAE gives pictures back."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.likeness import describe, run, to_jpeg
from mdp_lite import BadInput


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
    model: str, bound: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "broken.png").write_bytes((tmp_path / "noise.png").read_bytes()[:200])
    (tmp_path / "folder.png").mkdir()
    scenes, jpegs, others = run(
        argparse.Namespace(model=model, scenes=3, jpegs=2, pictures=tmp_path)
    )
    assert scenes.startswith("scenes: 3, ") and scenes.endswith(f" dB, 0 below {bound}")
    assert jpegs.startswith("as JPEG: 2, ") and jpegs.endswith(f" dB, 0 below {bound}")
    assert capsys.readouterr().out.count("left out: ") == 3
    assert others.startswith("other pictures: 1, ") and others.endswith(f"1 below {bound}")


@pytest.mark.parametrize("changed, sentence", [
    ({"pictures": Path("nowhere")}, "pictures must be a folder, got nowhere"),
    ({"scenes": -1}, "scenes and jpegs must be 0 or more, got -1 and 0"),
])  # fmt: skip
def test_bad_input_is_refused_before_any_work(changed: dict[str, object], sentence: str) -> None:
    right = {"model": "no model", "scenes": 0, "jpegs": 0, "pictures": None}
    with pytest.raises(BadInput, match=sentence):
        run(argparse.Namespace(**right | changed))
