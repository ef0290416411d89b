"""Every module against diffusers and transformers: random checkpoints they wrote, read by load."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.embeddings import get_timestep_embedding
from safetensors.torch import load_file, save_file
from torch import Tensor

from mdp_lite import Editor
from mdp_lite.checkpoint.load import Models, load
from mdp_lite.checkpoint.tokenizer import Tokenizer
from mdp_lite.models.unet import timestep_embedding
from support.diffusers_pipelines import Options, draw, pipeline, tokenizer

BOUND = 1e-5
CPU, FP32 = torch.device("cpu"), torch.float32
IDS = torch.tensor([[1, 5, 6, 7, 2, 2, 2, 2], [1, 16, 2, 2, 2, 2, 2, 2]])


class Case(NamedTuple):
    """A pipeline of theirs with random weights, and ours read from the folder that it wrote."""

    theirs: StableDiffusionPipeline
    ours: Models
    options: Options


@pytest.fixture(scope="module", params=range(9))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder, seed = tmp_path_factory.mktemp("checkpoint"), request.param
    theirs = pipeline(draw(seed), seed)
    theirs.save_pretrained(folder)
    return Case(theirs, load(folder, CPU, FP32), draw(seed))


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Largest error over largest value."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_clip(case: Case) -> None:
    want = case.theirs.text_encoder(IDS).last_hidden_state
    assert distance(case.ours.text_encoder(IDS), want) <= BOUND


@pytest.mark.covering(1)
@pytest.mark.parametrize("t", [0, 501, 999, (1, 37, 999)])
def test_unet(case: Case, t: int | tuple[int, ...]) -> None:
    x, c = noise(3, 4, *case.options["size"]), noise(3, 7, case.options["text_width"])
    when = torch.tensor(t)
    want = case.theirs.unet(x, when, c).sample
    assert distance(case.ours.unet(x, when, c), want) <= BOUND


def test_vae_encodes(case: Case) -> None:
    side = 2 ** (case.options["vae_depth"] - 1)
    assert case.ours.vae.config.factor == side
    picture = noise(2, 3, 5 * side, 6 * side).tanh()
    want = case.theirs.vae.encode(picture).latent_dist
    got = case.ours.vae.posterior(picture)
    assert distance(got.mean, want.mean) <= BOUND
    assert distance(got.logvar, want.logvar) <= BOUND
    assert distance(case.ours.vae.encode(picture), want.mode() * case.options["scaling"]) <= BOUND


def test_vae_decodes(case: Case) -> None:
    z = noise(2, 4, 5, 6)
    want = case.theirs.vae.decode(z / case.options["scaling"]).sample
    assert distance(case.ours.vae.decode(z), want) <= BOUND


def half(seed: int) -> StableDiffusionPipeline:
    """A pipeline whose weights are exact in fp16."""
    return pipeline(draw(seed), seed).to(dtype=torch.float16)


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_half_checkpoints_load_into_single(tmp_path: Path, variant: str | None) -> None:
    theirs = half(0)
    theirs.save_pretrained(tmp_path, variant=variant)
    ours, x, c = load(tmp_path, CPU, FP32), noise(1, 4, 8, 8), noise(1, 5, draw(0)["text_width"])
    theirs.to(dtype=FP32)
    parts = (ours.text_encoder, ours.unet, ours.vae)
    assert {p.dtype for part in parts for p in part.parameters()} == {FP32}
    assert distance(ours.unet(x, torch.tensor(7), c), theirs.unet(x, 7, c).sample) <= BOUND
    assert distance(ours.text_encoder(IDS), theirs.text_encoder(IDS)[0]) <= BOUND
    want = theirs.vae.decode(x / theirs.vae.config.scaling_factor).sample
    assert distance(ours.vae.decode(x), want) <= BOUND


@pytest.mark.parametrize("pad", ["<|endoftext|>", "n</w>"])
@pytest.mark.parametrize("prompt", ["", "a b c", "B  d", "zebra a", "a " * 14, "a " * 15])
def test_tokens(prompt: str, pad: str) -> None:
    want = tokenizer(pad)(prompt, padding="max_length", truncation=True)["input_ids"]
    assert Tokenizer(tokenizer(pad), 16, {}).ids(prompt) == (want, prompt.count("a") > 14)


@pytest.mark.covering(1)
@pytest.mark.parametrize("prefix", ["", "text_model."])
@pytest.mark.parametrize("positions", [False, True])
def test_clip_key_layouts(tmp_path: Path, prefix: str, positions: bool) -> None:
    theirs = pipeline(draw(2), 2)
    theirs.save_pretrained(tmp_path)
    path = tmp_path / "text_encoder" / "model.safetensors"
    tensors = {k.removeprefix("text_model."): v for k, v in load_file(path).items()}
    if positions:
        tensors["embeddings.position_ids"] = torch.arange(16)[None]
    save_file({prefix + key: tensor for key, tensor in tensors.items()}, path)
    got = load(tmp_path, CPU, FP32).text_encoder(IDS)
    assert distance(got, theirs.text_encoder(IDS).last_hidden_state) <= BOUND


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that theirs wrote, to be copied and damaged."""
    folder = tmp_path_factory.mktemp("small")
    pipeline(draw(2), 2).save_pretrained(folder)
    return folder


@pytest.mark.covering(1)
@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae"])
@pytest.mark.parametrize("damage", ["missing", "unknown", "shape", "dtype"])
def test_loading_is_strict(small: Path, tmp_path: Path, part: str, damage: str) -> None:
    folder = shutil.copytree(small, tmp_path / "copy")
    path = next((folder / part).glob("*.safetensors"))
    tensors = load_file(path)
    name, value = sorted(tensors.items())[0]
    tensors |= {"shape": {name: value[:-1].clone()}, "dtype": {name: value.int()}}.get(damage, {})
    tensors |= {"spare": value.clone()} if damage == "unknown" else {}
    if damage == "missing":
        del tensors[name]
    save_file(tensors, path)
    with pytest.raises(ValueError, match=f"^copy, {part}: .*(spare|{re.escape(name)})"):
        load(folder, CPU, FP32)


@pytest.mark.parametrize("dim", [320, 64, 9])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("shift", [0, 1])
def test_timestep_embedding(dim: int, flip: bool, shift: int) -> None:
    t = torch.arange(1000)
    want = get_timestep_embedding(t, dim, flip, shift)
    assert distance(timestep_embedding(t, dim, flip, shift), want) <= BOUND


@pytest.mark.representative("1-v_prediction")
@pytest.mark.parametrize(("seed", "prediction"), [(0, "epsilon"), (1, "v_prediction")])
def test_whole_pipeline(tmp_path: Path, seed: int, prediction: str) -> None:
    pipeline(draw(seed), seed, prediction).save_pretrained(tmp_path)
    theirs = StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    theirs.set_progress_bar_config(disable=True)
    generator, steps = torch.Generator().manual_seed(3), {"num_inference_steps": 20}
    want = theirs("a b c", negative_prompt="d", guidance_scale=4.0, generator=generator,
                  output_type="latent", **steps)  # fmt: skip
    editor = Editor.from_pretrained(tmp_path, device="cpu")
    source = editor.generate("a b c", seed=3, guidance_scale=4.0, negative_prompt="d", **steps)
    assert distance(source.path.x[-1], want.images) <= 1e-4
