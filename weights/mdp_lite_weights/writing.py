"""Writing checkpoints: beside OUT, then renamed, so that OUT appears only when it is whole."""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mdp_lite_weights.layouts import Contents
from mdp_lite_weights.tensors import as_given

ENDING = ".mdp-lite.tmp"  # of the folder that a killed process leaves behind
MAX_STEM = 100  # bytes of OUT's name in that folder's name


def refuse_old(out: Path) -> None:
    """Raise ValueError if there is something already."""
    if os.path.lexists(out):
        raise ValueError(f"{as_given(out)} exists already: want a new name to write")


def nearest_folder(out: Path) -> Path:
    """The folder in which OUT will be, or the nearest above it that exists."""
    return next(parent for parent in out.absolute().parents if parent.exists())


def write_contents(
    out: Path,
    sizes: Sequence[int],
    contents: Contents,
    dtype: torch.dtype | None,
    progress: Callable[[int, int], None],
) -> None:
    """Write all of it beside OUT and rename it to OUT when it is complete.

    sizes are those of the weight files in bytes. Raises OSError with OUT as its filename; then
    nothing is left.
    """
    done, total = 0, sum(sizes)
    try:
        if shutil.disk_usage(nearest_folder(out)).free < total:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(ENDING, f".{_cut(out.name)}.", out.parent) as temporary:
            whole = Path(temporary) / out.name
            _write_small(whole, contents)
            for path, size in zip(list(contents.weights), sizes, strict=True):
                tensors = contents.weights.pop(path)
                _write_weights(whole / path, tensors, contents.metadata, dtype)
                done += size
                progress(done, total)
            for path in [one for one in (whole, *whole.rglob("*")) if one.is_file()]:
                _sync(path)
            refuse_old(out)
            whole.rename(out)
    except (OSError, SafetensorError) as error:
        raise _name_file(error, out) from None


def _cut(name: str) -> str:
    """The start of a name, so that a longer one made of it is not too long for a file system."""
    return os.fsencode(name)[:MAX_STEM].decode("utf-8", "ignore")


def _name_file(error: OSError | SafetensorError, out: Path) -> OSError:
    """The error with OUT as its file; safetensors has the number of an error in its text alone."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror or str(error), str(out))
    number = re.search(r"os error (\d+)", str(error))
    if number is None:
        return OSError(errno.EIO, str(error), str(out))
    return OSError(int(number[1]), os.strerror(int(number[1])), str(out))


def _sync(path: Path) -> None:
    """Wait until a file is on the disk: some errors show only then."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system can't wait
            raise
    finally:
        os.close(descriptor)


def _write_weights(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], dtype: torch.dtype | None
) -> None:
    """Write one file; mapped tensors are written from the map, cast ones are in memory once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    mode = path.stat().st_mode  # like any new file; safetensors would let only its owner read it
    ready = {key: _cast(key, tensors.pop(key), dtype) for key in list(tensors)}
    save_file(ready, path, metadata or None)
    path.chmod(mode)


def _write_small(whole: Path, contents: Contents) -> None:
    """Write all but the weights."""
    for path, config in contents.configs.items():
        (whole / path).parent.mkdir(parents=True, exist_ok=True)
        (whole / path).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    for path, source in contents.copies.items():
        (whole / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, whole / path)


def target_dtype(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """The dtype to write: the requested one for floats; whole numbers keep theirs."""
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype


def _cast(key: str, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    cast = tensor.to(target_dtype(tensor, dtype)).contiguous()
    if cast.dtype != tensor.dtype and cast.isinf().any() and not tensor.double().isinf().any():
        raise ValueError(f"{key} has values that {dtype} can't hold: choose another dtype")
    return cast
