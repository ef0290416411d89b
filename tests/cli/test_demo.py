"""What `mdp-lite demo` makes."""

import json
import os
import shutil
from pathlib import Path

import pytest

import mdp_lite_weights
from mdp_lite.__main__ import main
from mdp_lite.cli.demo import STEPS, read_example
from mdp_lite.names import DEFAULT_MODEL, VARIANTS
from mdp_lite.pictures import images
from support.bundled import MODELS, Bundled

SHEET = [f"{case}-{name}.png" for case in ("synthetic", "real") for name in ("source", *VARIANTS)]


def test_demo_shows_both_cases_and_all_variants(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model"
    shutil.copytree(checkpoint, model)
    for name in ("example.png", "example.json"):
        shutil.copy(mdp_lite_weights.locate(DEFAULT_MODEL) / name, model)
    monkeypatch.setitem(mdp_lite_weights.files.BUNDLED, DEFAULT_MODEL, model)
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"before and after: {Path('demo/sheet.png')}"
    assert set(os.listdir("demo")) == {*SHEET, "sheet.png"}
    page = images.open_picture("demo/sheet.png")
    assert page.width == 5 * 256 + 6 * 16 and page.height > 2 * 256


@pytest.mark.parametrize("model", MODELS, ids=lambda one: one.name)
def test_the_example_is_a_drawing_that_training_never_saw(model: Bundled) -> None:
    world, scene = model.world, model.world.sample(model.example)
    said = {world.full_caption(scene, k) for k in range(6)}
    assert world.is_held_back(scene) and read_example(model.folder).real[0] in said
    example = images.open_picture(model.folder / "example.png")
    assert example.tobytes() == world.draw(scene).tobytes()


def test_demo_of_the_bundled_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "-o", "shown", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(os.listdir("shown")) == {*SHEET, "sheet.png"}
    # A weight of 1 needs no call: the first of a cosine's window, which starts at step 2; for x
    # also the steps before it.
    calls = {"source": STEPS, "epsilon": STEPS - 1, "c": STEPS, "x": STEPS - 3, "beta": STEPS}
    assert said["settings"]["model"] == DEFAULT_MODEL
    assert said["cost"]["unet_calls"] == 2 * sum(calls.values())
    shown = [images.open_picture(f"shown/{name}").tobytes() for name in SHEET]
    assert len(set(shown)) == len(SHEET)  # the variants differ
