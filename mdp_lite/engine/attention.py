"""Which of torch's attention backends a GPU uses, by a table; torch chooses where no rule fits.

The operator of a backend is called by its name. torch's own switch, sdpa_kernel, is one for the
whole process, and a service has threads with models of two dtypes. Nothing here waits for the GPU,
so a captured graph may hold it. No GPU has measured the order of the rules yet.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.models.transformer import SDPA, Attend

HALF = (torch.float16, torch.bfloat16)
FLOATS = (*HALF, torch.float32)
ALIGNMENT = 16  # bytes of a head's row, of which each backend wants a multiple


class Rule(NamedTuple):
    """A backend for q, k, v (b, h, n, d) of these dtypes, with d up to width.

    capability is the least compute capability (major, minor) of a GPU that has it.
    """

    backend: str
    dtypes: tuple[torch.dtype, ...]
    width: int
    capability: tuple[int, int]


TABLE = (
    Rule("flash", HALF, 256, (8, 0)),
    Rule("efficient", FLOATS, 65536, (5, 0)),
)
CUDNN = Rule("cudnn", HALF, 128, (9, 0))  # before the table, for those who ask for it


def choose_cuda_attention(device: torch.device, choice: str) -> Attend:
    """The attention of a GPU by "table", by the table after "cudnn", or "torch", as Fused says."""
    if choice == "torch":
        return SDPA
    rules = (CUDNN, *TABLE) if choice == "cudnn" else TABLE
    if not torch.backends.cuda.is_flash_attention_available():  # a build of torch without it
        rules = tuple(rule for rule in rules if rule.backend != "flash")
    return partial(attend_by_shape, rules, torch.cuda.get_device_capability(device))


def attend_by_shape(
    rules: tuple[Rule, ...], capability: tuple[int, int], q: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """softmax(q k^T / sqrt(d)) v by the first backend whose rule fits."""
    return RUN[choose_backend(rules, capability, q, keys, values)](q, keys, values)


def choose_backend(rules: tuple[Rule, ...], capability: tuple[int, int], *inputs: Tensor) -> str:
    """The first backend whose rule fits q, k and v; "torch" if there is none.

    That is also for inputs that need a gradient, and for heads that do not fill whole 16 bytes.
    """
    q = inputs[0]
    gradient = torch.is_grad_enabled() and any(one.requires_grad for one in inputs)
    aligned = q.shape[-1] * q.element_size() % ALIGNMENT == 0
    dense = all(one.stride(-1) == 1 and one.dtype == q.dtype for one in inputs)
    if gradient or not aligned or not dense:
        return "torch"
    fitting = (
        rule.backend
        for rule in rules
        if q.dtype in rule.dtypes and q.shape[-1] <= rule.width and capability >= rule.capability
    )
    return next(fitting, "torch")


def _flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[0]


def _efficient(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, False)[0]


def _cudnn(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, False)[0]


RUN: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "flash": _flash,
    "efficient": _efficient,
    "cudnn": _cudnn,
    "torch": SDPA,
}
