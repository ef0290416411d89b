"""Conversions: what diffusers wrote, in another form, and diffusers as the judge of all of it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mdp_lite_weights import Choices, open_checkpoint
from mdp_lite_weights.convert import convert
from mdp_lite_weights.tensors import read_metadata
from support.checkpoints import WORDS
from train_tiny.tokens import LENGTH, write_tokenizer

KINDS = ("SD1", "SD2")
UNET = "model.diffusion_model."
PARTS = ("text_encoder", "unet", "vae")
NOISE: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def pipeline(kind: str, tokenizer: Path) -> StableDiffusionPipeline:
    """SD 1.x's and SD 2.x's (v-prediction) builds with random weights, as narrow as they can be."""
    torch.manual_seed(5)
    new = kind == "SD2"
    widths = (64, 128, 128, 128) if new else (32, 64, 64, 64)
    unet = UNet2DConditionModel(
        cross_attention_dim=64, block_out_channels=widths, sample_size=8,
        attention_head_dim=(1, 2, 2, 2) if new else 8, use_linear_projection=new,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(32, 32, 32, 64), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, sample_size=64,
    )  # fmt: skip
    words = CLIPTokenizer.from_pretrained(tokenizer)
    words.pad_token = "!" if new else words.pad_token
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=1, max_position_embeddings=LENGTH,
            hidden_act="gelu" if new else "quick_gelu",
        )
    )  # fmt: skip
    scheduler = (
        DDIMScheduler(clip_sample=False, prediction_type="v_prediction", **NOISE)
        if new
        else PNDMScheduler(skip_prk_steps=True, **NOISE)
    )
    return StableDiffusionPipeline(
        vae, text, words, unet, scheduler, None, None, requires_safety_checker=False
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both builds as diffusers writes them."""
    top = tmp_path_factory.mktemp("folders")
    write_tokenizer(top / "words", WORDS)
    for kind in KINDS:
        pipeline(kind, top / "words").save_pretrained(top / kind)
    return {kind: top / kind for kind in KINDS}


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


@pytest.fixture(scope="module")
def files(folders: dict[str, Path]) -> dict[Path, Path]:
    """Both as single files."""
    outputs = {folder: folder.with_suffix(".safetensors") for folder in folders.values()}
    for folder, out in outputs.items():
        convert(folder, out)
    return outputs


def states(pipe: StableDiffusionPipeline) -> dict[str, dict[str, Tensor]]:
    return {part: getattr(pipe, part).state_dict() for part in PARTS}


def equal(got: dict[str, dict[str, Tensor]], want: dict[str, dict[str, Tensor]]) -> bool:
    return all(
        set(got[part]) == set(want[part])
        and all(torch.equal(got[part][key], want[part][key]) for key in want[part])
        for part in PARTS
    )


def picture(pipe: StableDiffusionPipeline) -> Tensor:
    pipe.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(1)
    return pipe("a red house", 64, 64, 3, generator=noise, output_type="pt").images


def same_picture(got: StableDiffusionPipeline, want: StableDiffusionPipeline) -> bool:
    """Equal weights, that lie elsewhere in memory, can differ in the last bits of their sums."""
    return torch.allclose(picture(got), picture(want), rtol=0, atol=2e-5)


def load(folder: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)


@pytest.mark.representative("SD1")
def test_a_single_file_for_diffusers(folder: Path, files: dict[Path, Path]) -> None:
    want = load(folder)
    got = StableDiffusionPipeline.from_single_file(
        str(files[folder]), config=str(folder), local_files_only=True
    )
    assert equal(states(got), states(want))
    assert same_picture(got, want)


def test_a_single_file_says_its_schedule(folder: Path, files: dict[Path, Path]) -> None:
    config = json.loads((folder / "scheduler" / "scheduler_config.json").read_text("utf-8"))
    found = open_checkpoint(files[folder])
    assert found.configs["scheduler"].items() >= config.items() - {("trained_betas", None)}
    metadata = read_metadata(files[folder])
    kind, version = {"SD1": ("epsilon", "v1"), "SD2": ("v", "v2-768-v")}[folder.name]
    assert metadata["modelspec.prediction_type"] == kind
    assert metadata["modelspec.architecture"] == f"stable-diffusion-{version}"
    assert any("from the file's metadata" in note for note in found.notes)


