"""The command of the recipes: stages in order, what each needs, and what is refused before work."""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from train_tiny import __main__ as command
from train_tiny import autoencoder, reader, stages
from train_tiny.data import open_scenes, prepare
from train_tiny.fit import save
from train_tiny.pack import pack
from train_tiny.recipe import PARTS, TINY
from train_tiny.small import SMALL
from train_tiny.stages import Places, check_stages, start_work, write_checkpoint
from train_tiny.workers import count_processes

LITTLE = replace(SMALL, scenes=8, reader_scenes=0, resume=None)


def parse(*words: str) -> argparse.Namespace:
    return command.make_parser().parse_args(words)


def test_stages_run_in_order_and_a_part_of_them_too(tmp_path: Path) -> None:
    check_stages([name for name in command.STAGES if name != "score"], SMALL, tmp_path)
    assert set(stages.STAGES) == {*command.STAGES, command.PACK} - {"score"}
    for name in ("latents.npy", "scale.npy"):
        (tmp_path / name).touch()
    check_stages(["unet", "pack"], SMALL, tmp_path)


@pytest.mark.parametrize("names, sentence", [
    (["unet"], "unet needs latents.npy, scale.npy of earlier stages"),
    (["data", "unet", "vae"], "unet needs latents.npy"),
    (["decoder"], "decoder needs vae.pt, latents.npy, scale.npy"),
    (["vae", "export"], "export needs unet.pt"),
])  # fmt: skip
def test_a_stage_without_its_files_is_refused(
    names: list[str], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_stages(names, SMALL, tmp_path)


def test_only_a_recipe_with_a_file_for_it_is_packed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the recipe of tiny names no file to pack into"):
        check_stages(["pack"], TINY, tmp_path)


BAD = {
    ("stage",): "stages must be among data, vae, .*, got stage",
    ("--scenes", "63"): "scenes must be 64 or more, got 63",
    ("--scenes", "0"): "must be above 0, got 0",
    ("--unet-steps", "0"): "must be above 0, got 0",
    ("--vae-minutes", "nan"): "must be above 0, got nan",
    ("--unet-steps", "many"): "invalid",
    ("score", "--model", "small", "--dtype", "float32"): "--dtype is of edits",
    ("pack",): "the recipe of tiny names no file",
    ("unet",): "unet needs latents.npy",
}


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_what_is_asked_in_vain_is_refused_before_any_work(
    words: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["train_tiny", *words, "--work", str(tmp_path / "work")])
    monkeypatch.setattr("train_tiny.stages.prepare", lambda *_: pytest.fail("drew scenes"))
    with pytest.raises(SystemExit):
        command.main()
    assert re.search(BAD[words], capsys.readouterr().err)


def test_an_error_of_the_code_keeps_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(sys, "argv", ["train_tiny", "data", "--work", str(tmp_path)])
    monkeypatch.setattr(stages, "prepare", fail)
    with pytest.raises(ValueError, match="a bug"):
        command.main()


def test_the_command_line_changes_the_recipe() -> None:
    args = parse("--model", "small", "--scenes", "100", "--unet-steps", "7", "--vae-minutes", "0.5")
    recipe = command.change_recipe(args)
    assert (recipe.scenes, recipe.reader_scenes, recipe.unet_training.steps) == (100, 0, 7)
    assert (recipe.vae_training.minutes, recipe.vae_training.steps) == (0.5, 0)
    assert recipe.decoder_training == SMALL.decoder_training
    assert command.change_recipe(parse()) == TINY


def test_scenes_of_another_number_are_never_taken(tmp_path: Path) -> None:
    start_work(LITTLE, tmp_path)
    prepare(tmp_path, LITTLE, tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="scenes must be 9 of 128 pixels, got 8 of 128 in "):
        prepare(tmp_path, replace(LITTLE, scenes=9), tmp_path / "tokenizer")


def test_the_reader_may_have_more_scenes_than_the_other_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "stage", lambda *_: None)
    places = Places(tmp_path, tmp_path / "out", None)
    start_work(LITTLE, tmp_path)
    prepare(tmp_path, LITTLE, places.tokenizer)
    stages.train_reader(LITTLE, places)
    assert reader.find_scenes(LITTLE, tmp_path) == tmp_path
    more = replace(LITTLE, reader_scenes=12)
    stages.train_reader(more, places)
    pictures = open_scenes(reader.find_scenes(more, tmp_path)).pictures
    assert np.array_equal(pictures[:8], open_scenes(tmp_path).pictures) and len(pictures) == 12


def test_a_trial_leaves_the_packages_reader_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only an export to the project's own folder writes it."""
    monkeypatch.setattr(stages, "export", lambda *_: None)
    save_file({}, tmp_path / reader.NAME)
    own = tmp_path / "package.safetensors"
    kit = SMALL.reader._replace(weights=own)
    recipe = replace(SMALL, reader=kit)
    trial = command.find_places(parse("--model", "small", "--out", str(tmp_path)), recipe)
    write_checkpoint(recipe, trial._replace(work=tmp_path))
    assert trial.reader is None and not own.exists()
    usual = command.find_places(parse("--model", "small"), recipe)
    write_checkpoint(recipe, usual._replace(work=tmp_path))
    assert own.read_bytes() == (tmp_path / reader.NAME).read_bytes()
    assert usual.out == Path("weights/mdp_lite_weights/small") and usual.work == Path("runs/small")


@pytest.mark.parametrize("cores", [1, 2, 3, 5, 6, 7, 12, 64])
@pytest.mark.parametrize("batch", [0, 8, 32, 64])
def test_processes_share_a_batch_equally(cores: int, batch: int) -> None:
    count = count_processes(cores, batch)
    assert 1 <= count <= cores and batch % count == 0
    assert all(batch % more for more in range(count + 1, cores + 1))
    assert count_processes(cores, 0) == cores


def write_step(work: Path, part: str, step: int) -> None:
    save(work / f"{part}.pt", {"step": step})


@pytest.mark.parametrize("part", ["unet", "decoder"])
def test_pictures_are_encoded_again_after_more_steps_of_the_vae(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = list[int]()
    monkeypatch.setattr(autoencoder, "start_latents", lambda *_: None)
    monkeypatch.setattr(autoencoder, "scale_latents", lambda *_: None)
    monkeypatch.setattr(autoencoder, "spawn", lambda *_: done.append(1))
    write_step(tmp_path, "vae", 10)
    for _ in range(2):
        autoencoder.encode(LITTLE, tmp_path)
    assert len(done) == 1
    write_step(tmp_path, part, 3)
    autoencoder.encode(LITTLE, tmp_path)
    write_step(tmp_path, "vae", 20)
    for check in (autoencoder.check_latents, lambda work: autoencoder.encode(LITTLE, work)):
        with pytest.raises(ValueError, match="of the VAE after 10 steps, vae.pt has 20: remove"):
            check(tmp_path)
    (tmp_path / f"{part}.pt").unlink()
    autoencoder.encode(LITTLE, tmp_path)
    assert len(done) == 2 and autoencoder.read_steps(tmp_path) == (20, 20)


def test_a_pack_that_is_too_large_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"model": {}, "ema": {}, "names": [], "step": 1, "spent": 1.0}
    for part in PARTS:
        save(tmp_path / f"{part}.pt", state)
    monkeypatch.setattr("train_tiny.pack.LIMIT", 10)
    with pytest.raises(ValueError, match="small.safetensors would have .* bytes, want 10 at most"):
        pack(LITTLE, tmp_path, tmp_path / "small.safetensors")
    assert not (tmp_path / "small.safetensors").exists()
