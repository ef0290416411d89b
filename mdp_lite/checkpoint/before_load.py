"""What can be known of models before their weights are read: their identity, and what fits them."""

from collections.abc import Sequence
from pathlib import Path

import torch

from mdp_lite.checkpoint.identity import Origin, stat_files
from mdp_lite.checkpoint.load import (
    ALONE,
    AS_IT_IS,
    AddOns,
    Choices,
    Examined,
    bad_checkpoints,
    find_files,
    list_files,
    load_tokenizers,
    read_deltas,
)


@bad_checkpoints()
def check_loras(examined: Examined, loras: Sequence[tuple[Path, float]]) -> None:
    """Raise BadCheckpoint for a LoRA file that does not fit the models; no weight is changed."""
    read_deltas(examined.models, AddOns(loras=tuple(loras)))


@bad_checkpoints()
def find_origin(
    examined: Examined, dtype: torch.dtype, choices: Choices = AS_IT_IS, addons: AddOns = ALONE
) -> Origin:
    """Where the models come from that load would give in this dtype: a hash of it names them."""
    found, files = examined.found, find_files(addons, choices)
    tokenizer = examined.tokenizer or load_tokenizers(found, examined.models, choices)
    every = stat_files(list_files(examined, tokenizer, choices, files))
    return Origin(found.name, every, examined.scheduler, dtype, choices.clip_skip)