@pytest.mark.representative("SD2")
def test_there_and_back(folder: Path, files: dict[Path, Path], tmp_path: Path) -> None:
    words = folder.parent / "words"  # OpenAI's tokenizer: it pads as SD 1.x, not as SD 2.x
    done = convert(files[folder], tmp_path / "back", choices=Choices(tokenizer=words))
    assert done.layout == "folder" and set(done.weights) == {
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }
    want, got = load(folder), load(tmp_path / "back")
    assert equal(states(got), states(want))
    assert type(got.scheduler) is type(want.scheduler)
    assert got.tokenizer("a red house").input_ids == want.tokenizer("a red house").input_ids
    assert got.tokenizer.pad_token == want.tokenizer.pad_token
    assert same_picture(got, want)
    convert(tmp_path / "back", tmp_path / "again.safetensors")
    first, second = load_file(files[folder]), load_file(tmp_path / "again.safetensors")
    assert set(first) == set(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


def lightning(source: Path, target: Path) -> dict[str, Tensor]:
    """The single file as a trainer's pickle, with the average of the UNet's weights in it."""
    tensors = load_file(source)
    for key in [key for key in tensors if key.startswith(UNET)]:
        average = f"model_ema.diffusion_model{key.removeprefix(UNET).replace('.', '')}"
        tensors[average] = tensors[key] + 1
    tensors["model_ema.num_updates"] = torch.tensor(7)
    torch.save({"state_dict": tensors, "global_step": 470000}, target)
    return tensors


@pytest.mark.representative("SD1")
def test_a_ckpt(folder: Path, files: dict[Path, Path], tmp_path: Path) -> None:
    tensors = lightning(files[folder], tmp_path / "model.ckpt")
    kind = "v_prediction" if folder.name == "SD2" else "epsilon"
    choices = Choices(prediction_type=kind, tokenizer=folder)
    done = convert(tmp_path / "model.ckpt", tmp_path / "same.safetensors", choices=choices)
    got = load_file(done.out)
    assert set(got) == set(tensors) and all(torch.equal(got[key], tensors[key]) for key in got)
    assert read_metadata(done.out)["global_step"] == "470000"
    convert(tmp_path / "model.ckpt", tmp_path / "folder", choices=choices)
    want = states(load(folder))
    assert equal(states(load(tmp_path / "folder")), want)
    assert open_checkpoint(done.out).configs["scheduler"]["prediction_type"] == kind
    for name in ("model.ckpt", "same.safetensors"):
        out = tmp_path / f"average of {name[:4]}"
        convert(tmp_path / name, out, choices=replace(choices, ema=True))
        average = open_checkpoint(out).tensors["unet"]
        assert all(torch.equal(average[key], value + 1) for key, value in want["unet"].items())


def write_pickles(folder: Path, target: Path, old: bool) -> Path:
    """The folder with its weights as torch wrote them, by the names of then."""
    shutil.copytree(folder, target)
    stems = {"text_encoder": "pytorch_model", "unet": "diffusion_pytorch_model"}
    for part, stem in (stems | {"vae": "diffusion_pytorch_model"}).items():
        (source,) = (target / part).glob("*.safetensors")
        tensors = load_file(source)
        if old and part == "vae":
            tensors = {old_name(key): tensor for key, tensor in tensors.items()}
        if old and part == "text_encoder":
            tensors = {f"text_model.{key}": tensor for key, tensor in tensors.items()}
            tensors["text_model.embeddings.position_ids"] = torch.arange(LENGTH)[None]
        name = f"{stem}.fp16.bin" if old else f"{stem}.bin"
        torch.save(tensors, target / part / name, _use_new_zipfile_serialization=not old)
        source.unlink()
    return target


def old_name(key: str) -> str:
    """What diffusers before 0.17 called a tensor of the VAE's attention."""
    for new, old in (
        ("to_q", "query"),
        ("to_k", "key"),
        ("to_v", "value"),
        ("to_out.0", "proj_attn"),
    ):
        key = key.replace(f".{new}.", f".{old}.")
    return key


@pytest.mark.representative("SD2")
@pytest.mark.parametrize("old", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_folder_of_pickles(folder: Path, tmp_path: Path, old: bool) -> None:
    source = write_pickles(folder, tmp_path / "pickles", old)
    done = convert(source, tmp_path / "folder")
    assert done.notes == () and not list(done.out.rglob("*.bin"))
    assert equal(states(load(done.out)), states(load(folder)))
    convert(source, tmp_path / "file.safetensors")
    assert equal(open_checkpoint(tmp_path / "file.safetensors").tensors, states_with_prefix(folder))


def states_with_prefix(folder: Path) -> dict[str, dict[str, Tensor]]:
    state = states(load(folder))
    return state | {
        "text_encoder": {f"text_model.{k}": t for k, t in state["text_encoder"].items()}
    }


def test_safetensors_are_preferred_to_pickles(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "both")
    (tmp_path / "both" / "unet" / "diffusion_pytorch_model.bin").write_text("never opened")
    convert(tmp_path / "both", tmp_path / "out")
    assert equal(states(load(tmp_path / "out")), states(load(folder)))
