"""Shapes of the results of torch calls on the meta device, without torch's compiler.

For these functions torch itself imports its compiler on that device, which takes half a second.
Each entry of SHAPES takes the arguments of its function and gives the shape of the result.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def run_on_meta(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The result of a call on the meta device; by torch itself where that imports nothing."""
    if func is torch.arange and len(args) == 1:
        return torch.empty(args[0], dtype=kwargs.get("dtype", torch.long))
    if func is torch.native_group_norm:
        return _normalise(*args)
    if func not in SHAPES or not isinstance(args[0], Tensor | tuple | list):
        return func(*args, **kwargs)
    shape = list(SHAPES[func](*args, **kwargs))
    return torch.empty(shape, dtype=_find_dtype(func, args))


def _find_dtype(func: Any, args: Sequence[Any]) -> torch.dtype:
    """The dtype of the result: that of the first tensor, or of both together."""
    first = args[0] if isinstance(args[0], Tensor) else args[0][0]
    if func is F.embedding:
        return args[1].dtype
    if func is Tensor.div and not first.dtype.is_floating_point:
        return torch.get_default_dtype()
    return torch.result_type(*args[:2]) if func in BROADCAST else first.dtype


def _normalise(
    x: Tensor, weight: Tensor, bias: Tensor, rows: int, channels: int, cells: int, groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The result, the means and the inverse deviations, these in the dtype of the weight."""
    mean, scale = (torch.empty(rows, groups, dtype=weight.dtype) for _ in range(2))
    return torch.empty(x.shape, dtype=x.dtype), mean, scale


def _same(x: Tensor, *others: Any, **options: Any) -> Iterable[int]:
    return x.shape


def _broadcast(x: Tensor, other: Any) -> Iterable[int]:
    shape = other.shape if isinstance(other, Tensor) else ()
    pairs = zip_longest(reversed(x.shape), reversed(shape), fillvalue=1)
    return [a if b == 1 else b for a, b in pairs][::-1]


def _embed(ids: Tensor, table: Tensor, *options: Any, **more: Any) -> Iterable[int]:
    return (*ids.shape, table.shape[1])


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Iterable[int]:
    return (*x.shape[:-1], len(weight))


def _attend(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Iterable[int]:
    return (*q.shape[:-1], v.shape[-1])


def _join(parts: Sequence[Tensor], dim: int = 0) -> Iterable[int]:
    shape = list(parts[0].shape)
    shape[dim] = sum(one.shape[dim] for one in parts)
    return shape


def _resize(x: Tensor, size: Any, scale_factor: Any, **options: Any) -> Iterable[int]:
    sides = size if size is not None else [int(side * scale_factor) for side in x.shape[2:]]
    return (*x.shape[:2], *sides)


def _convolve(
    x: Tensor, weight: Tensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Iterable[int]:
    around = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    sides = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in around]
    return (len(x), len(weight), *sides)


BROADCAST = (Tensor.add, Tensor.sub, Tensor.mul, Tensor.div)
ELEMENTWISE = (
    F.layer_norm, F.group_norm, F.gelu, F.silu, F.relu, F.mish, Tensor.exp, Tensor.sigmoid,
    Tensor.tanh, Tensor.sin, Tensor.cos, Tensor.clamp, Tensor.square, Tensor.rsqrt,
    Tensor.reciprocal,
)  # fmt: skip
SHAPES: dict[Any, Callable[..., Iterable[int]]] = {
    **dict.fromkeys(ELEMENTWISE, _same),
    **dict.fromkeys(BROADCAST, _broadcast),
    F.embedding: _embed,
    F.linear: _multiply,
    F.scaled_dot_product_attention: _attend,
    F.interpolate: _resize,
    F.conv2d: _convolve,
    torch.cat: _join,
}
