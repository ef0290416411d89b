"""The models that a service or a page may load: what options or a file say of each, and its facts.

The facts come from configs and headers, so that memory is counted before a weight is read.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mdp_lite.checkpoint.advice import choose_default, needs_wide_vae
from mdp_lite.checkpoint.before_load import check_loras, find_origin
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.checkpoint.identity import Origin
from mdp_lite.checkpoint.knowledge import Knowledge
from mdp_lite.checkpoint.load import AddOns, Examined, examine
from mdp_lite.cli.loading import open_editor, read_choices
from mdp_lite.cli.model_options import (
    CheckpointOptions,
    ClusterEngineOptions,
    EngineOptions,
    ModelOptions,
)
from mdp_lite.cli.values import read_lora
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.abilities import find_family

Loras = Sequence[tuple[str, float]]  # files and weights
ENDING = ".safetensors"
ALIAS = r"[\w.:/@+-]{1,128}"
TEXTS = ("alias", "model", "revision", "dtype", "model_variant", "vae")
KEYS = (*TEXTS, "aliases", "lora", "pinned")  # of a model in a file


class ModelSummary(NamedTuple):
    """What is known of a model without its weights; bytes are those of its weights in memory."""

    family: str
    size: tuple[int, int]  # (width, height) in pixels
    parameters: int
    bytes: int
    dtype: str
    defaults: Defaults
    origin: Origin
    device: torch.device
    knowledge: Knowledge


@dataclass(frozen=True)
class ModelSpec:
    """A model that a service may load. Clients know it by its alias, or by another of its names.

    A pinned one is loaded at the start and stays.
    """

    alias: str
    model: ModelOptions
    engine: EngineOptions | ClusterEngineOptions = EngineOptions()
    more_aliases: tuple[str, ...] = ()
    is_pinned: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """All its names; the first is the alias."""
        return self.alias, *self.more_aliases

    def load(self, loras: Loras = ()) -> Editor:
        """The model with these LoRAs merged after its own."""
        return open_editor(replace(self.model, lora=(*self.model.lora, *loras)), self.engine)

    def examine(self) -> Examined:
        """Its configs and headers. Raises BadCheckpoint if it can't be loaded."""
        own = self.model
        return examine(own.name, read_choices(own.checkpoint), own.vae, own.lora)

    def check_loras(self, loras: Loras) -> None:
        """Raise BadCheckpoint for a LoRA that does not fit, before any weight is read."""
        check_loras(self.examine(), [(Path(file), weight) for file, weight in loras])

    def read_facts(self) -> ModelSummary:
        """What its configs and headers say."""
        examined, device = self.examine(), check.device(self.model.device)
        found = examined.found
        dtype = check.dtype(self.model.dtype) or choose_default(found.tensors, device)
        addons = AddOns(self.model.vae, tuple(self.model.lora), tuple(self.model.embedding))
        origin = find_origin(examined, dtype, read_choices(self.model.checkpoint), addons)
        wide = needs_wide_vae(found.configs, dtype)
        counts = {
            part: sum(one.numel() for one in model.parameters())
            for part, model in examined.models.items()
        }
        width = lambda part: 4 if part in wide else dtype.itemsize  # noqa: E731
        size = sum(count * width(part) for part, count in counts.items())
        unet, factor = examined.models["unet"].config, examined.models["vae"].config.factor
        y, x = unet.latent_size
        return ModelSummary(
            find_family(unet), (x * factor, y * factor), sum(counts.values()), size,
            _name_dtype(dtype), examined.defaults, origin, device,
            examined.knowledge.with_addons(bool(addons.loras), addons.vae is not None),
        )  # fmt: skip


def read_editor_facts(editor: Editor) -> ModelSummary:
    """The same of a loaded model."""
    models = editor.models
    weights = [
        one for part in (models.text_encoder, models.unet, models.vae) for one in part.parameters()
    ]
    return ModelSummary(
        find_family(models.unet.config), editor.runner.size, sum(one.numel() for one in weights),
        sum(one.nbytes for one in weights), _name_dtype(models.origin.dtype), models.defaults,
        models.origin, editor.device, models.knowledge,
    )  # fmt: skip


