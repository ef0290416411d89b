"""Textual inversion files: learned words and their vectors (Gal et al. 2022, arXiv 2208.01618)."""

import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite_weights.lora_keys import BUNDLE
from mdp_lite_weights.tensors import list_keys, read_metadata, read_tensors, short

# Keys that name no word, of AUTOMATIC1111, its pickles and ComfyUI (SD 1.x and 2.x): the word is in
# the metadata, or the file's name.
NAMELESS = ("emb_params", "string_to_param.*", "*", "clip_l", "clip_h")
STRINGS = "string_to_param."  # before each word of an AUTOMATIC1111 file with several
SDXL = ("clip_l", "clip_g")  # ComfyUI's names for the vectors of SDXL's two text encoders
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class Embedding(NamedTuple):
    """A learned word and its vectors (n, d); d is the width of its text encoder.

    second are those for SDXL's second text encoder, as many.
    """

    token: str
    vectors: Tensor
    second: Tensor | None = None


def read_embeddings(path: Path, token: str | None = None) -> list[Embedding]:
    """Read the words of a safetensors file of diffusers, AUTOMATIC1111 or ComfyUI, in its order.

    A file with clip_l and clip_g holds one word of SDXL.

    token renames the word of a file that has only one.
    """
    tensors = read_tensors(path)
    keys = list(tensors)
    if SDXL[1] in keys:
        return [_read_pair(path, token, tensors)]
    if not keys or (len(keys) > 1 and set(keys) & set(NAMELESS)):
        raise ValueError(
            f"{short(path)} must hold one tensor, named by its word or {NAMELESS[0]}, or several "
            f"named by their words, got {len(keys)}{list_keys(sorted(keys))}"
        )
    if len(keys) > 1 and token is not None:
        raise ValueError(
            f"{short(path)} holds {len(keys)} words{list_keys(keys)}, so it can't take the name "
            f"{token!r} for one"
        )
    if token is None and keys[0] in NAMELESS:
        token = read_metadata(path).get("name", path.stem)
    words = [key.removeprefix(STRINGS) if token is None else token for key in keys]
    found = zip(words, tensors.values(), strict=True)
    return [_check_embedding(path, word, tensor) for word, tensor in found]


def read_bundle(path: Path) -> list[Embedding]:
    """Read the words that come with a LoRA: bundle_emb.WORD.emb_params, as AUTOMATIC1111 has it.

    For SDXL they are bundle_emb.WORD.clip_l and bundle_emb.WORD.clip_g.
    """
    words: dict[str, dict[str, Tensor]] = {}
    ends = "|".join(re.escape(f".{end}") for end in (*NAMELESS, SDXL[1]))
    for key, tensor in read_tensors(path).items():
        if key.startswith(BUNDLE):
            found = re.fullmatch(rf"(.+?)({ends})?", key.removeprefix(BUNDLE))
            word, end = found.groups("") if found else ("", "")
            words.setdefault(word, {})[end.removeprefix(".")] = tensor
    embeddings: list[Embedding] = []
    for word, tensors in words.items():
        if SDXL[1] in tensors:
            embeddings.append(_read_pair(path, word, tensors))
        else:
            embeddings += [_check_embedding(path, word, one) for one in tensors.values()]
    return embeddings


def _read_pair(path: Path, token: str | None, tensors: dict[str, Tensor]) -> Embedding:
    """A word of SDXL: a prompt is read by both encoders, so both must know it."""
    if set(tensors) != set(SDXL):
        got = f"got {len(tensors)} tensors{list_keys(sorted(tensors))}"
        raise ValueError(f"{short(path)}: an embedding for SDXL has clip_l and clip_g, {got}")
    word = read_metadata(path).get("name", path.stem) if token is None else token
    first, second = (_check_embedding(path, word, tensors[key]).vectors for key in SDXL)
    if len(first) != len(second):
        got = f"{len(first)} and {len(second)}"
        raise ValueError(f"{short(path)}: clip_l and clip_g must have as many vectors, got {got}")
    return Embedding(word, first, second)


def _check_embedding(path: Path, word: str, tensor: Tensor) -> Embedding:
    if not word or word != word.strip():
        raise ValueError(
            f"{short(path)}: the word must be a text without spaces around it, got {word!r}"
        )
    return Embedding(word, _check_vectors(path, tensor))


def _check_vectors(path: Path, tensor: Tensor) -> Tensor:
    """A vector (d,) or n of them (n, d) -> (n, d); raises ValueError if it is not finite."""
    if tensor.ndim not in (1, 2) or tensor.numel() == 0:
        got = list(tensor.shape)
        raise ValueError(f"{short(path)} must hold a vector or a list of vectors, got shape {got}")
    if tensor.dtype not in FLOATS:
        raise ValueError(f"{short(path)} has dtype {tensor.dtype}, want a 16 or 32-bit float")
    if not tensor.isfinite().all():
        raise ValueError(f"{short(path)} holds numbers that are not finite")
    return torch.atleast_2d(tensor)
