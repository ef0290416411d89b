"""A loaded model on a GPU: what of it waits on the CPU, and how its VAE computes there."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch

from mdp_lite.checkpoint.advice import needs_wide_vae
from mdp_lite.checkpoint.load import Examined
from mdp_lite.checkpoint.models import TEXT_PARTS, Models
from mdp_lite.engine.edit_bytes import (
    EditSize,
    ModelFacts,
    count_edit_bytes,
    list_encoders,
    read_facts,
)
from mdp_lite.engine.gpu import GpuSettings, find_budget, prepare_gpu
from mdp_lite.engine.placement import WAITS, Placement, place_parts
from mdp_lite.engine.waiting import let_wait
from mdp_lite.models.condition import count_rows
from mdp_lite.models.unet import UNet
from mdp_lite.pipeline.finite import dtype_of
from mdp_lite.pipeline.warn import warn_placement


def prepare_models(models: Models, device: torch.device, gpu: GpuSettings) -> Models:
    """Models whose weights lie as a GPU reads them, and whose text encoder computes there.

    A text encoder whose weights are on the CPU waits there. On a CPU these are the models, and so
    are those that only pass calls on, as a batcher's.
    """
    if device.type != "cuda" or not isinstance(models.unet, UNet):
        return models
    prepare_gpu(models.unet, models.vae, gpu)
    return replace(models, text_encoder=let_wait(models.text_encoder, device))


def find_waiting(
    device: torch.device, gpu: GpuSettings, mode: str, examined: Examined, dtype: torch.dtype
) -> Collection[str]:
    """The parts of a checkpoint that are to wait on the CPU, so that its default edit fits.

    Logs a warning, once, if any part waits, or if the edit does not fit even so.
    """
    if device.type != "cuda":
        return ()
    budget, facts = find_budget(device, gpu), facts_of_checkpoint(examined, dtype)
    size = default_size(facts, examined.defaults.num_inference_steps)
    found = place_edit(facts, size, gpu, mode, budget)
    warn_placement(found, size.width, size.height, budget)
    texts = TEXT_PARTS if found.text_encoder == WAITS else ()
    return (*texts, *(("vae",) if found.vae == WAITS else ()))


def place_edit(
    facts: ModelFacts, size: EditSize, gpu: GpuSettings, mode: str, budget: int
) -> Placement:
    """Where the parts of a model lie for edits of a size; mode is the engine's."""
    return place_parts(count_edit_bytes(facts, size, gpu, mode != "eager"), budget)


def default_size(facts: ModelFacts, steps: int) -> EditSize:
    """The picture that a model makes by default, with guidance if it reads any."""
    y, x = facts.unet.latent_size
    rows = 1 if facts.unet.time_cond_proj_dim else 2
    return EditSize(y * facts.vae.factor, x * facts.vae.factor, rows, steps)


def facts_of_checkpoint(examined: Examined, dtype: torch.dtype) -> ModelFacts:
    """What counts of a checkpoint that is to be loaded in a dtype."""
    models = examined.models
    texts = [models[part] for part in TEXT_PARTS if part in models]
    unet, wide = models["unet"], "vae" in needs_wide_vae(examined.found.configs, dtype)
    tokens = count_tokens(texts[0].config, unet.config)
    return read_facts(unet, texts, models["vae"], tokens, dtype, torch.float32 if wide else dtype)


def facts_of_models(models: Models) -> ModelFacts:
    """What counts of loaded models."""
    dtypes = dtype_of(models.unet), dtype_of(models.vae)
    texts = list_encoders(models.text_encoder)
    return read_facts(models.unet, texts, models.vae, models.c_shape[0], *dtypes)


def count_tokens(text: Any, unet: Any) -> int:
    """The tokens of a condition, from the configs."""
    return text.max_position_embeddings + count_rows(unet.extra_dim, unet.cross_attention_dim)
