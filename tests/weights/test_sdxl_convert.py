"""Conversions of SDXL, both ways and from pickles, with diffusers as the judge."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file
from torch import Tensor

from mdp_lite.checkpoint.load import convert
from mdp_lite.names import BadCheckpoint
from mdp_lite_weights import Choices, open_checkpoint
from mdp_lite_weights.folder import choose_files, list_names, list_parts
from mdp_lite_weights.tensors import read_metadata
from support.sdxl import ddim
from support.sdxl_files import PARTS, small_xl

Parts = dict[str, dict[str, Tensor]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small SDXL as diffusers writes it; its second tokenizer pads with another token."""
    folder = tmp_path_factory.mktemp("sdxl") / "folder"
    small_xl("v_prediction").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    return convert(folder, folder.with_suffix(".safetensors")).out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def load(folder: Path) -> StableDiffusionXLPipeline:
    return StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)


def states(pipe: StableDiffusionXLPipeline) -> Parts:
    return {part: getattr(pipe, part).state_dict() for part in PARTS}


def equal(got: Parts, want: Parts) -> bool:
    return all(
        set(got[part]) == set(want[part])
        and all(torch.equal(got[part][key], want[part][key]) for key in want[part])
        for part in PARTS
    )


def change(folder: Path, name: str, **options: object) -> None:
    path = folder / name
    config = json.loads(path.read_text("utf-8")) | options
    path.write_text(json.dumps(config), "utf-8")


