"""Safetensors files, mapped: no byte is read before it is used, and each is let go after."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl")
GROUP = 2**26  # bytes that share one mapping; it is released with the last of its tensors
# What fp8 files call the factors without which their weights are noise.
FP8_SCALES = ("scaled_fp8", "scale_weight", "weight_scale", "scale_input", "input_scale")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, in the order of the file; ValueError if it is not one.

    They are mapped in groups: a reader that drops each tensor after use holds one group in memory,
    not the file.
    """
    check_file(path)
    tensors: dict[str, Tensor] = {}
    try:
        for keys in _groups(path):
            with safe_open(path, "pt") as file:
                tensors |= {key: file.get_tensor(key) for key in keys}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{short(path)} is not a readable safetensors file: {error}") from None
    refuse_scaled(path, tensors)
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file."""
    check_file(path)
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{short(path)} is not a readable safetensors file: {error}") from None


def check_file(path: Path) -> None:
    """A file that is no safetensors file for a reason that can be told is refused with it."""
    if path.suffix in PICKLES:
        raise ValueError(
            f"{short(path)} is a pickle, which is never loaded: "
            "`mdp-lite convert` makes safetensors of it"
        )
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise ValueError(f"{short(path)} can't be read: {error.strerror}") from None
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{short(path)} is a Git LFS pointer, not the file: run `git lfs pull`")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ValueError(f"{short(path)} is a web page, not the file: download it again")


def refuse_scaled(path: Path, tensors: dict[str, Tensor]) -> None:
    """Scaled fp8 weights, which make white pictures when their scales are left out."""
    scales = [key for key in tensors if key.rsplit(".", 1)[-1] in FP8_SCALES]
    if scales:
        raise ValueError(f"{short(path)} holds scaled fp8 weights ({scales[0]}): not supported")


def short(path: Path) -> str:
    """A file and its folder's name: enough to find it, and nothing of the machine it lies on."""
    return f"{path.parent.name}/{path.name}"


def first(keys: list[str], count: int = 5) -> str:
    """ (first of a list of keys), or nothing."""
    return f" ({', '.join(keys[:count])}{', ...' if len(keys) > count else ''})" if keys else ""


def _groups(path: Path) -> list[list[str]]:
    """Keys in the order of the file, in runs of about GROUP bytes."""
    groups: list[list[str]] = [[]]
    size = 0
    with safe_open(path, "pt") as file:
        for key in file.offset_keys():
            if size > GROUP:
                groups.append([])
                size = 0
            groups[-1].append(key)
            size += _bytes(file.get_slice(key))
    return groups


def _bytes(piece: object) -> int:
    shape, dtype = piece.get_shape(), piece.get_dtype()  # type: ignore[attr-defined]
    size = 8 if dtype == "BOOL" else int("".join(filter(str.isdigit, dtype.split("_")[0])))
    for side in shape:
        size *= side
    return size // 8
