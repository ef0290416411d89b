"""Foreign, incomplete and damaged model files: one sentence each, and nothing is executed."""

import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.names import BadCheckpoint
from mdp_lite_weights import keys
from mdp_lite_weights.files import BUNDLED
from support.ldm import Tensors, single, write_folder, write_single

Make = Callable[[Path, Tensors], object]
ONE = torch.zeros(1)
UNET, VAE, TEXT = keys.UNET_AT, keys.VAE_AT, keys.CLIP_AT
FIRST = f"{UNET}input_blocks.0.0.weight"


def of(**tensors: torch.Tensor) -> Make:
    """A file with these tensors alone; two underscores stand for a dot."""
    tensors_by_key = {key.replace("__", "."): tensor for key, tensor in tensors.items()}
    return lambda path, _: write_single(path, tensors_by_key)


def plus(tensors: Tensors) -> Make:
    """A whole file with some tensors more or other."""
    return lambda path, whole: write_single(path, whole | tensors)


def without(*starts: str) -> Make:
    """A whole file that lacks what starts so."""
    return lambda path, whole: write_single(
        path, {k: t for k, t in whole.items() if not k.startswith(starts)}
    )


def raw(data: bytes) -> Make:
    return lambda path, _: path.write_bytes(data)


def cut(size: int) -> Make:
    def make(path: Path, whole: Tensors) -> None:
        write_single(path, whole)
        path.write_bytes(path.read_bytes()[:size])

    return make


def reads(channels: int) -> Make:
    return plus({FIRST: torch.zeros(32, channels, 3, 3)})


