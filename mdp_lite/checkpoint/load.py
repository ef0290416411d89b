"""From a checkpoint on disk to models, strictly: every key must find its place and its shape."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdp_lite.checkpoint.assign import auto_dtype, check_tensors, fill, quick, weightless
from mdp_lite.checkpoint.config_files import (
    read_clip_config,
    read_scheduler_config,
    read_unet_config,
    read_vae_config,
)
from mdp_lite.checkpoint.defaults import Defaults, choose_defaults
from mdp_lite.checkpoint.identity import Origin, used
from mdp_lite.checkpoint.tokenizer import Tokenizer, learn, load_tokenizer
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.config import CLIPConfig, SchedulerConfig, UNetConfig, VAEConfig
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from mdp_lite.names import BadCheckpoint
from mdp_lite_weights import (
    Checkpoint,
    Choices,
    Hub,
    content_hash,
    find_file,
    find_tokenizer,
    open_checkpoint,
    open_vae,
)
from mdp_lite_weights.catalogue import CATALOGUE
from mdp_lite_weights.convert import Conversion
from mdp_lite_weights.convert import convert as convert_checkpoint
from mdp_lite_weights.embeddings import read_embedding
from mdp_lite_weights.lora import Deltas, merged, read_loras

__all__ = [
    "CATALOGUE",
    "AddOns",
    "Checkpoint",
    "Choices",
    "Conversion",
    "Examined",
    "Hub",
    "Models",
    "Place",
    "content_hash",
    "convert",
    "examine",
    "load",
]

Tensors = dict[str, Tensor]
Place = str | Path  # on disk, or on the hub

TOKENS = "text_model.embeddings.token_embedding.weight"  # the table that embeddings add rows to


@dataclass(frozen=True)
class AddOns:
    """What is put on top of a checkpoint: another VAE, LoRAs with strengths, learned words.

    An embedding's word is that of its file where None is given.
    """

    vae: Place | None = None
    loras: tuple[tuple[Place, float], ...] = ()
    embeddings: tuple[tuple[Place, str | None], ...] = ()


AS_IT_IS, ALONE = Choices(), AddOns()


@dataclass(frozen=True)
class Models:
    """The parts of a Stable Diffusion checkpoint, ready to run, and never changed after.

    notes are sentences on what the checkpoint left open and was inferred.
    """

    name: str
    folder: Path | None
    text_encoder: CLIPTextEncoder
    unet: UNet
    vae: VAE
    tokenizer: Tokenizer
    scheduler: SchedulerConfig
    defaults: Defaults
    notes: tuple[str, ...]
    origin: Origin


@dataclass(frozen=True)
class Examined:
    """A checkpoint that would load: configs read, keys and shapes checked, no weight read yet.

    The models lie on the meta device; tokenizer is None where the checkpoint brings none; vae has
    the files of one that is put on top.
    """

    found: Checkpoint
    vae: tuple[Path, ...]
    models: dict[str, Any]
    tokenizer: Tokenizer | None
    scheduler: SchedulerConfig
    defaults: Defaults


@quick()
def examine(name: Place, choices: Choices = AS_IT_IS, vae: Place | None = None) -> Examined:
    """Find a bundled name, folder, single file or hub id; what does not fit is a ValueError."""
    found, files = open_checkpoint(name, choices), []
    if vae is not None:
        found.configs["vae"], found.tensors["vae"], files = open_vae(vae, choices)
    scheduler = read_scheduler_config(found.configs["scheduler"])
    defaults = choose_defaults(found.defaults, scheduler)
    config = read_clip_config(found.configs["text_encoder"])
    models = _checked(found, config, vae)
    brings = found.tokenizer or choices.tokenizer
    tokenizer = _tokenizer(found, config, choices) if brings else None
    return Examined(found, tuple(files), models, tokenizer, scheduler, defaults)


@quick()
def load(
    name: Place,
    device: torch.device,
    dtype: torch.dtype | None = None,
    choices: Choices = AS_IT_IS,
    addons: AddOns = ALONE,
) -> Models:
    """Examine a checkpoint, put the add-ons on top and read the weights.

    Without a dtype the checkpoint's own is taken, if the device computes in it (see auto_dtype).
    """
    seen = examine(name, choices, addons.vae)
    found, models = seen.found, seen.models
    dtype = dtype or auto_dtype(device, found.tensors["unet"])
    tokenizer, grows = seen.tokenizer, bool(addons.embeddings)
    if grows or not tokenizer:
        tokenizer = _tokenizer(found, models["text_encoder"].config, choices, grows)
    addons = replace(
        addons,
        loras=tuple((find_file(place, choices.hub), s) for place, s in addons.loras),
        embeddings=tuple((find_file(place, choices.hub), w) for place, w in addons.embeddings),
    )
    files = used(_roles(seen, tokenizer, choices, addons))
    if addons.embeddings:
        tokenizer, models["text_encoder"] = _learned(tokenizer, seen, dtype, addons)
    deltas = _deltas(models, addons)
    for part, model in models.items():
        fill(model, _with(deltas.get(part, {}), found.tensors[part]), device, dtype)
    return Models(
        found.name, found.folder, tokenizer=tokenizer, scheduler=seen.scheduler,
        defaults=seen.defaults, notes=found.notes,
        origin=Origin(found.name, files, seen.scheduler, dtype), **models,
    )  # fmt: skip


def convert(
    name: Place,
    out: str | Path,
    dtype: torch.dtype | None = None,
    choices: Choices = AS_IT_IS,
    progress: Callable[[int, int], None] | None = None,
    dry_run: bool = False,
) -> Conversion:
    """Write a checkpoint as a folder or a single file, pickles too; one that would not load is not.

    See mdp_lite_weights.convert. progress takes bytes done and in all.
    """

    def check(found: Checkpoint) -> None:
        _checked(found, read_clip_config(found.configs["text_encoder"]))
        read_scheduler_config(found.configs["scheduler"])

    return convert_checkpoint(name, out, dtype, choices, check, progress, dry_run)


def _checked(found: Checkpoint, text: CLIPConfig, vae: Place | None = None) -> dict[str, Any]:
    """The three models without memory, whose every key and shape the checkpoint has."""
    unet = read_unet_config(found.configs["unet"])
    decoder = read_vae_config(found.configs["vae"])
    _check_fit(text, unet, decoder)
    with weightless():
        models = {"text_encoder": CLIPTextEncoder(text), "unet": UNet(unet), "vae": VAE(decoder)}
    for part, model in models.items():
        place = vae if part == "vae" and vae is not None else found.name
        check_tensors(f"{Path(place).name}, {part}", model, found.tensors[part])
    return models


def _tokenizer(
    found: Checkpoint, config: CLIPConfig, choices: Choices, grows: bool = False
) -> Tokenizer:
    folder = find_tokenizer(choices.tokenizer, found, choices.hub)
    return load_tokenizer(folder, config, found.pad_token, grows)


def _roles(
    seen: Examined, tokenizer: Tokenizer, choices: Choices, addons: AddOns
) -> list[tuple[str, Path]]:
    """Every file that the models are made of, with what it is to them."""
    found, at = seen.found, seen.found.folder
    words = Path(tokenizer.clip.name_or_path)
    texts = [path for path in sorted(words.iterdir()) if path.suffix in (".json", ".txt")]
    alone = "the file, averaged" if choices.ema else "the file"
    return [
        *((path.relative_to(at).as_posix() if at else alone, path) for path in found.files),
        *((f"vae {path.name}", path) for path in seen.vae),
        *((f"tokenizer {path.name}", path) for path in texts),
        *((f"lora {strength!r}", Path(place)) for place, strength in addons.loras),
        *((f"word {w or Path(place).stem}", Path(place)) for place, w in addons.embeddings),
    ]


def _learned(
    tokenizer: Tokenizer, seen: Examined, dtype: torch.dtype, addons: AddOns
) -> tuple[Tokenizer, CLIPTextEncoder]:
    """Tokenizer and text encoder, its table grown by the words that textual inversion taught."""
    config, tensors = seen.models["text_encoder"].config, seen.found.tensors["text_encoder"]
    found = [read_embedding(Path(place), word) for place, word in addons.embeddings]
    tokenizer, rows = learn(tokenizer, found, config)
    tensors[TOKENS] = torch.cat([tensors[TOKENS].to(dtype), rows.to(dtype)])
    with weightless():
        grown = CLIPTextEncoder(replace(config, vocab_size=config.vocab_size + len(rows)))
    return tokenizer, grown


def _deltas(models: dict[str, nn.Module], addons: AddOns) -> Deltas:
    """What the LoRAs add to each weight, in the order they are given."""
    if not addons.loras:
        return {}
    shapes = {
        part: {key: tensor.shape for key, tensor in models[part].named_parameters()}
        for part in ("text_encoder", "unet")
    }
    return read_loras([(Path(place), strength) for place, strength in addons.loras], shapes)


def _with(deltas: dict[str, list[Any]], tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    """Each tensor with what LoRAs add to it, dropped from tensors as it is handed on."""
    for key in list(tensors):
        tensor = tensors.pop(key)
        yield key, merged(tensor, deltas[key]) if key in deltas else tensor


def _check_fit(text: CLIPConfig, unet: UNetConfig, vae: VAEConfig) -> None:
    if unet.in_channels != vae.latent_channels or unet.out_channels != vae.latent_channels:
        raise BadCheckpoint(
            f"unet must read and write the vae's {vae.latent_channels} channels, "
            f"got {unet.in_channels} and {unet.out_channels}"
        )
    if unet.cross_attention_dim != text.hidden_size:
        raise BadCheckpoint(
            f"unet attends to width {unet.cross_attention_dim}, text encoder has {text.hidden_size}"
        )
