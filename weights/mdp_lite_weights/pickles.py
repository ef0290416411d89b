"""Reading pickled checkpoints, only for `convert`: tensors by name. No code in a file is ever run.

torch's weights-only unpickler reads them. It refuses every name in a file that is neither on its
list of tensor functions nor on ours. Nothing else in mdp_lite reads a pickle.
"""

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite_weights.tensors import as_given


class StandIn:
    """Replaces a class that a file names: it stores its state and does nothing."""

    state: Any = None

    def __new__(cls, *_: Any) -> "StandIn":
        """Accept any arguments and ignore them."""
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Store the state as data; nothing in it becomes an attribute."""
        self.state = state


# Names that a file may use besides torch's, and their replacements. None of the named classes is
# ever imported or called, so the list can't do harm: it only lets a file pass.
ALLOWED: list[Any] = [
    # Lightning, in CompVis's and Stability's own files: the class of a callback is a key.
    (StandIn, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    (StandIn, "pytorch_lightning.callbacks.early_stopping.EarlyStopping"),
    # A subclass of dict: the settings of a model in old Lightning.
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
# The dtypes that a checkpoint may hold; safetensors can store all of them.
DTYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
    *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool),
)
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # the first bytes of files that torch.save writes


class PickleContents(NamedTuple):
    """The tensors of a file by name, and its other words and numbers as text."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_pickle(path: Path) -> PickleContents:
    """Read the tensors that torch.save wrote, mapped from disk if possible.

    For a Lightning checkpoint that is its state_dict, for A1111's embedding one tensor named
    emb_params. Raises ValueError for a file of another kind, a damaged one, or one that wants to
    run code; nothing in it is executed.
    """
    content = _load(path, mapped=_can_map(path))
    entries = content if isinstance(content, dict) else {}
    metadata = {str(k): str(v) for k, v in entries.items() if isinstance(v, str | int | float)}
    if "string_to_param" in entries:
        entries = {"emb_params": _find_vectors(path, entries["string_to_param"])}
    elif isinstance(entries.get("state_dict"), dict):
        entries = entries["state_dict"]
    tensors = {k: v for k, v in entries.items() if not isinstance(v, str | int | float)}
    for key, tensor in tensors.items():
        _check(path, key, tensor)
    if not tensors:
        raise ValueError(f"{as_given(path)} must hold tensors by name, found none")
    return PickleContents(_copy_shared(tensors), metadata)


def _load(path: Path, mapped: bool) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(ALLOWED):
            warnings.simplefilter("ignore")  # torch warns of old formats
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged pickle makes torch raise almost anything
        refused = re.search(r"GLOBAL (\S+) (?:was not|whose)", str(error))
        if refused:
            name = refused[1][:100]
            raise ValueError(
                f"{as_given(path)} asks for {name!r}, which is not on the list: not loaded"
            ) from None
        raise ValueError(f"{as_given(path)} is damaged, or not written by torch.save") from None


def _can_map(path: Path) -> bool:
    """Whether the file stores its tensors uncompressed; raises ValueError if it holds none."""
    with open(path, "rb") as file:
        start = file.read(64)
    if not start.startswith((ZIP, PICKLE)):
        raise ValueError(
            f"{as_given(path)} must be a file that torch.save wrote, got {_describe_start(start)}"
        )
    if start.startswith(PICKLE):
        return False  # the format before torch 1.6
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except Exception:  # zipfile raises almost anything too
        raise ValueError(f"{as_given(path)} is cut off or damaged") from None
    names = {Path(entry.filename).name for entry in entries}
    if "constants.pkl" in names:
        raise ValueError(f"{as_given(path)} is a TorchScript program, want a file of tensors")
    if "data.pkl" not in names:
        raise ValueError(f"{as_given(path)} is a zip archive without a checkpoint in it")
    # torch would map the bytes of a compressed archive as they are, and silently read noise.
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def _describe_start(start: bytes) -> str:
    if start == b"":
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer (git lfs pull brings the file)"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page"
    return "a safetensors file" if start[8:9] == b"{" else "a file of another kind"


def _find_vectors(path: Path, params: Any) -> Any:
    """The one tensor of string_to_param, a dict or (in files of its authors) a ParameterDict."""
    if isinstance(params, StandIn) and isinstance(params.state, dict):
        params = params.state.get("_parameters")
    if not isinstance(params, dict) or len(params) != 1:
        raise ValueError(f"{as_given(path)}: string_to_param must hold one embedding")
    return next(iter(params.values()))


def _check(path: Path, key: Any, tensor: Any) -> None:
    if not isinstance(key, str):
        raise ValueError(f"{as_given(path)} must hold tensors by name, got the key {key!r:.100}")
    if not isinstance(tensor, Tensor):
        kind = "no plain data" if isinstance(tensor, StandIn) else f"a {type(tensor).__name__}"
        raise ValueError(f"{as_given(path)}: {key!r:.100} must be a tensor, got {kind}")
    if tensor.layout != torch.strided or tensor.is_meta or tensor.dtype not in DTYPES:
        kind = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}"
        raise ValueError(f"{as_given(path)}: {key!r:.100} must be plain numbers, got {kind}")


def _copy_shared(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory, because safetensors can't store them; keep the others."""
    separate, storages = {}, set()
    for key, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        if tensor.untyped_storage().data_ptr() in storages:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        separate[key] = tensor
    return separate
