"""Apple's GPU, which is not there: the rehearsed device that refuses float64, with attention."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from support.rehearsal import Rehearsal, RehearsedTensor
from support.rehearsing import rehearsal


@contextmanager
def apple_gpu(macos: int = 14) -> Iterator[Rehearsal]:
    """The device mps for the block, on a Mac with this version of its system."""
    newer = lambda major, minor: (macos, 0) >= (major, minor)  # noqa: E731
    patches = (
        (RehearsedTensor, "__torch_function__", classmethod(_call)),
        (torch.backends.mps, "is_macos_or_newer", newer),
    )
    with rehearsal("mps") as gpu, mock.patch.object(*patches[0]), mock.patch.object(*patches[1]):
        yield gpu


def _call(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Attention by its formula: torch would look for a kernel of a device that is not there."""
    run = _attend if func is F.scaled_dot_product_attention else func
    with torch._C.DisableTorchFunctionSubclass():
        return run(*args, **(kwargs or {}))


def _attend(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    return torch.ops.aten._scaled_dot_product_attention_math(q, k, v, **options)[0]
