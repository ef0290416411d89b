"""A model that is not loaded, as an editor for dry runs: its configs and tokenizer, no weights."""

from dataclasses import replace
from typing import Any

import torch

from mdp_lite.checkpoint.advice import choose_default
from mdp_lite.checkpoint.before_load import find_origin
from mdp_lite.checkpoint.load import AddOns, Examined, load_tokenizers
from mdp_lite.checkpoint.models import Models
from mdp_lite.cli.dry_run import StubText, StubUNet, StubVAE
from mdp_lite.cli.loading import read_choices
from mdp_lite.editor import Editor
from mdp_lite.model_pool.specs import ModelSpec
from mdp_lite.models.condition import SIZES, count_rows
from mdp_lite.models.config import UNetConfig
from mdp_lite.pipeline import check
from mdp_lite.store.cache import open_cache


def open_dry_editor(spec: ModelSpec) -> Editor:
    """The model with parts that compute nothing; it reads its cache, but does not write to it.

    Its sizes, defaults, costs and words are those of the model. Raises BadCheckpoint.
    """
    device, cache = check.device(spec.model.device), open_cache(spec.model.cache)
    models = build_dry_models(spec, spec.examine(), device)
    return Editor(models, device, replace(cache, read_only=True) if cache else None)


def build_dry_models(spec: ModelSpec, examined: Examined, device: torch.device) -> Models:
    """The parts of a checkpoint whose weights were not read."""
    own, found = spec.model, examined.found
    choices = read_choices(own.checkpoint)
    dtype = check.dtype(own.dtype) or choose_default(found.tensors, device)
    addons = AddOns(own.vae, tuple(own.lora), tuple(own.embedding))
    tokenizer = examined.tokenizer or load_tokenizers(found, examined.models, choices)
    config = examined.models["unet"].config
    weight = torch.zeros((), dtype=dtype, device=device)
    parts: dict[str, Any] = {
        "text_encoder": StubText(
            tokenizer.length + _count_pooled(config), config.cross_attention_dim, weight
        ),
        "unet": StubUNet(config), "vae": StubVAE(examined.models["vae"].config).to(device),
    }  # fmt: skip
    return Models(
        found.name, found.folder, tokenizer=tokenizer, scheduler=examined.scheduler,
        defaults=examined.defaults, notes=found.notes,
        origin=find_origin(examined, dtype, choices, addons), zero_empty=found.zero_empty,
        clip_skip=choices.clip_skip, **parts,
        knowledge=examined.knowledge.with_addons(bool(addons.loras), vae=True),  # a stub
    )  # fmt: skip


def _count_pooled(config: UNetConfig) -> int:
    """The rows of SDXL's text beside its tokens: the pooled state and the sizes."""
    if not config.pooled_dim:
        return 0
    return count_rows(config.pooled_dim + SIZES, config.cross_attention_dim)
