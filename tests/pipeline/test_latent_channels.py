"""Latents of other than four channels: every way to make, show, store and edit them."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor, Source
from mdp_lite.eval.village import world
from mdp_lite.eval.worlds import VILLAGE
from mdp_lite.names import VARIANTS, BadCheckpoint
from mdp_lite.pipeline.inversion_methods import METHODS
from mdp_lite.pipeline.once import once
from mdp_lite.pipeline.preview import fit_preview, preview
from support import taesd
from support.village_model import write_village_model

PROMPT, TARGET = "a red house on a meadow", "a blue house on a meadow"
PICTURE = VILLAGE.draw(world.sample(3))


@pytest.fixture(scope="module", params=[8, 16])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("channels") / f"toy{request.param}"
    return write_village_model(place, channels=request.param)


@pytest.fixture(scope="module")
def channels(folder: Path) -> int:
    return int(folder.name.removeprefix("toy"))


@pytest.fixture(scope="module")
def wide(folder: Path) -> Editor:
    return Editor.from_pretrained(folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def source(wide: Editor) -> Source:
    return wide.generate(PROMPT, seed=1, num_inference_steps=3)


def test_latents_have_the_checkpoints_channels(wide: Editor, source: Source, channels: int) -> None:
    assert source.path.x.shape == (4, 1, channels, 16, 16)
    assert source.image.size == (128, 128)
    assert wide.runner.encode(PICTURE).shape == (1, channels, 16, 16)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_edits_them(wide: Editor, source: Source, variant: str) -> None:
    edit = wide.edit(source, TARGET, variant, mask=(16, 16, 96, 96))
    assert edit.latent.shape == source.path.x[-1].shape and edit.latent.isfinite().all()
    assert not torch.equal(edit.latent, source.path.x[-1])


@pytest.mark.parametrize("method", METHODS)
def test_every_inversion_finds_a_source(wide: Editor, channels: int, method: str) -> None:
    found = wide.invert(PICTURE, PROMPT, method, num_inference_steps=2)
    assert found.path.x.shape[2] == channels and found.path.x.isfinite().all()
    assert wide.edit(found, TARGET).latent.isfinite().all()


def test_edits_find_their_own_mask_and_share_steps(wide: Editor, source: Source) -> None:
    assert wide.edit(source, TARGET, mask="auto").latent.isfinite().all()
    assert once(wide, PROMPT, TARGET, num_inference_steps=3).latent.isfinite().all()
    sweep = wide.sweep(source, [TARGET], windows=[(3, 1), (3, 2)], variants=["epsilon", "x"])
    assert len(sweep.edits) == 4


def test_previews_have_a_row_of_the_map_for_each_channel(wide: Editor, channels: int) -> None:
    preview_map = fit_preview(wide.models.vae)
    assert preview_map.shape == (channels + 1, 3) and preview_map.isfinite().all()
    z = wide.runner.encode(PICTURE)
    assert preview(wide.runner.preview_map, z, wide.runner.factor).size == (128, 128)


def test_a_saved_source_comes_back(wide: Editor, source: Source, tmp_path: Path) -> None:
    path = tmp_path / "house.safetensors"
    wide.save_source(source, path)
    again = wide.load_source(path)
    assert torch.equal(again.path.x, source.path.x)
    assert torch.equal(wide.edit(again, TARGET).latent, wide.edit(source, TARGET).latent)


def test_a_small_vae_of_four_channels_is_refused(
    folder: Path, channels: int, tmp_path: Path
) -> None:
    other = taesd.write_folder(tmp_path / "taesd", taesd.small())
    want = f"unet must read and write the vae's 4 channels .*, got {channels} and {channels}"
    with pytest.raises(BadCheckpoint, match=want):
        Editor.from_pretrained(folder, "cpu", vae=other)


def test_other_models_of_such_latents_are_refused_by_their_own_number(
    folder: Path, channels: int, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    config = other / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 5}))
    want = f"is a depth-to-image model: its UNet reads 5 channels, want {channels}"
    with pytest.raises(BadCheckpoint, match=f"{want}$"):
        Editor.from_pretrained(other, "cpu")


@pytest.mark.parametrize("words", [
    ["info"], ["plan", "--prompt", TARGET, "--source-prompt", PROMPT],
    ["generate", PROMPT, "--steps", "2", "-o", "house.png"],
    ["sweep", "--source-prompt", PROMPT, "--prompt", TARGET, "--steps", "2", "-o", "sheet.png"],
    ["doctor"],
], ids=lambda words: words[0])  # fmt: skip
def test_commands_take_such_a_model(
    folder: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = [str(folder)] if words[0] in ("info", "doctor") else ["--model", str(folder)]
    assert main([*words, *named]) == 0
