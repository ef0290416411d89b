"""Operators as a GPU runs them: which make the host wait, launch nothing or need a stand-in.

Names are those of torch.ops.aten without their overload.
"""

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from mdp_lite_kernels import geglu, group_norm_silu, guided_step, pixels

aten = torch.ops.aten
READS = {"_local_scalar_dense", "equal", "is_nonzero"}  # their result is a Python value
# The size of their result depends on values, which the host waits for.
SIZED_BY_VALUES = {
    "nonzero", "masked_select", "unique_consecutive", "_unique2", "unique_dim", "bincount",
    "repeat_interleave",
}  # fmt: skip
COPIES = {"_to_copy", "copy_", "copy"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
# Views and memory without a value: no kernel runs.
FREE = {
    "detach", "lift_fresh", "alias", "view", "_unsafe_view", "_reshape_alias", "expand", "select",
    "slice", "t", "transpose", "permute", "unsqueeze", "squeeze", "split", "split_with_sizes",
    "chunk", "unbind", "as_strided", "empty", "empty_like", "new_empty", "empty_strided",
    "new_empty_strided", "movedim", "_fused_sdp_choice", "resolve_conj", "unfold", "diagonal",
    "view_as_real", "squeeze_", "unsqueeze_", "t_", "transpose_", "as_strided_", "set_",
}  # fmt: skip
# In place, but of a tensor's shape and not of its memory: a replay must not do it again.
RESHAPING = {"unsqueeze_", "squeeze_", "t_", "transpose_", "as_strided_", "resize_", "set_"}
OWN = ("/mdp_lite/", "/mdp_lite_kernels/")  # in the names of files whose lines are told
MATH, FLASH, EFFICIENT = 0, 1, 2  # torch's numbers of the attention backends
FLASH_WIDTH = 256  # the widest head that flash attention takes


def list_tensors(tree: Any) -> list[Tensor]:
    """All tensors in nested arguments or results."""
    return [one for one in tree_leaves(tree) if isinstance(one, Tensor)]


def list_storages(tree: Any) -> set[int]:
    """Addresses of the memory of all tensors in it."""
    return {one.untyped_storage().data_ptr() for one in list_tensors(tree)}


def count_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of all values of these tensors."""
    return sum(one.numel() * one.element_size() for one in tensors)


def selects_by_mask(name: str, tensors: list[Tensor]) -> bool:
    """Whether an indexing call takes a mask, whose number of true values the host waits for."""
    return name in INDEXING and any(one.dtype in (torch.bool, torch.uint8) for one in tensors[1:])


def choose_backend(q: Tensor, mask: Tensor | None) -> int:
    """The attention that torch would choose on a GPU of compute capability 9.0."""
    backends = torch.backends.cuda
    half, plain = q.dtype != torch.float32, mask is None and q.shape[-1] <= FLASH_WIDTH
    if half and plain and backends.flash_sdp_enabled():
        return FLASH
    return EFFICIENT if backends.mem_efficient_sdp_enabled() else MATH


def _lay_out(out: Tensor) -> Tensor:
    """Memory in the order (b, n, h, d), as these kernels leave it."""
    return out.transpose(1, 2).contiguous().transpose(1, 2)


def _flash(
    q: Tensor, k: Tensor, v: Tensor, p: float = 0.0, causal: bool = False, *rest: Any,
    scale: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    q32, k32, v32 = (one.float() for one in (q, k, v))
    out = torch.nn.functional.scaled_dot_product_attention(
        q32, k32, v32, is_causal=causal, scale=scale
    )
    sums, seed = q.new_empty(q.shape[:3], dtype=torch.float32), torch.empty((), dtype=torch.long)
    return _lay_out(out.to(q.dtype)), sums, seed, seed, 0, 0, seed, seed, q.new_empty(0)


def _efficient(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, sums: bool, p: float = 0.0,
    causal: bool = False, *, scale: float | None = None,
) -> tuple[Any, ...]:  # fmt: skip
    out = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=bias, is_causal=causal, scale=scale
    )
    seed = torch.empty((), dtype=torch.long)
    return _lay_out(out), q.new_empty(q.shape[:3], dtype=torch.float32), seed, seed


STAND_INS: dict[str, Callable[..., Any]] = {
    "aten::_scaled_dot_product_flash_attention": _flash,
    "aten::_scaled_dot_product_efficient_attention": _efficient,
    "mdp_lite::geglu": geglu.geglu,
    "mdp_lite::group_norm_silu": group_norm_silu.group_norm_silu,
    "mdp_lite::guided_step": guided_step.guided_step,
    "mdp_lite::pixels": pixels.pixels,
}


def find_line() -> str:
    """The nearest lines of the project that led here."""
    lines: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(lines) < 3:
        name = frame.f_code.co_filename
        if any(part in name for part in OWN):
            lines.append(f"{name.rpartition('/mdp_lite')[2]}:{frame.f_lineno}")
        frame = frame.f_back
    return " < ".join(lines) or "the test"
