"""Stable Diffusion checkpoints on disk and on the hub: finding, reading and converting them."""

from mdp_lite_weights.files import (
    Checkpoint,
    Choices,
    content_hash,
    find_file,
    find_second_tokenizer,
    find_tokenizer,
    locate,
    open_checkpoint,
    open_vae,
    replace_vae,
)
from mdp_lite_weights.hub import Hub

__all__ = [
    "Checkpoint",
    "Choices",
    "Hub",
    "content_hash",
    "find_file",
    "find_second_tokenizer",
    "find_tokenizer",
    "locate",
    "open_checkpoint",
    "open_vae",
    "replace_vae",
]
