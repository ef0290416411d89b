"""TAESD, a small VAE: its files under the names of its author, of ComfyUI and of diffusers.

Its author has two files, in which layers have numbers alone: taesd_encoder and taesd_decoder.
ComfyUI has both in one file, with prefixes. diffusers calls them encoder.layers and decoder.layers.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mdp_lite_weights.tensors import PICKLES, read_tensors, short

Tensors = dict[str, Tensor]
Config = dict[str, Any]

CLASS = "AutoencoderTiny"  # diffusers' name of it
HALVES = ("encoder", "decoder")
# The decoder of the author begins with a layer without weights, which diffusers does not count.
SHIFTS = {"encoder": 0, "decoder": 1}
STARTS = ("encoder.layers.", "decoder.layers.", "taesd_encoder.", "taesd_decoder.")
COMFY = ("vae_scale", "vae_shift")  # to and from unscaled latents, which nobody has here


def is_whole(tensors: Iterable[str]) -> bool:
    """Whether keys are of both halves in one file."""
    return any(key.startswith(STARTS) for key in tensors)


def is_half(tensors: Iterable[str]) -> bool:
    """Whether keys are of one half: numbers of layers alone."""
    keys = list(tensors)
    return len(keys) > 0 and all(re.match(r"\d+\.", key) for key in keys)


def name_pair(name: str) -> tuple[str, str] | None:
    """The files of the encoder and the decoder, by the name of one of them."""
    for half in HALVES:
        at, found, end = name.rpartition(half)
        if found:
            return f"{at}encoder{end}", f"{at}decoder{end}"
    return None


def choose_pair(names: set[str], suffixes: tuple[str, ...] = (".safetensors",)) -> list[str]:
    """Encoder and decoder of a folder by their names, or none; ValueError for several pairs."""
    here = {name for name in names if "/" not in name and name.endswith(suffixes)}
    pairs = {pair for name in here if (pair := name_pair(name)) and set(pair) <= here}
    if len(pairs) > 1:
        found = ", ".join(sorted(encoder for encoder, _ in pairs))
        raise ValueError(f"the folder holds several small VAEs ({found}): name the file of one")
    return list(pairs.pop()) if pairs else []


def choose_files(names: set[str]) -> list[str]:
    """The pair of a folder that has no config, or none; ValueError if it is of pickles."""
    if "config.json" in names or "vae/config.json" in names:
        return []
    pair = choose_pair(names)
    pickled = [] if pair else choose_pair(names, PICKLES)
    if pickled:
        raise ValueError(
            f"the folder holds {' and '.join(pickled)}, pickles, which are never loaded: "
            "`mdp-lite convert` makes safetensors of each"
        )
    return pair


def find_pair(path: Path) -> list[Path]:
    """Both files of a TAESD, from one of them on disk."""
    pair = name_pair(path.name)
    if pair is None:
        want = "give a folder of both, their names with encoder and decoder"
        raise ValueError(f"{short(path)} is half of a TAESD: {want}")
    files = [path.with_name(name) for name in pair]
    for file in files:
        if not file.is_file():
            raise ValueError(f"{short(path)} is half of a TAESD: want {file.name} beside it")
    return files


def read_pair(files: list[Path]) -> tuple[Config, Tensors]:
    """Config and tensors under diffusers' names, from the encoder's and the decoder's file."""
    tensors: Tensors = {}
    for half, file in zip(HALVES, files, strict=True):
        found = read_tensors(file)
        first = "0.weight" in found  # which is the encoder's alone
        if not is_half(found) or first != (half == "encoder"):
            raise ValueError(f"{short(file)} holds no {half} of a TAESD")
        tensors |= _rename(found, half)
    return infer_config(short(files[0]), tensors), tensors


def read_whole(name: str, tensors: Tensors) -> tuple[Config, Tensors]:
    """The same from the tensors of one file, in diffusers' or ComfyUI's form."""
    inside = {key: tensor for key, tensor in tensors.items() if key not in COMFY}
    for half in HALVES:
        at = f"taesd_{half}."
        found = {k.removeprefix(at): inside.pop(k) for k in list(inside) if k.startswith(at)}
        inside |= _rename(found, half)
    return infer_config(name, inside), inside


def infer_config(name: str, tensors: Mapping[str, Tensor]) -> Config:
    """diffusers' config, from tensors under its names; ValueError if one half is not there."""
    shapes = {half: _list_convolutions(half, tensors) for half in HALVES}
    for half, found in shapes.items():
        if len(found) < 2:
            raise ValueError(f"{name} holds no {half} of a TAESD: want both halves")
    blocks = {half: _count_blocks(half, list(found), tensors) for half, found in shapes.items()}
    first, last = ({half: list(one.values())[i] for half, one in shapes.items()} for i in (0, -1))
    return {
        "_class_name": CLASS,
        "act_fn": "relu",
        "decoder_block_out_channels": [first["decoder"][0]] * len(blocks["decoder"]),
        "encoder_block_out_channels": [first["encoder"][0]] * len(blocks["encoder"]),
        "in_channels": first["encoder"][1],
        "latent_channels": first["decoder"][1],
        "num_decoder_blocks": blocks["decoder"],
        "num_encoder_blocks": blocks["encoder"],
        "out_channels": last["decoder"][0],
        "scaling_factor": 1.0,  # it was trained on latents as the UNet has them
    }


def describe_family(place: str, xl: bool) -> str | None:
    """A sentence if the name of a TAESD says that it is for the latents of another family.

    Nothing in its files says so: all have the same shapes.
    """
    last = re.split(r"[/\\]", place.lower())[:-3:-1]  # a file, or its folder
    name = next((one for one in last if "taesd" in one), "")
    if not name or ("taesdxl" in name) == xl:
        return None
    own, other = "Stable Diffusion XL", "Stable Diffusion 1.x and 2.x"
    own, other = (other, own) if xl else (own, other)
    return f"{name} is by its name for latents of {own}, the model is of {other}: colours differ"


def _rename(tensors: Tensors, half: str) -> Tensors:
    """The author's names of one half -> diffusers'."""
    parts = {key: key.partition(".") for key in tensors}
    shift = SHIFTS[half]
    return {
        f"{half}.layers.{int(number) - shift}.{rest}": tensors[key]
        for key, (number, _, rest) in parts.items()
    }


def _list_convolutions(half: str, tensors: Mapping[str, Tensor]) -> dict[int, list[int]]:
    """The shapes of the convolutions between the blocks of a half, by their numbers."""
    pattern = re.compile(rf"{half}\.layers\.(\d+)\.weight")
    found = {int(match[1]): key for key in tensors if (match := pattern.fullmatch(key))}
    shapes = {number: list(tensors[key].shape) for number, key in sorted(found.items())}
    odd = [found[number] for number, shape in shapes.items() if len(shape) != 4]
    if odd:
        raise ValueError(f"{odd[0]} must be the weight of a convolution, got {shapes}")
    return shapes


def _count_blocks(half: str, ends: list[int], tensors: Mapping[str, Tensor]) -> list[int]:
    """How many blocks lie between each convolution and the next."""
    pattern = re.compile(rf"{half}\.layers\.(\d+)\.conv\.0\.weight")
    blocks = [int(match[1]) for key in tensors if (match := pattern.fullmatch(key))]
    return [sum(a < number < b for number in blocks) for a, b in zip(ends, ends[1:], strict=False)]
