"""The recipes' training: it resumes bit for bit, and goes on elsewhere from a small file."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTokenizer

from mdp_lite.cli.demo import read_example
from mdp_lite.eval.worlds import find_world
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from train_tiny import autoencoder, denoiser, reader
from train_tiny.data import batches, open_latents, open_scenes, prepare, to_tensor, training_seeds
from train_tiny.export import export, write_example
from train_tiny.fit import fit, learning_rate, load
from train_tiny.pack import LIMIT, pack, unpack
from train_tiny.recipe import Recipe, Settings, unet_of, vae_of
from train_tiny.score_pictures import PicturePlan, stage
from train_tiny.small import SMALL
from train_tiny.tokens import write_tokenizer
from train_tiny.workers import Worker

ALONE = Worker(0, 1, torch.device("cpu"))
# Without a tail the learning rate of a step does not depend on the number of steps.
STEPS = Settings(0, batch=4, peak=1e-3, average=0.9, steps=4, tail=1e-9, save_every=0.0)
MUON = replace(STEPS, muon=True)
CHANNELS = 8  # of the latents
LITTLE = replace(
    SMALL, scenes=8, vae=vae_of((8, 8, 8, 8), 128, CHANNELS),
    unet=unet_of((8, 8, 16), groups=4, cross=16, channels=CHANNELS),
    text_width=16, text_layers=1, vae_training=MUON, unet_training=MUON, decoder_training=MUON,
    reader_training=STEPS, reader_scenes=0, resume=None, prompts=1, measured=4,
)  # fmt: skip


class Interruption(Exception):
    """The machine goes off."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with scenes, a VAE of a few steps, and its latents."""
    folder = tmp_path_factory.mktemp("work")
    write_tokenizer(folder / "tokenizer", LITTLE.world.words, LITTLE.length)
    prepare(folder, LITTLE, folder / "tokenizer")
    autoencoder.train(ALONE, LITTLE, folder)
    autoencoder.start_latents(LITTLE, folder)
    autoencoder.encode_share(ALONE, LITTLE, folder)
    autoencoder.scale_latents(folder)
    return folder


def read_state(path: Path) -> dict[str, Any]:
    state = load(path)
    assert state is not None
    return {name: value for name, value in state.items() if name != "spent"}


def flatten(state: Any) -> list[Tensor]:
    """All tensors of a checkpoint, in order."""
    if isinstance(state, Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state
    return [t for part in parts if isinstance(part, dict | list | Tensor) for t in flatten(part)]


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    pairs = list(zip(flatten(one), flatten(other), strict=True))
    assert len(pairs) > 12 and one["step"] == other["step"]
    assert all(torch.equal(first, second) for first, second in pairs)


def train_toy(path: Path, settings: Settings, stop: int | None = None) -> None:
    """Four steps on noise that each step draws; the machine goes off before step stop ends."""
    torch.manual_seed(3)
    model, done = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)), 0

    def loss_of(index: np.ndarray) -> tuple[Tensor, str]:
        nonlocal done
        if done == stop:
            raise Interruption
        done += 1
        x = torch.randn(len(index), 4) + torch.from_numpy(index)[:, None]
        return (model(x) - 1).square().mean(), ""

    fit(ALONE, model, loss_of, 10, settings, path)


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("settings", [STEPS, MUON], ids=["adamw", "muon"])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    tmp_path: Path, settings: Settings, stop: int
) -> None:
    train_toy(tmp_path / "whole.pt", settings)
    with pytest.raises(Interruption):
        train_toy(tmp_path / "parts.pt", settings, stop)
    assert read_state(tmp_path / "parts.pt")["step"] == stop
    train_toy(tmp_path / "parts.pt", settings)
    assert_equal(read_state(tmp_path / "whole.pt"), read_state(tmp_path / "parts.pt"))


def train_unet(recipe: Recipe, work: Path) -> None:
    words = CLIPTokenizer.from_pretrained(work / "tokenizer")
    empty = words("", padding="max_length", max_length=recipe.length)["input_ids"]
    denoiser.train(ALONE, recipe, work, len(words), empty)


TRAININGS: dict[str, Callable[[Recipe, Path], None]] = {
    "vae": partial(autoencoder.train, ALONE),
    "unet": train_unet,
    "decoder": partial(autoencoder.train_decoder, ALONE),
    "reader": partial(reader.train, ALONE),
}


@pytest.mark.parametrize("part", ["unet", "decoder", "reader"])
def test_two_steps_and_two_more_are_four_steps(work: Path, part: str) -> None:
    path, train = work / f"{part}.pt", TRAININGS[part]
    train(LITTLE, work)
    whole = read_state(path)
    path.unlink()
    train(
        replace(
            LITTLE, **{f"{part}_training": replace(getattr(LITTLE, f"{part}_training"), steps=2)}
        ),
        work,
    )
    half = read_state(path)
    train(LITTLE, work)
    pairs = zip(flatten(half), flatten(whole), strict=True)
    assert half["step"] == 2 and not all(torch.equal(one, other) for one, other in pairs)
    assert_equal(whole, read_state(path))
    path.unlink()


