"""Apple's GPU, which is not there: the rehearsed device that refuses float64, with attention.

It is stricter than a GPU by CUDA: not even a 0-d CPU tensor may be an operand, as not every
operator of mps takes one.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from support import rehearsed_ops as ops
from support.rehearsal import Rehearsal, RehearsedTensor
from support.rehearsing import rehearsal


@contextmanager
def apple_gpu(macos: int = 14) -> Iterator[Rehearsal]:
    """The device mps for the block, on a Mac with this version of its system."""
    newer = lambda major, minor: (macos, 0) >= (major, minor)  # noqa: E731
    patches = (
        (RehearsedTensor, "__torch_function__", classmethod(_call)),
        (Rehearsal, "_match", _match),
        (torch.backends.mps, "is_macos_or_newer", newer),
    )
    with ExitStack() as stack:
        gpu = stack.enter_context(rehearsal("mps"))
        for patch in patches:
            stack.enter_context(mock.patch.object(*patch))
        yield gpu


def _match(gpu: Rehearsal, call: Any, *_: Any) -> None:
    """Raises if an operand lies on the CPU."""
    if call.others and call.name not in ops.INDEXING:
        raise RuntimeError(f"Expected all tensors to be on the same device: {call.name}")


def _call(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Attention by its formula: torch would look for a kernel of a device that is not there."""
    run = _attend if func is F.scaled_dot_product_attention else func
    with torch._C.DisableTorchFunctionSubclass():
        return run(*args, **(kwargs or {}))


def _attend(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    return torch.ops.aten._scaled_dot_product_attention_math(q, k, v, **options)[0]
