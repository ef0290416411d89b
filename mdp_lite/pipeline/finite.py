"""No NaN and no black picture: a result that is not finite is computed again in float32."""

import functools
from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mdp_lite.method.mdp import Denoiser
from mdp_lite.names import NotFinite

T = TypeVar("T")


def to_float32(model: nn.Module) -> nn.Module:
    """A copy of a model in float32."""
    return deepcopy(model).float()


def dtype_of(model: nn.Module) -> torch.dtype:
    """The dtype that a model computes in."""
    weight = next(model.parameters(), None)
    return torch.float32 if weight is None else weight.dtype


def is_finite(out: Any) -> bool:
    """Whether a tensor, or each tensor of a tuple, is finite. On a GPU this waits for it."""
    tensors = out if isinstance(out, tuple) else (out,)
    return all(bool(one.isfinite().all()) for one in tensors if isinstance(one, Tensor))


def run_finite(
    run: Callable[[Any], T], model: Any, what: str, widen: Callable[[Any], Any] = to_float32
) -> T:
    """run(model), or run(widen(model)) if the result is not finite and the model is narrower.

    Raises NotFinite if that does not help either.
    """
    out = run(model)
    return out if is_finite(out) else run_wide(run, model, what, widen)


def run_wide(
    run: Callable[[Any], T], model: Any, what: str, widen: Callable[[Any], Any] = to_float32
) -> T:
    """run(model) with the model in float32, or NotFinite, which says what was tried."""
    tried = ""
    if isinstance(model, nn.Module):
        tried = " in float32"
        if dtype_of(model) != torch.float32:
            out = run(widen(model))
            if is_finite(out):
                return out
            tried = f" in {str(dtype_of(model)).removeprefix('torch.')}, in float32 neither"
    raise NotFinite(f"{what} is not finite (NaN or infinity){tried}")


class FiniteUNet:
    """A denoiser with finite answers: else the UNet answers in float32, or raises NotFinite."""

    def __init__(self, denoise: Denoiser, unet: Any) -> None:
        self._denoise, self._unet = denoise, unet
        self._widen = functools.cache(to_float32)  # one step that needs it is followed by others

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x)."""
        out = self._denoise(x, t, c)
        if is_finite(out):
            return out

        def run(model: Any) -> Tensor:
            dtype = dtype_of(model)
            return model(x.to(dtype), t, c.to(dtype))

        return run_wide(run, self._unet, "the model's prediction", self._widen)
