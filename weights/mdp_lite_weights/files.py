"""Finding a checkpoint in any form, and reading its configs and tensors."""

import hashlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mdp_lite_weights import folder as folders
from mdp_lite_weights import hub as hubs
from mdp_lite_weights import taesd
from mdp_lite_weights.families import SCALES, SD1, SD2, SDXL, read_channels, refuse_channels
from mdp_lite_weights.hub import Hub
from mdp_lite_weights.single import SingleFile, read_single, read_vae
from mdp_lite_weights.tensors import PICKLES, check_file, read_tensors, refuse_pickle, short

BUNDLED = {name: Path(__file__).with_name(name) for name in ("tiny", "small")}
# Single files hold no tokenizer; OpenAI's is right for all of SD 1.x, 2.x and XL.
TOKENIZER = "openai/clip-vit-large-patch14"
OPENCLIP_PAD = "!"  # what SD 2.x and SDXL's second text encoder pad with: token 0


@dataclass(frozen=True)
class Choices:
    """Choices that a checkpoint leaves to the caller.

    variant names a folder's weight files ("fp16"), ema takes the averaged UNet of a single file,
    prediction_type overrides the checkpoint's, tokenizer is one for a single file. clip_skip is how
    many more of the text encoders' last layers are left out than the checkpoint's family does.
    sampler and timestep_spacing are those of a model of few steps, which mdp_lite infers else.
    """

    variant: str | None = None
    ema: bool = False
    prediction_type: str | None = None
    tokenizer: str | Path | None = None
    hub: Hub = field(default_factory=Hub)
    clip_skip: int = 0
    sampler: str | None = None
    timestep_spacing: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: configs (the scheduler's too) and mapped tensors, by part.

    files are all files that were read. notes are sentences on what was inferred. tokenizer is None
    if only the hub has one; pad_token is the token that it must pad with. tokenizer_2 is that of a
    second text encoder. zero_empty: an empty negative prompt stands for zeros.
    """

    name: str
    layout: str  # "folder" or "single file"
    files: tuple[Path, ...]
    configs: dict[str, dict[str, Any]]
    tensors: dict[str, dict[str, Tensor]]
    tokenizer: Path | None
    pad_token: str | None = None
    folder: Path | None = None
    defaults: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tokenizer_2: Path | None = None
    zero_empty: bool = False


AS_IT_IS = Choices()


def open_checkpoint(
    name: str | Path, choices: Choices = AS_IT_IS, own_vae: bool = True
) -> Checkpoint:
    """Read the configs and map the tensors of a bundled name, folder, file or hub id.

    Without own_vae another VAE replaces the checkpoint's: it need not hold one, and none is read.
    """
    path = locate(name, choices, own_vae)
    if path.is_file():
        return _open_single(path, choices, own_vae)
    checkpoint = _open_folder(path, choices, own_vae)
    if hubs.is_repo(str(name)) and not os.path.isdir(name):
        checkpoint = replace(checkpoint, name=str(name))  # the snapshot folder's name is a commit
    if choices.ema:
        raise ValueError("ema is for single files: a folder holds one UNet")
    if choices.prediction_type:
        checkpoint.configs["scheduler"]["prediction_type"] = choices.prediction_type
    return checkpoint


def locate(name: str | Path, choices: Choices = AS_IT_IS, own_vae: bool = True) -> Path:
    """The folder or file that a name stands for; one on the hub is fetched."""
    bundled = {known: folder for known, folder in BUNDLED.items() if folder.is_dir()}
    if isinstance(name, str) and name in bundled:
        return bundled[name]
    want = (
        f"a model must be one of {', '.join(bundled)}, a folder, a .safetensors file "
        'or a hub id like "org/name"'
    )
    if not isinstance(name, str | Path) or str(name) == "":
        raise ValueError(f"{want}, got {name!r}")
    if os.path.isdir(name):
        return Path(name)
    if os.path.isfile(name):
        return _check_model_file(Path(name))
    if hubs.is_file(str(name)):
        refuse_pickle(Path(name))  # before it is fetched
        return _check_model_file(hubs.fetch_file(str(name), choices.hub))
    if hubs.is_repo(str(name)):
        variant = choices.variant
        choose = lambda names: folders.choose_files(  # noqa: E731
            names, variant, folders.list_parts(names, own_vae)
        )
        return hubs.fetch_folder(str(name), choices.hub, choose)
    lacks = ", whose folder is not in this installation" if name in BUNDLED else ""
    raise ValueError(f"{want}, got {str(name)[:200]!r}{lacks}")


def find_file(name: str | Path, hub: Hub) -> Path:
    """A LoRA's or an embedding's file, on disk or on the hub as org/name/file.safetensors."""
    if os.path.isfile(name):
        return Path(name)
    if hubs.is_file(str(name)):
        return hubs.fetch_file(str(name), hub)
    raise ValueError(f"want a .safetensors file or org/name/file.safetensors, got {str(name)!r}")


def open_vae(
    name: str | Path, choices: Choices
) -> tuple[dict[str, Any], dict[str, Tensor], list[Path]]:
    """Config, tensors and files of a VAE from a folder, a file or a hub id, alone or in a model."""
    if os.path.isfile(name) or hubs.is_file(str(name)):
        path = find_file(name, choices.hub)
        if not taesd.is_half(read_tensors(path)):
            return *read_vae(path), [path]
        pair = taesd.find_pair(_fetch_other_half(name, path, choices.hub))
        return *taesd.read_pair(pair), pair
    variant = choices.variant
    if not os.path.isdir(name) and hubs.is_repo(str(name)):
        chosen = lambda names: (  # noqa: E731
            taesd.choose_files(names) or folders.choose_part("vae", names, variant)
        )
        name = hubs.fetch_folder(str(name), choices.hub, chosen)
    if not os.path.isdir(name):
        got = repr(str(name))
        raise ValueError(f"vae must be a folder, a .safetensors file or a hub id, got {got}")
    pair = [Path(name) / one for one in taesd.choose_files(folders.list_names(Path(name)))]
    if pair:
        return *taesd.read_pair(pair), pair
    return folders.read_part(Path(name), "vae", variant)


def _fetch_other_half(name: str | Path, path: Path, hub: Hub) -> Path:
    """The file of one half of a TAESD, with the other half beside it if it is on the hub."""
    pair = None if os.path.isfile(name) else taesd.name_pair(path.name)
    for half in pair or ():
        hubs.fetch_file(str(name).removesuffix(path.name) + half, hub)
    return path


def replace_vae(
    checkpoint: Checkpoint, name: str | Path, choices: Choices
) -> tuple[Checkpoint, list[Path]]:
    """A checkpoint with another VAE, and that one's files.

    Notes tell if it lacks the variant, and how latents are scaled if its file does not say so.
    """
    config, tensors, files = open_vae(name, choices)
    notes, alone = [], all(path.suffix != ".json" for path in files)
    if config.get("_class_name") == taesd.CLASS:
        note = taesd.describe_family(str(name), folders.SECOND in checkpoint.configs)
        notes += [note] if note else []
    elif alone:  # no config came with it
        scale = config.setdefault("scaling_factor", _find_scale(checkpoint))
        notes.append(f"the other VAE is a file: latents are scaled by {scale}")
    variant = None if alone else choices.variant
    if variant and not any(f".{variant}" in path.name for path in files):
        notes.append(f"variant {variant}: the other VAE has none, {files[-1].name} is read")
    checkpoint = replace(
        checkpoint,
        configs=checkpoint.configs | {"vae": config},
        tensors=checkpoint.tensors | {"vae": tensors},
        notes=(*checkpoint.notes, *notes),
    )
    return checkpoint, files


def _find_scale(checkpoint: Checkpoint) -> float:
    """By what a checkpoint multiplies latents: by its VAE's config, else by its family."""
    family = SDXL if folders.SECOND in checkpoint.configs else SD1
    config = checkpoint.folder / folders.CONFIGS["vae"] if checkpoint.folder else None
    if config is None or not config.is_file():
        return SCALES[family]
    own = folders.read_json(config)
    if own.get("_class_name") == taesd.CLASS:  # whose own scale says nothing of the latents
        return SCALES[family]
    return own.get("scaling_factor", SCALES[SD1])  # diffusers' default


def find_tokenizer(name: str | Path | None, checkpoint: Checkpoint, hub: Hub) -> Path:
    """The folder of the tokenizer: the given one, the checkpoint's, or the one on the hub."""
    if name is None and checkpoint.tokenizer is not None:
        return checkpoint.tokenizer
    if name is not None and os.path.isdir(name):
        return _inside(Path(name), "tokenizer") or Path(name)
    if name is not None and not hubs.is_repo(str(name)):
        raise ValueError(f"tokenizer must be a folder or a hub id, got {str(name)!r}")
    try:
        root = hubs.fetch_folder(str(name or TOKENIZER), hub, _choose_tokenizer)
        return _inside(root, "tokenizer") or root
    except ValueError as error:
        raise ValueError(
            f"{checkpoint.name} holds no tokenizer (single files don't): give a folder with one "
            f"as tokenizer=; from the hub: {error}"
        ) from None


def find_second_tokenizer(name: str | Path | None, checkpoint: Checkpoint, hub: Hub) -> Path | None:
    """The folder of the second text encoder's tokenizer; None if the first one is for both.

    It is tokenizer_2 inside the given folder or hub id, else the checkpoint's.
    """
    own = checkpoint.tokenizer_2
    if name is None:
        return own
    root = Path(name)
    if not root.is_dir():
        root = hubs.fetch_folder(str(name), hub, _choose_tokenizer)
    return _inside(root, "tokenizer_2") or own


def content_hash(files: tuple[Path, ...]) -> str:
    """SHA-256 of a single file, or of the names and hashes of a folder's files."""
    sums = []
    for path in files:
        with open(path, "rb") as file:
            sums.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(files) == 1:
        return sums[0]
    lines = sorted(f"{total}  {short(path)}\n" for total, path in zip(sums, files, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _open_folder(folder: Path, choices: Choices, own_vae: bool) -> Checkpoint:
    names, tensors, variant = folders.list_names(folder), {}, choices.variant
    parts = folders.list_parts(names, own_vae)
    folders.check_index(folder)
    configs = {
        part: folders.read_json(folder / folders.CONFIGS[part]) for part in (*parts, "scheduler")
    }
    refuse_channels(f"the folder {folder.name}", *read_channels(configs["unet"]))
    tokenizers = folders.find_tokenizers(folder, parts, choices.tokenizer is None)
    files = tuple(folder / name for name in folders.choose_files(names, variant, parts))
    for part in parts:
        chosen = folders.weight_files(part, folders.ALL_STEMS[part], names, variant)
        tensors[part] = folders.modern_keys(part, folders.read_weights(folder, chosen))
    notes = tuple(folders.describe_choice(names, variant, parts))
    own = folder / folders.DEFAULTS
    defaults = folders.read_json(own) if own.exists() else {}
    return Checkpoint(
        folder.name, "folder", files, configs, tensors, tokenizers.get("tokenizer"), None, folder,
        defaults, notes, tokenizers.get("tokenizer_2"),
        folders.reads_zeros(folder, folders.SECOND in parts),
    )  # fmt: skip


def _open_single(path: Path, choices: Choices, own_vae: bool) -> Checkpoint:
    return as_checkpoint(path, read_single(path, choices.ema, choices.prediction_type, own_vae))


def as_checkpoint(path: Path, single: SingleFile) -> Checkpoint:
    """What a single file holds, with the tokenizers that lie beside it."""
    beside = [path.parent / place for place in folders.TOKENIZERS]
    tokenizer, other = (place if place.is_dir() else None for place in beside)
    pad = OPENCLIP_PAD if single.family == SD2 else None
    return Checkpoint(
        path.name, "single file", (path,), single.configs, single.tensors, tokenizer, pad,
        notes=single.notes, tokenizer_2=other if single.family == SDXL else None,
        zero_empty=single.zero_empty,
    )  # fmt: skip


def _check_model_file(path: Path) -> Path:
    if path.suffix not in (".safetensors", *PICKLES):
        raise ValueError(f"a model file must end in .safetensors, got {short(path)}")
    check_file(path)
    return path


def _inside(root: Path, place: str) -> Path | None:
    """The folder of this name inside another one, if it is there."""
    return root / place if (root / place).is_dir() else None


def _choose_tokenizer(names: set[str]) -> list[str]:
    """The files of a repository that is a tokenizer, or of the tokenizers inside a model."""
    alone = "vocab.json" in names or "tokenizer.json" in names
    places = [""] if alone else [f"{place}/" for place in folders.TOKENIZERS]
    return [at + name for at in places for name in folders.TOKENIZER if at + name in names]
