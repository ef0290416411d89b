"""Loads the models of a service, and what is known of each of them before."""

from pathlib import Path

import torch

from mdp_lite.batcher.batcher import Batcher, Client
from mdp_lite.editor import Editor
from mdp_lite.model_pool.free_memory import read_free_memory
from mdp_lite.model_pool.keys import ModelKey, ModelSlot
from mdp_lite.model_pool.pool import describe_excess
from mdp_lite.model_pool.specs import ModelSpec, ModelSummary, read_editor_facts
from mdp_lite.names import BadCheckpoint, BadInput
from mdp_lite.serve.served import ServedModel, prepare_models, time_row
from mdp_lite.serve.settings import ServiceSettings
from mdp_lite.store.cache import ModelIdentity

SHARE = 0.7  # of free memory that models may take by default


class ModelLoader:
    """The models of the settings by alias; facts are those of the editor of the first, and others.

    Raises BadCheckpoint for a model that can't be loaded, BadInput for one that can never fit.
    """

    def __init__(self, editor: Editor, settings: ServiceSettings, batcher: Batcher) -> None:
        self._settings = settings
        self.specs: dict[str, ModelSpec] = {one.alias: one for one in settings.others}
        if settings.first is not None:
            self.specs[settings.alias] = settings.first
        self.facts = read_all_facts(editor, settings)
        self.bound = choose_bound(settings, self.facts, editor.device)
        self._batcher = batcher

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
            self.specs[key.alias].check_loras(_list_pairs(key))

    def load(self, key: ModelKey, slot: ModelSlot) -> ServedModel:
        """The model, warmed up by the batcher, in turns with the work of others."""
        editor = self.specs[key.alias].load(_list_pairs(key))
        model = ServedModel(editor, self._settings, key, slot)
        cost = model.row_work
        with self._batcher.client(Client()) as client:
            self._batcher.call(client, lambda: prepare_models(editor, model.max_rows), cost)
            seconds = self._batcher.call(client, lambda: time_row(editor), cost)
        model.unet.speed.add(cost, seconds)
        return model


def read_all_facts(editor: Editor, settings: ServiceSettings) -> dict[str, ModelSummary]:
    """The facts of all models by alias, the first first. Raises BadCheckpoint for a bad one."""
    others = {one.alias: _read_facts(one) for one in settings.others}
    return {settings.alias: read_editor_facts(editor)} | others


def _read_facts(spec: ModelSpec) -> ModelSummary:
    """What is known of a model that is not loaded. Raises BadCheckpoint, which names it."""
    try:
        return spec.read_facts()
    except BadCheckpoint as error:
        raise BadCheckpoint(f"model {spec.alias}: {error}") from None


def choose_bound(
    settings: ServiceSettings, facts: dict[str, ModelSummary], device: torch.device
) -> float:
    """The bytes that weights may take. Raises BadInput for a model that can never fit."""
    first = facts[settings.alias].bytes
    if not settings.others and settings.lora_folder is None:
        return float("inf")
    bound = settings.model_memory or first + SHARE * read_free_memory(device)
    stays = first
    for one in sorted(settings.others, key=lambda one: not one.is_pinned):
        if stays + facts[one.alias].bytes > bound:
            raise BadInput(describe_excess(one.alias, facts[one.alias].bytes, stays, bound))
        stays += facts[one.alias].bytes if one.is_pinned else 0
    return bound


def _list_pairs(key: ModelKey) -> list[tuple[str, float]]:
    return [(str(Path(one.path)), one.weight) for one in key.loras]
