"""Converting checkpoints: folder to single LDM file and back, and pickles to safetensors."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mdp_lite_weights import folder as folders
from mdp_lite_weights import hub as hubs
from mdp_lite_weights.families import read_channels, refuse_channels
from mdp_lite_weights.files import (
    Checkpoint,
    Choices,
    as_checkpoint,
    find_file,
    locate,
    open_checkpoint,
)
from mdp_lite_weights.layouts import Contents, prediction_metadata, to_file, to_folder
from mdp_lite_weights.pickles import read_pickle
from mdp_lite_weights.single import from_tensors
from mdp_lite_weights.tensors import PICKLES, as_given, list_keys, read_metadata, read_tensors
from mdp_lite_weights.writing import nearest_folder, refuse_old, target_dtype, write_contents

Tensors = dict[str, Tensor]
AS_IT_IS = Choices()


@dataclass(frozen=True)
class Conversion:
    """What convert wrote, or would write: the layout, bytes of each weight file, and notes."""

    name: str
    out: Path
    layout: str  # "folder" or "single file"
    weights: dict[str, int]
    notes: tuple[str, ...]


def convert(
    name: str | Path,
    out: str | Path,
    dtype: torch.dtype | None = None,
    choices: Choices = AS_IT_IS,
    check: Callable[[Checkpoint], object] | None = None,
    progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
) -> Conversion:
    """Write a bundled name, folder, file or hub id as OUT: a .safetensors file or a new folder.

    From a file to a .safetensors file all keys are kept, whatever they are. Anything else must be a
    whole checkpoint, which check may refuse. OUT appears only when it is complete. dtype is for all
    floats in it. progress(done, total) is called with bytes. Raises ValueError before any work, and
    OSError with OUT as its filename if the disk is full, say; then nothing is left.
    """
    out = Path(out)
    _check_out(out)
    contents = _read_contents(name, out, dtype, choices, check)
    sizes = {path or out.name: _size(tensors, dtype) for path, tensors in contents.weights.items()}
    layout = "folder" if contents.configs else "single file"
    conversion = Conversion(str(name), out, layout, sizes, contents.notes)
    if not dry_run:
        write_contents(out, list(sizes.values()), contents, dtype, progress or _ignore)
    return conversion


def _ignore(done: int, total: int) -> None:
    """Show no progress."""


def _read_contents(
    name: str | Path,
    out: Path,
    dtype: torch.dtype | None,
    choices: Choices,
    check: Callable[[Checkpoint], object] | None,
) -> Contents:
    """What OUT will hold; no other reference to a tensor is kept, so it is freed once written."""
    single, file = out.suffix == ".safetensors", _find_file(name, choices)
    if file is not None and single:
        return _copy_contents(file, choices)
    checkpoint = _open(name, file, choices)
    if check is not None:
        check(checkpoint)
    return to_file(checkpoint, out) if single else to_folder(checkpoint, choices, dtype)


def _check_out(out: Path) -> None:
    """Raises ValueError if OUT exists or can't be written; leaves no trace."""
    if out.suffix in PICKLES:
        raise ValueError(f"want a folder or a .safetensors file to write, got {as_given(out)}")
    refuse_old(out)
    try:
        with tempfile.TemporaryFile(dir=nearest_folder(out)):
            pass
    except OSError as error:
        raise ValueError(f"{as_given(out)} can't be written: {error.strerror}") from None


def _find_file(name: str | Path, choices: Choices) -> Path | None:
    """The file that a name stands for, or None if it stands for a folder."""
    if not os.path.isfile(name) and not hubs.is_file(str(name)):
        return None
    file = find_file(name, choices.hub)
    if file.suffix not in (".safetensors", *PICKLES):
        kinds = ", ".join(PICKLES)
        raise ValueError(
            f"a file to convert must end in .safetensors, {kinds}, got {as_given(file)}"
        )
    return file


def _copy_contents(file: Path, choices: Choices) -> Contents:
    """All tensors of a file unchanged, with the metadata of its header or pickle."""
    if choices.ema:
        raise ValueError("ema chooses the UNet of a folder; a file to a file keeps all it holds")
    if file.suffix in PICKLES:
        tensors, metadata = read_pickle(file)
    else:
        tensors, metadata = read_tensors(file), read_metadata(file)
    if choices.prediction_type:
        metadata = metadata | prediction_metadata(choices.prediction_type)
    return Contents({"": tensors}, metadata, {}, {}, ())


