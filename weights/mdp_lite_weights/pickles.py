"""Pickled checkpoints, for `convert` alone: tensors by name, and no code of the file is ever run.

torch's own weights-only unpickler does the reading. It refuses every name in a file that is not on
its list of tensor functions or on ours, and there is no other way in.
"""

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite_weights.tensors import short


class StandIn:
    """Takes the place of a class that a file names: it holds what it is given and does nothing."""

    state: Any = None

    def __new__(cls, *_: Any) -> "StandIn":
        """Take any arguments and forget them."""
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Keep the state as data; nothing in it becomes an attribute."""
        self.state = state


# Every name that a file may use beside torch's own, and what stands there instead. None of the
# named classes is ever imported or called, so the list can't do harm: it only lets a file pass.
ALLOWED: list[Any] = [
    # Lightning, in CompVis's and Stability's own files: the class of a callback is a key.
    (StandIn, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    (StandIn, "pytorch_lightning.callbacks.early_stopping.EarlyStopping"),
    # A dict by another name: old Lightning's settings of a model.
    (dict, "pytorch_lightning.utilities.parsing.AttributeDict"),
    # numpy numbers and arrays beside the weights (best score, losses), by old and new numpy.
    (StandIn, "numpy.dtype"),
    (StandIn, "numpy.ndarray"),
    (StandIn, "numpy.core.multiarray.scalar"),
    (StandIn, "numpy.core.multiarray._reconstruct"),
    (StandIn, "numpy._core.multiarray.scalar"),
    (StandIn, "numpy._core.multiarray._reconstruct"),
    # The textual inversion authors' embeddings: the vectors are in the state of this module.
    (StandIn, "torch.nn.modules.container.ParameterDict"),
]
# What a checkpoint may hold; all of it fits a safetensors file.
DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
)
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # how the files start that torch.save writes


class Pickled(NamedTuple):
    """The tensors of a file by name, and the plain words and numbers beside them as text."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_pickle(path: Path) -> Pickled:
    """The tensors that torch.save wrote, mapped from disk where they can be.

    A Lightning checkpoint gives its state_dict, A1111's embedding one tensor named emb_params. A
    file of another kind, damaged or asking for code is a ValueError; nothing in it is executed.
    """
    found = _load(path, mapped=_may_be_mapped(path))
    entries = found if isinstance(found, dict) else {}
    metadata = {str(k): str(v) for k, v in entries.items() if isinstance(v, str | int | float)}
    if "string_to_param" in entries:
        entries = {"emb_params": _only_vectors(path, entries["string_to_param"])}
    elif isinstance(entries.get("state_dict"), dict):
        entries = entries["state_dict"]
    tensors = {k: v for k, v in entries.items() if not isinstance(v, str | int | float)}
    for key, tensor in tensors.items():
        _check(path, key, tensor)
    if not tensors:
        raise ValueError(f"{short(path)} must hold tensors by name, found none")
    return Pickled(_own_memory(tensors), metadata)


def _load(path: Path, mapped: bool) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(ALLOWED):
            warnings.simplefilter("ignore")  # of old formats: either they can be read or not
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged pickle makes torch raise almost anything
        asked = re.search(r"GLOBAL (\S+) (?:was not|whose)", str(error))
        if asked:
            name = asked[1][:100]
            raise ValueError(
                f"{short(path)} asks for {name!r}, which is not on the list: not loaded"
            ) from None
        raise ValueError(f"{short(path)} is damaged, or not written by torch.save") from None


def _may_be_mapped(path: Path) -> bool:
    """Whether the tensors lie in the file as they are; a file that holds none is a ValueError."""
    with open(path, "rb") as file:
        start = file.read(64)
    if not start.startswith((ZIP, PICKLE)):
        raise ValueError(f"{short(path)} must be a file that torch.save wrote, got {_kind(start)}")
    if start.startswith(PICKLE):
        return False  # the format before torch 1.6
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception:  # zipfile too raises almost anything
        raise ValueError(f"{short(path)} is cut off or damaged") from None
    names = {Path(entry.filename).name for entry in entries}
    if "constants.pkl" in names:
        raise ValueError(f"{short(path)} is a TorchScript program, want a file of tensors")
    if "data.pkl" not in names:
        raise ValueError(f"{short(path)} is a zip archive without a checkpoint in it")
    # torch maps the bytes of a packed archive as they are, and so reads noise without a word.
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def _kind(start: bytes) -> str:
    if start == b"":
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (git lfs pull brings the file)"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page"
    return "a safetensors file" if start[8:9] == b"{" else "a file of another kind"


def _only_vectors(path: Path, params: Any) -> Any:
    """The one tensor of string_to_param, which is a dict or, from its authors, a ParameterDict."""
    if isinstance(params, StandIn) and isinstance(params.state, dict):
        params = params.state.get("_parameters")
    if not isinstance(params, dict) or len(params) != 1:
        raise ValueError(f"{short(path)}: string_to_param must hold one embedding")
    return next(iter(params.values()))


def _check(path: Path, key: Any, tensor: Any) -> None:
    if not isinstance(key, str):
        raise ValueError(f"{short(path)} must hold tensors by name, got the key {key!r:.100}")
    if not isinstance(tensor, Tensor):
        kind = "no plain data" if isinstance(tensor, StandIn) else f"a {type(tensor).__name__}"
        raise ValueError(f"{short(path)}: {key!r:.100} must be a tensor, got {kind}")
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in DTYPES:
        kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}"
        raise ValueError(f"{short(path)}: {key!r:.100} must be plain numbers, got {kind}")


def _own_memory(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share no memory, as safetensors wants them; only shared ones are copied."""
    kept, seen = {}, set()
    for key, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        if tensor.untyped_storage().data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        kept[key] = tensor
    return kept
