"""Safetensors files, mapped: bytes are read when they are used, and freed after."""

import math
import mmap
import shlex
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
GROUP = 2**26  # bytes that share one mapping, which is freed with its last tensor
LARGE = 2**22  # bytes of a tensor that is mapped alone, since it may go before others
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
# Names of the scale factors in fp8 files; without them the weights are noise.
FP8_SCALES = ("scaled_fp8", "scale_weight", "weight_scale", "scale_input", "input_scale")


class Piece(NamedTuple):
    """The position of a tensor in its file, in bytes."""

    key: str
    dtype: torch.dtype
    shape: list[int]
    start: int
    end: int


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in the order of the file; raises ValueError for others.

    They are mapped in groups: a reader that drops each tensor after use keeps one group in memory,
    not the file.
    """
    check_file(path)
    tensors: dict[str, Tensor] = {}
    try:
        with open(path, "rb") as file:
            for group in _group_pieces(path):
                tensors |= _map_tensors(file, group)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{short(path)} is not a readable safetensors file: {error}") from None
    refuse_scaled(path, tensors)
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata in the header of a safetensors file."""
    check_file(path)
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{short(path)} is not a readable safetensors file: {error}") from None


def check_file(path: Path) -> None:
    """Raises ValueError for a file that clearly is not a safetensors file, and says what it is."""
    refuse_pickle(path)
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise ValueError(f"{short(path)} can't be read: {error.strerror}") from None
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{short(path)} is a Git LFS pointer, not the file: run `git lfs pull`")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ValueError(f"{short(path)} is a web page, not the file: download it again")


def refuse_pickle(path: Path) -> None:
    """Raises ValueError for a file that can hold code, by its name."""
    if path.suffix in PICKLES:
        raise ValueError(
            f"{short(path)} is a pickle, which is never loaded: "
            "`mdp-lite convert` makes safetensors of it"
        )


def refuse_scaled(path: Path, tensors: dict[str, Tensor]) -> None:
    """Raises ValueError for scaled fp8 weights: without their scales they give white pictures."""
    scales = [key for key in tensors if key.rsplit(".", 1)[-1] in FP8_SCALES]
    if scales:
        raise ValueError(f"{short(path)} holds scaled fp8 weights ({scales[0]}): not supported")


def as_given(path: Path) -> str:
    """A path as it was given, quoted if a shell needs that: what a user can paste.

    For commands that a person runs with files of their own; see short.
    """
    return shlex.quote(str(path))


def short(path: Path) -> str:
    """The names of a file and its folder: enough to find it, nothing about the machine."""
    return "/".join(path.parts[-2:]).lstrip("/")


def list_keys(keys: list[str], count: int = 5) -> str:
    """The first of a list of keys in brackets, or nothing."""
    return f" ({', '.join(keys[:count])}{', ...' if len(keys) > count else ''})" if keys else ""


def _group_pieces(path: Path) -> list[list[Piece]]:
    """The tensors in the order of the file, in groups of about GROUP bytes; a large one is alone.

    safetensors refuses a header with gaps or overlaps, so the sizes give the positions.
    """
    groups: list[list[Piece]] = []
    with open(path, "rb") as raw:
        at = 8 + int.from_bytes(raw.read(8), "little")
    begun = at - GROUP
    with safe_open(path, "pt") as file:
        for key in file.offset_keys():
            piece = file.get_slice(key)
            kind, shape = piece.get_dtype(), piece.get_shape()
            if kind not in DTYPES:
                raise ValueError(f"{short(path)}: {key} has dtype {kind}, which is not supported")
            end = at + math.prod(shape) * DTYPES[kind].itemsize
            if at - begun >= GROUP or end - at >= LARGE:
                groups.append([])
                begun = at
            groups[-1].append(Piece(key, DTYPES[kind], shape, at, end))
            begun = end - GROUP if end - at >= LARGE else begun  # the next begins another
            at = end
    return groups


def _map_tensors(file: BinaryIO, pieces: list[Piece]) -> dict[str, Tensor]:
    """Tensors that share one private mapping of the file; it lasts as long as any of them."""
    begin = pieces[0].start // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    size = pieces[-1].end - begin
    memory = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY, offset=begin)
    return {piece.key: _view(memory, piece, begin) for piece in pieces}


def _view(memory: mmap.mmap, piece: Piece, begin: int) -> Tensor:
    count = math.prod(piece.shape)
    if not count:  # frombuffer takes no empty piece
        return torch.empty(piece.shape, dtype=piece.dtype)
    offset = piece.start - begin
    return torch.frombuffer(memory, dtype=piece.dtype, count=count, offset=offset).view(piece.shape)