def read_specs(
    texts: Sequence[str], file: Path | None, base: ModelOptions, engine: Any
) -> tuple[ModelSpec, ...]:
    """The models of --serve-model ALIAS=MODEL and of --models, a file or folder. Raises BadInput.

    They have the device, the cache and the engine of the first model, base.
    """
    found, common = [], share_options(base)
    for one in texts:
        alias, equals, name = one.partition("=")
        if not (alias and equals and name):
            raise BadInput(f"serve-model must be ALIAS=MODEL, got {one!r}")
        found.append(ModelSpec(alias, replace(common, name=name), engine))
    if file is not None and file.is_dir():
        return (*found, *list_folder(file, common, engine))
    tables = [] if file is None else _read_tables(file)
    return (*found, *(_read_table(one, common, engine) for one in tables))


def share_options(base: ModelOptions) -> ModelOptions:
    """What further models have of the options of the first."""
    return ModelOptions(
        device=base.device, cache=base.cache, gpu=base.gpu,
        checkpoint=CheckpointOptions(offline=base.checkpoint.offline),
    )  # fmt: skip


def list_folder(folder: Path, common: ModelOptions, engine: Any) -> list[ModelSpec]:
    """The models of a folder: its folders in the diffusers layout, and its .safetensors files.

    Their aliases are their file names. Raises BadInput for a folder without one.
    """
    found = [
        one for one in sorted(folder.iterdir())
        if (one / "model_index.json").is_file() or (one / "unet").is_dir()
        or (one.suffix == ENDING and one.is_file())
    ]  # fmt: skip
    if not found:
        want = f"have model folders or {ENDING} files"
        raise BadInput(f"models must {want}, got none in {str(folder)!r}")
    return [ModelSpec(choose_alias(one), replace(common, name=str(one)), engine) for one in found]


def choose_alias(name: str | Path) -> str:
    """A short name for a model: a hub id itself, or the name of its folder or file."""
    path = Path(name)
    is_file = path.exists() or len(path.parts) != 2
    text = path.name.removesuffix(ENDING) if is_file else str(name)
    return re.sub(r"[^\w.:/@+-]", "-", text, flags=re.ASCII)[:128] or "model"


def read_named_models(texts: Sequence[str]) -> list[tuple[str, str]]:
    """NAME=MODEL or MODEL, several times -> the alias and the model of each. Raises BadInput."""
    found = []
    for text in texts:
        alias, equals, name = text.partition("=")
        if not equals or Path(text).exists():
            alias, name = choose_alias(text), text
        if not (re.fullmatch(ALIAS, alias, re.ASCII) and name):
            want = "[NAME=]MODEL, the name of letters, digits or ._:/@+-"
            raise BadInput(f"model must be {want}, got {text!r}", "model")
        found.append((alias, name))
    names = [alias for alias, _ in found]
    if len(set(names)) < len(names):
        raise BadInput(f"each model must have another name, got {', '.join(names)}", "model")
    return found


def _read_tables(file: Path) -> list[dict[str, Any]]:
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        message = f"models must be a readable TOML file, got {str(file)!r} ({error})"
        raise BadInput(message) from None
    tables = data.get("models")
    if set(data) != {"models"} or not isinstance(tables, list) or not tables:
        raise BadInput(f"models must be a file with tables [[models]] only, got {str(file)!r}")
    return tables


def _read_table(table: dict[str, Any], common: ModelOptions, engine: Any) -> ModelSpec:
    """One model of a file, whose values are checked here and its names by check_settings."""
    for name in table:
        if name not in KEYS:
            raise BadInput(f"a model of the file may have {', '.join(KEYS)}, got {name!r}")
    texts = {name: table.get(name) for name in TEXTS}
    for name, value in texts.items():
        if not isinstance(value, str) and (value is not None or name in ("alias", "model")):
            raise BadInput(f"{name} of a model of the file must be a text, got {value!r}")
    lists = {name: table.get(name, []) for name in ("aliases", "lora")}
    for name, value in lists.items():
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise BadInput(f"{name} of a model of the file must be a list of texts, got {value!r}")
    if not isinstance(is_pinned := table.get("pinned", False), bool):
        raise BadInput(f"pinned of a model of the file must be true or false, got {is_pinned!r}")
    check.dtype(texts["dtype"] or "auto")
    checkpoint = replace(
        common.checkpoint, revision=texts["revision"], model_variant=texts["model_variant"]
    )
    model = replace(
        common, name=str(texts["model"]), dtype=texts["dtype"] or "auto", vae=texts["vae"],
        lora=tuple(read_lora(one) for one in lists["lora"]), checkpoint=checkpoint,
    )  # fmt: skip
    return ModelSpec(str(texts["alias"]), model, engine, tuple(lists["aliases"]), is_pinned)


def _name_dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