def test_there_and_back(folder: Path, file: Path, tmp_path: Path) -> None:
    metadata = read_metadata(file)
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base"
    assert metadata["modelspec.prediction_type"] == "v"
    words = Choices(tokenizer=folder / "tokenizer")  # the first one, as the hub's
    done = convert(file, tmp_path / "back", choices=words)
    assert len(done.weights) == 4 and "text_encoder_2/model.safetensors" in done.weights
    want, got = load(folder), load(done.out)
    assert equal(states(got), states(want))
    for name in PARTS + ("scheduler", "tokenizer", "tokenizer_2"):
        assert type(getattr(got, name)) is type(getattr(want, name))
    assert got.config["force_zeros_for_empty_prompt"] is True
    for name in ("tokenizer", "tokenizer_2"):
        ours, theirs = getattr(got, name), getattr(want, name)
        ids = [one("a b", padding="max_length").input_ids for one in (ours, theirs)]
        assert ids[0] == ids[1] and ours.pad_token == theirs.pad_token
    convert(done.out, tmp_path / "again.safetensors")
    first, second = load_file(file), load_file(tmp_path / "again.safetensors")
    assert set(first) == set(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_diffusers_makes_the_same_of_it(folder: Path, file: Path, tmp_path: Path) -> None:
    """A picture of both, with an empty negative prompt, which stands for zeros."""
    out = convert(file, tmp_path / "back", choices=Choices(tokenizer=folder / "tokenizer")).out
    pictures = []
    for place in (folder, out):
        pipe = load(place)
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = ddim(pipe)
        noise = torch.Generator().manual_seed(1)
        size = {"height": 64, "width": 64, "num_inference_steps": 2}
        latents = pipe("a b c", generator=noise, output_type="latent", **size).images
        pictures.append(latents)
    assert torch.allclose(*pictures, rtol=0, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("zeros", [True, False])
def test_the_empty_prompt(zeros: bool, copy: Path, tmp_path: Path) -> None:
    change(copy, "model_index.json", force_zeros_for_empty_prompt=zeros)
    file = convert(copy, tmp_path / "model.safetensors").out
    assert open_checkpoint(file).zero_empty is zeros
    back = convert(file, tmp_path / "back", choices=Choices(tokenizer=copy)).out
    assert open_checkpoint(back).zero_empty is zeros
    assert load(back).config["force_zeros_for_empty_prompt"] is zeros


def test_another_dtype(file: Path, folder: Path, tmp_path: Path) -> None:
    for name in ("half", "half.safetensors"):
        choices = Choices(tokenizer=folder) if name == "half" else Choices()
        out = convert(file, tmp_path / name, torch.float16, choices).out
        found = open_checkpoint(out, choices)
        assert {t.dtype for part in PARTS for t in found.tensors[part].values()} == {torch.float16}
        want = open_checkpoint(folder).tensors["text_encoder_2"]["text_projection.weight"]
        assert torch.equal(found.tensors["text_encoder_2"]["text_projection.weight"], want.half())


@pytest.mark.slow
def test_a_ckpt(file: Path, folder: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": load_file(file)}, tmp_path / "model.ckpt")
    choices = Choices(tokenizer=folder, prediction_type="v_prediction")
    out = convert(tmp_path / "model.ckpt", tmp_path / "out", choices=choices).out
    assert equal(states(load(out)), states(load(folder)))


@pytest.mark.slow
@pytest.mark.parametrize("only", [None, "text_encoder_2", "unet"])
def test_a_folder_of_pickles(only: str | None, folder: Path, copy: Path, tmp_path: Path) -> None:
    for part in PARTS if only is None else (only,):
        (source,) = (copy / part).glob("*.safetensors")
        stem = "pytorch_model" if part.startswith("text") else "diffusion_pytorch_model"
        torch.save(load_file(source), copy / part / f"{stem}.bin")
        source.unlink()
    with pytest.raises(ValueError, match="a pickle, which is never loaded"):
        open_checkpoint(copy)
    for name in ("out", "out.safetensors"):
        out = convert(copy, tmp_path / name).out
        found, want = open_checkpoint(out), open_checkpoint(folder)
        assert equal(found.tensors, want.tensors) and found.zero_empty
    assert load(tmp_path / "out").tokenizer_2.pad_token == "!"


REFUSED = {
    "vae/config.json": ({"scaling_factor": 0.18215}, "scaling_factor of its vae must be 0.13025"),
    "unet/config.json": ({"addition_time_embed_dim": 128}, "addition_time_embed_dim of its unet"),
    "text_encoder_2/config.json": (
        {"hidden_act": "quick_gelu"},
        "hidden_act of its text_encoder_2 must be 'gelu', got 'quick_gelu'",
    ),
    "text_encoder/config.json": (
        {"num_attention_heads": 2},
        "num_attention_heads of its text_encoder must be 1, got 2",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_file_could_not_tell_is_refused(name: str, copy: Path, tmp_path: Path) -> None:
    options, sentence = REFUSED[name]
    if name.startswith("unet"):
        options = options | {"projection_class_embeddings_input_dim": 96 + 6 * 256}
        sentence = "unet reads a pooled state of width 864, text encoder 2 has 96"
    change(copy, name, **options)
    with pytest.raises(BadCheckpoint, match=sentence):
        convert(copy, tmp_path / "out.safetensors")


def test_the_scale_that_diffusers_takes_is_not_that_of_a_file(copy: Path, tmp_path: Path) -> None:
    path = copy / "vae/config.json"
    config = json.loads(path.read_text("utf-8"))
    del config["scaling_factor"]
    path.write_text(json.dumps(config), "utf-8")
    with pytest.raises(BadCheckpoint, match="scaling_factor of its vae must be 0.13025, got 0.18"):
        convert(copy, tmp_path / "out.safetensors")


def test_a_depth_without_attention_stands_for_nothing(copy: Path, tmp_path: Path) -> None:
    change(copy, "unet/config.json", transformer_layers_per_block=[7, 2, 3])
    out = convert(copy, tmp_path / "out.safetensors").out
    assert open_checkpoint(out).configs["unet"]["transformer_layers_per_block"] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_and_variants(variant: str | None, folder: Path, tmp_path: Path) -> None:
    pipe = load(folder)
    pipe.save_pretrained(tmp_path / "shards", variant=variant, max_shard_size="1MB")
    assert len(list((tmp_path / "shards" / "text_encoder_2").glob("*-of-*.safetensors"))) > 1
    found = open_checkpoint(tmp_path / "shards", Choices(variant=variant))
    assert equal(found.tensors, open_checkpoint(folder).tensors)


def test_a_variant_of_the_second_text_encoder_alone(copy: Path) -> None:
    path = copy / "text_encoder_2/model.safetensors"
    shutil.copyfile(path, path.with_name("model.fp16.safetensors"))
    found = open_checkpoint(copy, Choices(variant="fp16"))
    assert any(path.name == "model.fp16.safetensors" for path in found.files)
    names = list_names(copy)
    chosen = choose_files(names, "fp16", list_parts(names))
    assert "text_encoder_2/model.fp16.safetensors" in chosen
