"""How far a picture is from its true answer. Pictures are (b, 3, y, x) in [-1, 1]."""

import torch
from torch import Tensor

PEAK = 2.0  # from black to white
LEAST = 1e-10  # squared error below which pictures count as equal: 106 dB


def shown(picture: Tensor) -> Tensor:
    """The picture as a file of 8 bits a channel keeps it, again in [-1, 1]."""
    return ((picture.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def squared_error(found: Tensor, truth: Tensor, inside: Tensor | None = None) -> Tensor:
    """Mean squared difference of each pair, (b,); inside (b, y, x) bool says which pixels count.

    NaN where no pixel counts.
    """
    if found.shape != truth.shape:
        raise ValueError(f"pictures must have one shape, got {_shape(found)} and {_shape(truth)}")
    error = (found - truth).double().square().mean(dim=1)
    if inside is None:
        return error.mean(dim=(1, 2))
    if inside.shape != error.shape or inside.dtype != torch.bool:
        want = f"bool {_shape(error)}"
        raise ValueError(f"inside must be {want}, got {inside.dtype} {_shape(inside)}")
    return (error * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2))


def decibel(error: Tensor) -> Tensor:
    """Squared error -> peak signal-to-noise ratio, 10 log10(peak^2 / error), in dB."""
    return 10 * torch.log10(PEAK**2 / error.clamp(min=LEAST))


def psnr(found: Tensor, truth: Tensor, inside: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio of each pair in dB, (b,); NaN where no pixel counts."""
    return decibel(squared_error(found, truth, inside))


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)