HEADER = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
OTHER_ABAR = torch.linspace(0.999, 0.02, 1000)
FILES: dict[str, tuple[Make, str]] = {
    # another family
    "the refiner of SDXL": (
        of(conditioner__embedders__0__model__ln_final__bias=ONE),
        "is the refiner of Stable Diffusion XL, which finishes the pictures of another model",
    ),
    "SDXL's UNet": (
        plus({f"{UNET}label_emb.0.0.weight": ONE}),
        "holds no text encoder and no second text encoder: want a whole checkpoint",
    ),
    "unCLIP": (plus({"noise_augmentor.betas": ONE}), "is an unCLIP model (it holds noise_aug"),
    "SD 3": (of(model__diffusion_model__joint_blocks__0__w=ONE), "is a Stable Diffusion 3 model"),
    "FLUX": (of(double_blocks__0__img_mod__lin__bias=ONE), "is a FLUX model"),
    "FLUX in a checkpoint": (of(model__diffusion_model__double_blocks__0__w=ONE), "is a FLUX"),
    "ControlNet": (of(control_model__input_blocks__0__0__weight=ONE), "is a ControlNet"),
    "InstructPix2Pix": (reads(8), "is an InstructPix2Pix model: its UNet reads 8 channels, want 4"),
    "upscaler": (reads(7), "is an upscaling model: its UNet reads 7 channels, want 4 or 9"),
    "depth": (reads(5), "is a depth-to-image model: its UNet reads 5 channels, want 4 or 9"),
    "6 channels": (reads(6), "unet must read and write the vae's 4 channels (or read 9, to inpa"),
    # a part of a model, or something beside one
    "kohya LoRA": (of(lora_unet_mid_block_w__alpha=ONE), "is a LoRA: give it as one"),
    "peft LoRA": (of(unet__down_blocks__0__to_q__lora_A__weight=ONE), "is a LoRA: give it as one"),
    "embedding": (of(emb_params=ONE), "is a textual inversion: give it as an embedding"),
    "VAE alone": (of(decoder__up__0__block__0__w=ONE), "is a VAE alone: give it as one"),
    "UNet alone": (of(down_blocks__0__resnets__0__w=ONE), "is a UNet alone"),
    "text encoder alone": (of(text_model__final_layer_norm__bias=ONE), "is a text encoder alone"),
    "no VAE": (without(VAE), "model.safetensors holds no VAE: give one beside it (vae=)"),
    "no text encoder": (without(TEXT), "model.safetensors holds no text encoder: want a whole"),
    "UNet in LDM's names alone": (without(VAE, TEXT), "holds no VAE and no text encoder"),
    "something else": (of(a__b=ONE), "is no Stable Diffusion checkpoint in the LDM layout (a.b)"),
    # keys, shapes, dtypes
    "key missing": (
        without(f"{UNET}out.2.bias", f"{UNET}time_embed"),
        "model.safetensors, unet: 5 keys missing (conv_out.bias, time_embedding.linear_1.bias, ",
    ),
    "first convolution missing": (without(FIRST), "is incomplete: it lacks 'conv_in.weight'"),
    "no token table": (without(f"{TEXT}text_model.embeddings."), "is incomplete: it lacks 'text_"),
    "unexpected keys": (
        plus({f"extra.{i}": torch.zeros(i + 1) for i in range(7)}),
        "7 unexpected keys (extra.0, extra.1, extra.2, extra.3, extra.4, ...)",
    ),
    "unexpected in a part": (
        plus({f"{UNET}input_blocks.3.0.more": ONE}),
        "unet: 0 keys missing, 1 unexpected (input_blocks.3.0.more)",
    ),
    "wrong shape": (
        plus({f"{UNET}out.0.bias": torch.zeros(33)}),
        "model.safetensors, unet: conv_norm_out.bias has shape [33], want [32]",
    ),
    "whole numbers": (
        plus({f"{UNET}out.0.bias": torch.zeros(32, dtype=torch.int64)}),
        "conv_norm_out.bias has dtype torch.int64, want an 8 to 32-bit float",
    ),
    "scaled fp8": (
        plus({f"{UNET}out.2.weight_scale": ONE}),
        "holds scaled fp8 weights (model.diffusion_model.out.2.weight_scale): not supported",
    ),
    "scaled fp8 by its marker": (plus({"scaled_fp8": ONE}), "scaled fp8 weights (scaled_fp8)"),
    "another schedule": (
        plus({"alphas_cumprod": OTHER_ABAR}),
        "want 1000 steps down to 0.0046601 or 0, got 1000 down to 0.02",
    ),
    # damaged
    "truncated": (cut(5000), "model.safetensors is not a readable safetensors file"),
    "data truncated": (cut(300_000), "model.safetensors is not a readable safetensors file"),
    "empty": (raw(b""), "model.safetensors is not a readable safetensors file"),
    "noise": (raw(bytes(range(256)) * 9), "model.safetensors is not a readable safetensors file"),
    "endless header": (raw(struct.pack("<Q", 2**63) + b"{}"), "not a readable safetensors file"),
    "offsets past the end": (
        raw(struct.pack("<Q", len(HEADER)) + HEADER + bytes(8)),
        "not a readable safetensors file",
    ),
    "web page": (raw(b"<!DOCTYPE html><html>Sign in"), "is a web page, not the file"),
    "Git LFS pointer": (
        raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n"),
        "is a Git LFS pointer, not the file: run `git lfs pull`",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tensors:
    return single(write_folder(tmp_path_factory.mktemp("whole") / "model"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "model.safetensors"


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file(
    name: str, file: Path, whole: Tensors, says_one_line: Callable[[str], None]
) -> None:
    make, sentence = FILES[name]
    file.parent.mkdir()
    make(file, whole)
    with pytest.raises(BadCheckpoint, match=re.escape(sentence)) as caught:
        Editor.from_pretrained(file, "cpu")
    assert "\n" not in str(caught.value) and str(file.parent.parent) not in str(caught.value)
    assert main(["info", str(file)]) == 2
    says_one_line(sentence)


class Payload:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("ending", ["ckpt", "pt", "pth", "bin", "pkl", "safetensors"])
@pytest.mark.parametrize("form", ["plain", "torch"])
def test_no_pickle_is_executed(ending: str, form: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "executed", tmp_path / f"model.{ending}"
    if form == "torch":
        torch.save({"state_dict": Payload(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(Payload(mark)))
    sentence = (
        "is not a readable safetensors file" if ending == "safetensors" else "mdp-lite convert"
    )
    for place in ({"name": path}, {"vae": path}, {"loras": [path]}, {"embeddings": [path]}):
        with pytest.raises(BadCheckpoint, match=sentence):
            Editor.from_pretrained(**place)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Payload(mark)))  # the payload would have worked
    assert mark.exists()


@pytest.mark.parametrize("place", ["", "no such folder", "org/name/", "/nowhere/model", 7, None])
def test_neither_an_id_nor_a_path(place: object) -> None:
    want = "a model must be one of tiny, small, a folder, a .safetensors file or a hub id like"
    with pytest.raises(BadCheckpoint, match=f'{want} "org/name", got'):
        Editor.from_pretrained(place)  # type: ignore[arg-type]


def test_a_bundled_model_whose_folder_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUNDLED, "small", tmp_path / "small")
    with pytest.raises(
        BadCheckpoint, match="one of tiny, .*got 'small', whose folder is not in this installation"
    ):
        Editor.from_pretrained("small")


def test_a_bundled_model_is_found_by_its_name(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(BUNDLED, "small", checkpoint)
    assert Editor.from_pretrained("small", "cpu").models.folder == checkpoint
    assert main(["plan", "--model", "small", "--source-prompt", "a", "--prompt", "red"]) == 0
    assert ", 32x32:" in capsys.readouterr().out  # its size; the default model has 64x64


def test_another_kind_of_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(
        BadCheckpoint, match=r"a model file must end in .safetensors, got .*model.gguf"
    ):
        Editor.from_pretrained(path)
