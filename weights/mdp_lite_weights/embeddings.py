"""Textual inversion files: a learned word and its vectors (Gal et al. 2022, arXiv 2208.01618)."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite_weights.tensors import list_keys, read_metadata, read_tensors, short

NAMELESS = "emb_params"  # AUTOMATIC1111's key: the word is in the metadata, or the file's name
SDXL = {"clip_l", "clip_g"}
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class Embedding(NamedTuple):
    """A learned word and its vectors (n, d); d is the width of its text encoder."""

    token: str
    vectors: Tensor


def read_embedding(path: Path, token: str | None = None) -> Embedding:
    """Read a word from a safetensors file of diffusers or AUTOMATIC1111; token renames it."""
    tensors = read_tensors(path)
    keys = sorted(tensors)
    if SDXL & set(keys):
        raise ValueError(f"{short(path)} is an embedding for SDXL, which is not supported")
    if len(keys) != 1:
        raise ValueError(
            f"{short(path)} must hold one tensor, named by its word or {NAMELESS}, "
            f"got {len(keys)}{list_keys(keys)}"
        )
    if token is None:
        nameless = keys[0] == NAMELESS
        token = read_metadata(path).get("name", path.stem) if nameless else keys[0]
    if not token or token != token.strip():
        raise ValueError(
            f"{short(path)}: the word must be a text without spaces around it, got {token!r}"
        )
    return Embedding(token, _check_vectors(path, tensors[keys[0]]))


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
