"""What is known of several models before they are loaded, and how much memory they may take."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch

from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.editor import Editor
from mdp_lite.engine.free_memory import read_free_memory
from mdp_lite.model_pool.keys import ModelKey
from mdp_lite.model_pool.specs import ModelSpec, ModelSummary, read_editor_facts
from mdp_lite.names import BadCheckpoint, BadInput
from mdp_lite.store.cache import ModelIdentity

SHARE = 0.7  # of free memory that models may take by default


class NamesModels(Protocol):
    """Settings that name several models.

    alias: the first model's. first says how that is loaded, which its LoRAs need. others are
    further models. model_memory: bytes of the weights of all loaded ones.
    """

    @property
    def alias(self) -> str: ...
    @property
    def first(self) -> ModelSpec | None: ...
    @property
    def others(self) -> tuple[ModelSpec, ...]: ...
    @property
    def lora_folder(self) -> Path | None: ...
    @property
    def model_memory(self) -> int | None: ...


class ModelCatalog:
    """The models of the settings by alias; facts are those of the editor of the first, and others.

    Raises BadCheckpoint for a model that can't be loaded, BadInput for one that can never fit.
    """

    def __init__(self, editor: Editor, settings: NamesModels) -> None:
        self.specs: dict[str, ModelSpec] = {one.alias: one for one in settings.others}
        if settings.first is not None:
            self.specs[settings.alias] = settings.first
        self.facts = read_all_facts(editor, settings)
        self.bound = choose_bound(settings, self.facts, editor.device)

    @property
    def identities(self) -> dict[str, ModelIdentity]:
        """What keys of the cache depend on, by alias."""
        return {
            alias: ModelIdentity(one.origin, one.defaults, one.device)
            for alias, one in self.facts.items()
        }

    def find_size(self, key: ModelKey) -> int:
        """Bytes of the weights of a model."""
        return self.facts[key.alias].bytes

    def check(self, key: ModelKey) -> None:
        """Raise BadCheckpoint for LoRAs that do not fit their model."""
        if key.loras:
            self.specs[key.alias].check_loras(list_pairs(key))


def read_all_facts(editor: Editor, settings: NamesModels) -> dict[str, ModelSummary]:
    """The facts of all models by alias, the first first. Raises BadCheckpoint for a bad one."""
    others = {one.alias: read_facts_of(one) for one in settings.others}
    return {settings.alias: read_editor_facts(editor)} | others


def read_facts_of(spec: ModelSpec) -> ModelSummary:
    """What is known of a model that is not loaded. Raises BadCheckpoint, which names it."""
    try:
        return spec.read_facts()
    except BadCheckpoint as error:
        raise BadCheckpoint(f"model {spec.alias}: {error}") from None


def choose_bound(
    settings: NamesModels, facts: dict[str, ModelSummary], device: torch.device
) -> float:
    """The bytes that weights may take. Raises BadInput for a model that can never fit."""
    first = facts[settings.alias].bytes
    if not settings.others and settings.lora_folder is None:
        return float("inf")
    bound = choose_room(settings.model_memory, first, device)
    check_fits(settings.others, facts, first, bound)
    return bound


def choose_room(model_memory: int | None, first: int, device: torch.device) -> float:
    """The bytes that weights may take if there are several models; first: those of the first."""
    return model_memory or first + SHARE * read_free_memory(device)


def check_fits(
    others: Sequence[ModelSpec], facts: dict[str, ModelSummary], stays: int, bound: float
) -> None:
    """Raise BadInput for a model that can never be loaded beside those that stay."""
    for one in sorted(others, key=lambda one: not one.is_pinned):
        if stays + facts[one.alias].bytes > bound:
            raise BadInput(describe_excess(one.alias, facts[one.alias].bytes, stays, bound))
        stays += facts[one.alias].bytes if one.is_pinned else 0


def describe_excess(alias: str, size: int, stays: int, bound: float) -> str:
    """A sentence on a model that can never be loaded beside those that stay."""
    sizes = [format_count(one, SIZES) for one in (size, stays, bound)]
    return (
        f"the model {alias!r} takes {sizes[0]}, those that stay loaded take {sizes[1]}: "
        f"more than the {sizes[2]} of --model-memory"
    )


def list_pairs(key: ModelKey) -> list[tuple[str, float]]:
    """The files and weights of a model's LoRAs."""
    return [(str(Path(one.path)), one.weight) for one in key.loras]
