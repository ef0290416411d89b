"""One sentence for what is no TAESD, or half of one, or does not fit, before any work."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file, save_file

from mdp_lite.checkpoint.load import AddOns, load
from mdp_lite.editor import Editor
from mdp_lite.names import BadCheckpoint
from support import taesd

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def theirs() -> AutoencoderTiny:
    return taesd.small()


def half_alone(at: Path, model: AutoencoderTiny) -> Path:
    folder = taesd.write_pair(at, model)
    (folder / "taesd_encoder.safetensors").unlink()
    return folder / "taesd_decoder.safetensors"


def two_decoders(at: Path, model: AutoencoderTiny) -> Path:
    folder = taesd.write_pair(at, model)
    data = (folder / "taesd_decoder.safetensors").read_bytes()
    (folder / "taesd_encoder.safetensors").write_bytes(data)
    return folder


def two_encoders(at: Path, model: AutoencoderTiny) -> Path:
    folder = taesd.write_pair(at, model)
    data = (folder / "taesd_encoder.safetensors").read_bytes()
    (folder / "taesd_decoder.safetensors").write_bytes(data)
    return folder


def sd_decoder(at: Path, model: AutoencoderTiny) -> Path:
    """The decoder of Stable Diffusion's VAE alone."""
    save_file({"decoder.conv_in.weight": torch.zeros(8, 4, 3, 3)}, at / "decoder.safetensors")
    return at / "decoder.safetensors"


def truncated(at: Path, model: AutoencoderTiny) -> Path:
    file = taesd.write_pair(at, model) / "taesd_encoder.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    return file.parent


def several(at: Path, model: AutoencoderTiny) -> Path:
    taesd.write_pair(at, model, "taesdxl")
    return taesd.write_pair(at, model)


def pickles(at: Path, model: AutoencoderTiny) -> Path:
    for half, tensors in taesd.split(model).items():
        torch.save(tensors, at / f"taesd_{half}.pth")
    return at


def only_decoder(at: Path, model: AutoencoderTiny) -> Path:
    file = taesd.write_file(at / "small.safetensors", model)
    save_file({k: v for k, v in load_file(file).items() if k.startswith("decoder")}, file)
    return file


def unnamed(at: Path, model: AutoencoderTiny) -> Path:
    save_file(taesd.split(model)["decoder"], at / "small.safetensors")
    return at / "small.safetensors"


def missing_layer(at: Path, model: AutoencoderTiny) -> Path:
    file = taesd.write_pair(at, model) / "taesd_decoder.safetensors"
    tensors = load_file(file)
    del tensors["3.conv.2.bias"]
    save_file(tensors, file)
    return at


def flat(at: Path, model: AutoencoderTiny) -> Path:
    file = taesd.write_pair(at, model) / "taesd_decoder.safetensors"
    save_file(load_file(file) | {"1.weight": torch.zeros(3)}, file)
    return at


BAD: dict[str, tuple[Callable[[Path, AutoencoderTiny], Path], str]] = {
    "half alone": (half_alone, "is half of a TAESD: want taesd_encoder.safetensors beside it"),
    "half without a name": (unnamed, "is half of a TAESD: give a folder of both, their names with"),
    "two decoders": (two_decoders, "taesd_encoder.safetensors holds no encoder of a TAESD"),
    "two encoders": (two_encoders, "taesd_decoder.safetensors holds no decoder of a TAESD"),
    "SD's decoder": (sd_decoder, "decoder.safetensors holds no VAE (decoder.conv_in.weight)"),
    "truncated": (truncated, "taesd_encoder.safetensors is not a readable safetensors file"),
    "several": (several, "several small VAEs (taesd_encoder.safetensors, taesdxl_encoder.safet"),
    "pickles": (pickles, "taesd_encoder.pth and taesd_decoder.pth, pickles, which are never loa"),
    "one half in one file": (only_decoder, "holds no encoder of a TAESD: want both halves"),
    "a layer is missing": (missing_layer, "1 keys missing (decoder.layers.2.conv.2.bias)"),
    "no convolution": (flat, "decoder.layers.0.weight must be the weight of a convolution, got"),
    "other stages": (
        taesd.changed(num_decoder_blocks=[2, 1]),
        "must have one entry a block each, got",
    ),
    "other widths": (
        taesd.changed(decoder_block_out_channels=[8, 8, 4]),
        "vae: decoder_block_out_channels must be equal in all stages of a TAESD, got (8, 8, 4)",
    ),
    "no colours": (taesd.changed(in_channels=1), "vae: in_channels 1 is not supported, want 3"),
    "bilinear": (
        taesd.changed(upsample_fn="bilinear"),
        "vae: upsample_fn 'bilinear' is not supported",
    ),
    "by three": (
        taesd.changed(upsampling_scaling_factor=3),
        "vae: upsampling_scaling_factor 3 is not",
    ),
    "shifted": (taesd.changed(shift_factor=0.1), "vae: shift_factor 0.1 is not supported"),
    "no activation": (taesd.changed(act_fn="step"), "vae: act_fn 'step' is not supported"),
    "another class": (
        taesd.changed(_class_name="AutoencoderKL", norm_num_groups=4),
        "keys missing (decoder",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_none_is_refused_in_one_sentence(
    name: str, checkpoint: Path, theirs: AutoencoderTiny, tmp_path: Path
) -> None:
    write, sentence = BAD[name]
    with pytest.raises(BadCheckpoint) as error:
        Editor.from_pretrained(checkpoint, vae=write(tmp_path, theirs))
    assert sentence in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("form", taesd.FORMS)
def test_other_latents_are_refused(form: str, checkpoint: Path, tmp_path: Path) -> None:
    place = taesd.FORMS[form](tmp_path, taesd.small(latent_channels=16))
    want = "read and write the vae's 16 channels (or read 33, to inpaint), got 4 and 4"
    sentence = re.escape(want)
    with pytest.raises(BadCheckpoint, match=sentence):
        load(checkpoint, CPU, addons=AddOns(place))


@pytest.mark.parametrize("form", [f for f in taesd.FORMS if "file" in f or "coder" in f])
def test_as_a_model_it_is_refused(form: str, theirs: AutoencoderTiny, tmp_path: Path) -> None:
    with pytest.raises(BadCheckpoint, match=r"is (half of a VAE, TAESD|a VAE alone): give it as o"):
        load(taesd.FORMS[form](tmp_path, theirs), CPU)