@pytest.mark.parametrize("settings", [STEPS, MUON], ids=["adamw", "muon"])
def test_a_packed_training_goes_on_elsewhere(
    work: Path, tmp_path: Path, settings: Settings
) -> None:
    train_unet(replace(LITTLE, unet_training=settings), work)
    longer = replace(LITTLE, unet_training=replace(settings, steps=6))
    found = pack(longer, work, tmp_path / "small.safetensors")
    assert (found["vae"].done, found["unet"].done, found["unet"].step) == (True, False, 4)
    assert unpack(tmp_path / "small.safetensors", tmp_path) == found
    first, second = read_state(work / "unet.pt"), read_state(tmp_path / "unet.pt")
    for name in ("model", "ema"):
        for key, tensor in first[name].items():
            torch.testing.assert_close(second[name][key], tensor, rtol=1e-3, atol=1e-6)
    assert second["optimizers"] == []  # the next steps find their state again
    for name in ("pictures.npy", "ids.npy", "latents.npy", "scale.npy"):
        (tmp_path / name).symlink_to(work / name)
    (tmp_path / "tokenizer").symlink_to(work / "tokenizer")
    train_unet(longer, tmp_path)
    end = read_state(tmp_path / "unet.pt")
    assert end["step"] == 6 and all(t.isfinite().all() for t in flatten(end))
    (work / "unet.pt").unlink()


def load_untrained_reader() -> nn.Module:
    torch.manual_seed(5)
    return SMALL.reader.build()


def test_a_checkpoint_is_written_and_two_scorings_of_it_agree(work: Path, tmp_path: Path) -> None:
    train_unet(LITTLE, work)
    export(LITTLE, work, tmp_path / "small")
    recipe = replace(LITTLE, reader=LITTLE.reader._replace(load=load_untrained_reader))
    for name in ("one", "other"):
        plan = PicturePlan(captions=2, pictures=3)
        stage(recipe, tmp_path / "small", tmp_path / name, plan, guidance=3.0)
    tables = [json.loads((tmp_path / f"{n}/pictures.json").read_text()) for n in ("one", "other")]
    for table in tables:
        assert table.pop("seconds") >= 0
        assert table["vae dB"]["worst"] <= table["vae dB"]["mean"] < 100
        assert set(table["text to image"]) == {*SMALL.reader.heads, "all"}
    assert tables[0] == tables[1]
    knows = json.loads((tmp_path / "small" / "mdp_lite.json").read_text())
    assert knows["words"] == sorted(set(SMALL.world.words) - {","})
    assert find_world(knows["pictures"]) is SMALL.world
    (work / "unet.pt").unlink()


def test_an_exported_checkpoint_brings_an_example_for_the_demo(tmp_path: Path) -> None:
    write_example(LITTLE, tmp_path)
    example = read_example(tmp_path)
    assert example.synthetic[0] != example.synthetic[1] and example.real[0] != example.real[1]
    with Image.open(example.picture) as picture:
        assert picture.size == (LITTLE.size, LITTLE.size)
    (tmp_path / "example.json").write_text("{}")  # of another hand: it stays
    write_example(LITTLE, tmp_path)
    assert (tmp_path / "example.json").read_text() == "{}"


def test_latents_have_unit_deviation_and_decode_by_their_scale(work: Path) -> None:
    latents, scale = open_latents(work)
    assert latents.shape == (LITTLE.scenes, CHANNELS, 16, 16)
    assert latents.std() == pytest.approx(1, abs=1e-3)
    vae = VAE(LITTLE.vae)
    vae.load_state_dict(read_state(work / "vae.pt")["ema"])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        z = vae.encode(to_tensor(open_scenes(work).pictures)).float()
    torch.testing.assert_close(z * scale, torch.tensor(latents))


def test_nothing_to_pack_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to pack: want some of vae, unet"):
        pack(LITTLE, tmp_path, tmp_path / "small.safetensors")


def test_batches_depend_on_the_step_alone_and_processes_share_them() -> None:
    stream = batches(23, 4, 0, 1, 0)
    for step in range(12):
        batch = next(stream).tolist()
        assert batch == next(batches(23, 4, 0, 1, step)).tolist()
        shares = [next(batches(23, 2, rank, 2, step)).tolist() for rank in (0, 1)]
        assert sorted(shares[0] + shares[1]) == batch


def test_the_learning_rate_falls_in_the_tail_alone() -> None:
    settings = Settings(0, batch=1, peak=2.0, average=0.9, steps=100, tail=0.5, warmup=10)
    assert learning_rate(0, 0.0, settings) == pytest.approx(0.2)
    assert learning_rate(20, 0.2, settings) == learning_rate(50, 0.5, settings) == 2.0
    assert learning_rate(75, 0.75, settings) == pytest.approx(2 * (0.01 + 0.99 / 2))
    assert learning_rate(100, 1.0, settings) == pytest.approx(0.02)


def test_the_scenes_of_training_are_drawn_with_their_captions(work: Path) -> None:
    scenes, world = open_scenes(work), LITTLE.world
    words = CLIPTokenizer.from_pretrained(work / "tokenizer")
    seeds = training_seeds(world, LITTLE.scenes)
    for seed, picture, ids in zip(seeds, scenes.pictures, scenes.ids, strict=True):
        scene = world.sample_training(seed)
        assert not world.is_held_back(scene)
        assert np.array_equal(picture, np.asarray(world.draw(scene, LITTLE.size)))
        for row in ids:
            text = words.decode(row, skip_special_tokens=True)
            assert set(text.replace(",", " ,").split()) <= set(world.words)
            tokens = [i for i in row if i not in words.all_special_ids]
            assert len(tokens) == len(text.replace(",", " ,").split())


def count(module: Callable[..., nn.Module], *configs: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in module(*configs).parameters())


def test_the_second_model_and_its_packed_training_are_as_small_as_promised() -> None:
    vae = count(VAE, SMALL.vae)
    rest = count(UNet, SMALL.unet) + count(denoiser.CLIPTextEncoder, SMALL.text_config(1500))
    assert 2 * (vae + rest) <= 30e6
    assert 2 * vae + 5 * rest < LIMIT
