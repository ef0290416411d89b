"""The guard of numbers: what is not finite is computed once more in float32, or is an error."""

import functools
from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mdp_lite.method.mdp import Denoiser

T = TypeVar("T")


def in_float32(model: nn.Module) -> nn.Module:
    """A copy of a model in float32."""
    return deepcopy(model).float()


class NotFinite(RuntimeError):
    """NaN or infinity where a picture was to come, in float32 too."""


def dtype_of(model: nn.Module) -> torch.dtype:
    """What a model computes in."""
    weight = next(model.parameters(), None)
    return torch.float32 if weight is None else weight.dtype


def finite(
    run: Callable[[Any], T], model: Any, what: str, wide: Callable[[Any], Any] = in_float32
) -> T:
    """run(model), a tensor or several; where that is not finite, with the model in float32.

    Raises NotFinite where that does not help either. On a GPU this waits for the result.
    """
    out = run(model)
    if _finite(out):
        return out
    if isinstance(model, nn.Module) and dtype_of(model) != torch.float32:
        out = run(wide(model))
        if _finite(out):
            return out
    raise NotFinite(f"{what} is not finite (NaN or infinity), in float32 neither")


def guarded(denoiser: Denoiser, unet: Any) -> Denoiser:
    """A denoiser that runs a UNet, whose answers are finite or a NotFinite."""
    wide = functools.cache(in_float32)  # who needs it once needs it at every step

    def denoise(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        def run(model: Any) -> Tensor:
            if model is unet:
                return denoiser(x, t, c)
            dtype = dtype_of(model)
            return model(x.to(dtype), t, c.to(dtype))

        return finite(run, unet, "the model's prediction", wide)

    return denoise


def _finite(out: Any) -> bool:
    tensors = out if isinstance(out, tuple) else (out,)
    return all(bool(one.isfinite().all()) for one in tensors if isinstance(one, Tensor))