def _open(name: str | Path, file: Path | None, choices: Choices) -> Checkpoint:
    """Like open_checkpoint, but reads pickles too."""
    if file is not None and file.suffix in PICKLES:
        return _open_pickle(file, choices)
    if file is not None:
        return open_checkpoint(file, choices)
    on_hub = hubs.is_repo(str(name))
    if on_hub:
        chosen = lambda names: _choose(names, choices.variant)  # noqa: E731
        folder = hubs.fetch_folder(str(name), choices.hub, chosen)
    else:
        folder = locate(name, choices)
    names = folders.list_names(folder)
    folders.check_variant(names, choices.variant, pickles=True)
    parts = folders.list_parts(names)
    weights = {part: _weights(part, names, choices.variant) for part in parts}
    if any(_is_pickle(files) for files in weights.values()):
        checkpoint = _open_pickles(folder, weights, choices)
    else:
        checkpoint = open_checkpoint(folder, choices)
    return (
        replace(checkpoint, name=str(name)) if on_hub else checkpoint
    )  # the folder's name is a commit


def _open_pickle(file: Path, choices: Choices) -> Checkpoint:
    """A whole LDM checkpoint in one pickle."""
    tensors, metadata = read_pickle(file)
    single = from_tensors(as_given(file), tensors, metadata, choices.ema, choices.prediction_type)
    return as_checkpoint(file, single)


def _open_pickles(folder: Path, weights: dict[str, list[str]], choices: Choices) -> Checkpoint:
    """A diffusers folder with pickled weights in some of its parts."""
    folders.check_index(folder)
    configs = {
        part: folders.read_json(folder / folders.CONFIGS[part]) for part in (*weights, "scheduler")
    }
    refuse_channels(f"the folder {folder.name}", *read_channels(configs["unet"]))
    if choices.prediction_type:
        configs["scheduler"]["prediction_type"] = choices.prediction_type
    if choices.ema:
        raise ValueError("ema is for single files: a folder holds one UNet")
    tensors = {}
    for part, files in weights.items():
        if _is_pickle(files):
            tensors[part] = folders.modern_keys(part, read_pickle(folder / files[0]).tensors)
        else:
            tensors[part] = folders.modern_keys(part, folders.read_weights(folder, files))
    beside = [folder / place for place in folders.TOKENIZERS]
    tokenizer, other = (place if place.is_dir() else None for place in beside)
    files = tuple(folder / name for names in weights.values() for name in names)
    return Checkpoint(
        folder.name, "folder", files, configs, tensors, tokenizer, folder=folder, tokenizer_2=other,
        zero_empty=folders.reads_zeros(folder, folders.SECOND in weights),
    )  # fmt: skip


def _is_pickle(files: list[str]) -> bool:
    return files[0].endswith(".bin")


def _choose(names: set[str], variant: str | None) -> list[str]:
    """The files of a repository to convert: pickles only if a part has nothing else."""
    wanted = [*folders.CONFIGS.values(), "model_index.json"]
    wanted += [f"{place}/{name}" for place in folders.TOKENIZERS for name in folders.TOKENIZER]
    chosen = [name for name in wanted if name in names]
    folders.check_variant(names, variant, pickles=True)
    for part in folders.list_parts(names):
        chosen += _weights(part, names, variant)
    return chosen


def _weights(part: str, names: set[str], variant: str | None) -> list[str]:
    """The weight files of a part: safetensors, or else the pickle that diffusers would write.

    A pickle of the variant goes before safetensors of another one.
    """
    pickle = folders.name_pickle(part, variant)
    if variant and pickle in names and not folders.has_variant(part, names, variant):
        return [pickle]
    try:
        return folders.weight_files(part, folders.ALL_STEMS[part], names, variant)
    except ValueError:
        plain = folders.name_pickle(part, None)
    for name in (plain, folders.name_pickle(part, "fp16")):
        if name in names:
            return [name]
    here = sorted(name.rpartition("/")[2] for name in names if name.startswith(f"{part}/"))
    want = f"{folders.ALL_STEMS[part]}.safetensors or {plain.rpartition('/')[2]}"
    raise ValueError(f"{part} must hold {want}, got{list_keys(here) or ' nothing'}")


def _size(tensors: Tensors, dtype: torch.dtype | None) -> int:
    """Bytes of the tensors as they will be written; no weight is read."""
    return sum(tensor.numel() * target_dtype(tensor, dtype).itemsize for tensor in tensors.values())
