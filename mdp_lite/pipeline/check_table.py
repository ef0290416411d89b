"""Checking a whole table of weights that a caller gives."""

from typing import Any

import torch

from mdp_lite.method.schedule import Weights
from mdp_lite.names import BadInput


def check_table(value: Any, latents: torch.Tensor, others: tuple[Any, ...]) -> None:
    """A table of weights for latents (N, b, c, y, x); it replaces variant, window and strength."""
    if any(other is not None for other in others):
        raise BadInput("weights is the whole table: give no variant, window or strength with it")
    if not isinstance(value, Weights):
        raise BadInput(f"weights must be a Weights, got {type(value).__name__}")
    n = len(latents)
    for name, column in value._asdict().items():
        if name in ("local", "tilt") and column is None:
            continue
        if not _is_plain(column) or column.shape[:1] != (n,):
            raise BadInput(f"weights.{name} must be a tensor of {n} rows, one a step")
        if column.is_complex() or not column.cpu().double().isfinite().all():
            raise BadInput(f"weights.{name} must be finite numbers")
        if not _fits_latent(column, latents) or (name == "c" and column.ndim > 1):
            want = "()" if name == "c" else f"() or a map of {tuple(latents.shape[1:])}"
            raise BadInput(
                f"weights.{name} must have rows of shape {want}, got {tuple(column.shape[1:])}"
            )


def _is_plain(column: Any) -> bool:
    """Whether it is a tensor that has its numbers in memory, one after another."""
    own = isinstance(column, torch.Tensor)
    return own and not column.is_meta and column.layout == torch.strided


def _fits_latent(column: torch.Tensor, latents: torch.Tensor) -> bool:
    """Whether each step has one number, or a map that broadcasts to a latent."""
    if column.ndim == 1:
        return True
    pairs = zip(column.shape[1:], latents.shape[1:], strict=False)
    return column.ndim == latents.ndim and all(a in (1, b) for a, b in pairs)
