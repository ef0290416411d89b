"""From a checkpoint on disk to models, strictly: all keys and shapes must be the model's."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdp_lite.checkpoint.advice import advise_dtype, choose_default, needs_wide_vae
from mdp_lite.checkpoint.assign import BuildOnMeta, assign_tensors, pause_gc
from mdp_lite.checkpoint.config_files import read_scheduler_config
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.checkpoint.identity import Origin, stat_files
from mdp_lite.checkpoint.kinds import Evidence, Wishes, find_kind_of
from mdp_lite.checkpoint.knowledge import Knowledge, split_settings
from mdp_lite.checkpoint.models import (
    TEXT_PARTS,
    Models,
    build_models,
    check_clip_skip,
    join_text,
)
from mdp_lite.checkpoint.tokenizer import Tokenizer, Tokenizers, load_tokenizer
from mdp_lite.checkpoint.words import learn_words
from mdp_lite.files.probe import describe, shorten
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.names import BadCheckpoint, CannotWrite, MdpError
from mdp_lite_weights import (
    Checkpoint,
    Choices,
    content_hash,
    find_file,
    find_second_tokenizer,
    find_tokenizer,
    open_checkpoint,
    replace_vae,
)
from mdp_lite_weights import Hub as AnyHub
from mdp_lite_weights.catalogue import CATALOGUE
from mdp_lite_weights.convert import Conversion
from mdp_lite_weights.convert import convert as convert_checkpoint
from mdp_lite_weights.embeddings import Embedding, read_bundle, read_embeddings
from mdp_lite_weights.files import OPENCLIP_PAD
from mdp_lite_weights.hub import is_repo, read_setup
from mdp_lite_weights.lora import Deltas, merge_deltas, read_loras

__all__ = [
    "CATALOGUE", "AddOns", "Checkpoint", "Choices", "Conversion", "Examined", "Hub",
    "Models", "Place", "content_hash", "convert", "examine", "is_repo", "load", "read_setup",
]  # fmt: skip

Tensors = dict[str, Tensor]
Place = str | Path  # on disk, or on the hub

TOKEN_TABLE = "text_model.embeddings.token_embedding.weight"  # the table that embeddings extend


@contextmanager
def bad_checkpoints() -> Iterator[None]:
    """Turn a ValueError of mdp_lite_weights, or an OSError about a file, into BadCheckpoint."""
    try:
        yield
    except MdpError:
        raise
    except ValueError as error:
        raise BadCheckpoint(str(error)) from error
    except OSError as error:
        if error.filename is None:  # not of a file
            raise
        place = shorten(os.fsdecode(error.filename))
        raise BadCheckpoint(f"{place} can't be read: {describe(error)}") from error


class Hub(AnyHub):
    """mdp_lite_weights.Hub, but a bad revision or token raises BadCheckpoint."""

    @bad_checkpoints()
    def __post_init__(self) -> None:
        super().__post_init__()


@dataclass(frozen=True)
class AddOns:
    """Additions to a checkpoint: another VAE, LoRAs with strengths, learned words.

    The word None of an embedding stands for the one in its file.
    """

    vae: Place | None = None
    loras: tuple[tuple[Place, float], ...] = ()
    embeddings: tuple[tuple[Place, str | None], ...] = ()


AS_IT_IS, ALONE = Choices(), AddOns()


@dataclass(frozen=True)
class Examined:
    """A checkpoint that can be loaded: configs read, keys and shapes checked, no weights read.

    The models are on the meta device. tokenizer is None if the checkpoint has none. vae lists the
    files of a VAE that replaces the checkpoint's.
    """

    found: Checkpoint
    vae: tuple[Path, ...]
    models: dict[str, Any]
    tokenizer: Tokenizer | Tokenizers | None
    scheduler: SchedulerConfig
    defaults: Defaults
    knowledge: Knowledge


@pause_gc()
@bad_checkpoints()
def examine(
    name: Place, choices: Choices = AS_IT_IS, vae: Place | None = None,
    loras: Sequence[tuple[Place, float]] = (),
) -> Examined:  # fmt: skip
    """Find a bundled name, folder, single file or hub id; raises BadCheckpoint if it can't load.

    loras with their strengths may make it a model of few steps; nothing else of them is read.
    """
    found, files = open_checkpoint(name, choices, own_vae=vae is None), []
    if vae is not None:
        found, files = replace_vae(found, vae, choices)
    read_scheduler_config(found.configs["scheduler"])  # refuses a bad one before other work
    own, knowledge = split_settings(found.defaults)
    models = build_models(found.name, found.configs, found.tensors, vae)
    check_clip_skip(choices.clip_skip, models)
    merged = tuple(find_file(place, choices.hub) for place, strength in loras if strength)
    kind = find_kind_of(
        Evidence(found.name, found.folder, found.files, found.configs["unet"], merged),
        found.configs, own,
        Wishes(choices.sampler, choices.timestep_spacing, choices.prediction_type),
    )  # fmt: skip
    scheduler = read_scheduler_config(kind.scheduler)
    found = replace(found, notes=found.notes + kind.notes)
    known = found.tokenizer or choices.tokenizer
    tokenizer = load_tokenizers(found, models, choices) if known else None
    return Examined(found, tuple(files), models, tokenizer, scheduler, kind.defaults, knowledge)


@pause_gc()
@bad_checkpoints()
def load(
    name: Place, device: torch.device, dtype: torch.dtype | None = None,
    choices: Choices = AS_IT_IS, addons: AddOns = ALONE,
    check: Callable[[Examined], None] = lambda examined: None,
    find_waiting: Callable[[Examined, torch.dtype], Collection[str]] = lambda examined, dtype: (),
) -> Models:  # fmt: skip
    """Examine a checkpoint, apply the add-ons and read the weights; see auto_dtype for the default.

    check may refuse the examined checkpoint, by raising, when no weight has been read yet.
    find_waiting names the parts whose weights stay on the CPU.
    """
    examined = examine(name, choices, addons.vae, addons.loras)
    check(examined)
    found, models = examined.found, examined.models
    dtype = dtype or choose_default(found.tensors, device)
    places = dict.fromkeys(find_waiting(examined, dtype), torch.device("cpu"))
    addons = find_files(addons, choices)
    bundled = [one for place, _ in addons.loras for one in read_bundle(Path(place))]
    tokenizer, growable, notes = examined.tokenizer, bool(addons.embeddings or bundled), ()
    if growable or not tokenizer:
        tokenizer = load_tokenizers(found, models, choices, growable)
    files = stat_files(list_files(examined, tokenizer, choices, addons))
    if growable:
        words = [one for place, w in addons.embeddings for one in read_embeddings(Path(place), w)]
        tokenizer, grown, notes = _add_words(tokenizer, examined, dtype, words, bundled)
        models |= grown
    notes += advise_dtype(found.tensors, models, dtype) if device.type == "cpu" else ()
    deltas, wide = read_deltas(models, addons), needs_wide_vae(found.configs, dtype)
    for part, model in models.items():
        merged = _merge_loras(deltas.get(part, {}), found.tensors[part])
        place, width = places.get(part, device), torch.float32 if part in wide else dtype
        assign_tensors(model, merged, place, width)
    return Models(
        found.name, found.folder, tokenizer=tokenizer, scheduler=examined.scheduler,
        defaults=examined.defaults, notes=(*found.notes, *notes, *wide.values()),
        origin=Origin(found.name, files, examined.scheduler, dtype, choices.clip_skip),
        zero_empty=found.zero_empty, clip_skip=choices.clip_skip, **join_text(models, tokenizer),
        knowledge=examined.knowledge.with_addons(bool(addons.loras), addons.vae is not None),
    )  # fmt: skip


@bad_checkpoints()
def convert(
    name: Place,
    out: str | Path,
    dtype: torch.dtype | None = None,
    choices: Choices = AS_IT_IS,
    progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
) -> Conversion:
    """Write a checkpoint, even a pickled one, as a folder or a single file.

    Raises BadCheckpoint for one that could not be loaded, and CannotWrite, which leaves nothing.
    progress(done, total) is called with bytes. See mdp_lite_weights.convert.
    """

    def check(found: Checkpoint) -> None:
        build_models(found.name, found.configs, found.tensors)
        read_scheduler_config(found.configs["scheduler"])

    try:
        return convert_checkpoint(name, out, dtype, choices, check, progress, dry_run)
    except OSError as error:
        ours = error.filename == str(out)  # else it is about what is read
        raise CannotWrite(error.errno, error.strerror, str(out)) if ours else error from None


def load_tokenizers(
    found: Checkpoint, models: dict[str, Any], choices: Choices, growable: bool = False
) -> Tokenizer | Tokenizers:
    """The tokenizer of a checkpoint, or both of one with two text encoders."""
    folder = find_tokenizer(choices.tokenizer, found, choices.hub)
    configs = [models[part].config for part in TEXT_PARTS if part in models]
    first = load_tokenizer(folder, configs[0], found.pad_token, growable)
    if len(configs) == 1:
        return first
    other = find_second_tokenizer(choices.tokenizer, found, choices.hub)
    pad = None if other else OPENCLIP_PAD
    return Tokenizers(first, load_tokenizer(other or folder, configs[1], pad, growable))


def find_files(addons: AddOns, choices: Choices) -> AddOns:
    """The same add-ons as files on disk; those on the hub are fetched."""
    return replace(
        addons,
        loras=tuple((find_file(place, choices.hub), s) for place, s in addons.loras),
        embeddings=tuple((find_file(place, choices.hub), w) for place, w in addons.embeddings),
    )


def list_files(
    examined: Examined, tokenizer: Tokenizer | Tokenizers, choices: Choices, addons: AddOns
) -> list[tuple[str, Path]]:
    """Every file that the models are loaded from, with its role."""
    found, folder = examined.found, examined.found.folder
    texts = [path for place in tokenizer.folders for path in sorted(place.iterdir())]
    texts = [path for path in texts if path.suffix in (".json", ".txt")]
    single = "the file, averaged" if choices.ema else "the file"
    return [
        *((p.relative_to(folder).as_posix() if folder else single, p) for p in found.files),
        *((f"vae {path.name}", path) for path in examined.vae),
        *((f"tokenizer {path.name}", path) for path in texts),
        *((f"lora {strength!r}", Path(place)) for place, strength in addons.loras),
        *((f"word {w or Path(place).stem}", Path(place)) for place, w in addons.embeddings),
    ]


def _add_words(
    tokenizer: Tokenizer | Tokenizers,
    examined: Examined,
    dtype: torch.dtype,
    words: list[Embedding],
    bundled: list[Embedding],
) -> tuple[Tokenizer | Tokenizers, dict[str, CLIPTextEncoder], tuple[str, ...]]:
    """Tokenizer and text encoders, extended by words; notes on those that came with LoRAs."""
    configs = {part: examined.models[part].config for part in TEXT_PARTS if part in examined.models}
    new, beside = ([(one.token, _list_vectors(one)) for one in some] for some in (words, bundled))
    learned, notes = learn_words(tokenizer, new, beside, list(configs.values()))
    encoders = {}
    for (part, config), rows in zip(configs.items(), learned.rows, strict=True):
        tensors = examined.found.tensors[part]
        tensors[TOKEN_TABLE] = torch.cat([tensors[TOKEN_TABLE].to(dtype), rows.to(dtype)])
        with BuildOnMeta():
            grown = replace(config, vocab_size=config.vocab_size + len(rows))
            encoders[part] = CLIPTextEncoder(grown)
    return learned.tokenizer, encoders, notes


def _list_vectors(one: Embedding) -> list[Tensor]:
    return [one.vectors] if one.second is None else [one.vectors, one.second]


def read_deltas(models: dict[str, nn.Module], addons: AddOns) -> Deltas:
    """Read what the LoRAs add to each weight, in the order of the files."""
    if not addons.loras:
        return {}
    shapes = {
        part: {key: tensor.shape for key, tensor in models[part].named_parameters()}
        for part in (*TEXT_PARTS, "unet")
        if part in models
    }
    return read_loras([(Path(place), strength) for place, strength in addons.loras], shapes)


def _merge_loras(deltas: dict[str, list[Any]], tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Yield each tensor with its LoRAs added, and remove it from tensors."""
    for key in list(tensors):
        tensor, found = tensors.pop(key), deltas.pop(key, [])
        yield key, merge_deltas(tensor, found) if found else tensor
