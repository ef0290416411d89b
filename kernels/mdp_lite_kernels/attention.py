"""Attention without a mask on the CPU: torch's, and a native one for a UNet's head sizes."""

import ctypes
import functools
import os
import platform
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

LIBRARY = Path(__file__).with_name("_attention.so")
C_SOURCE = LIBRARY.with_name("attention.c")  # lies there in a source tree only
FROM_TREE = "pip install --no-deps -e {folder}"
# pip keeps what it built: without --no-cache-dir it would take the same again.
FROM_INDEX = "pip install --force-reinstall --no-deps --no-cache-dir --no-binary mdp-lite mdp-lite"
MAX_HEAD_DIM = 512  # d of a head: 160 in UNets, 512 in autoencoders
AVX2, AVX512, BFLOAT16 = 1, 2, 3  # the paths of attention.c, slowest first


class _Operand(ctypes.Structure):
    """A tensor (batch, head, row, d): its address, and its strides in bytes."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("head", ctypes.c_int64),
        ("row", ctypes.c_int64),
    ]


class _Call(ctypes.Structure):
    """`struct call` of attention.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batches", "heads", "n", "m", "d")),
        *((name, ctypes.c_int32) for name in ("half", "path", "threads")),
        *((name, _Operand) for name in ("q", "k", "v", "out")),
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled attention.c, or None if it was not built or does not load."""
    return _load()[0]


def _load() -> tuple[ctypes.CDLL | None, str]:
    """The compiled attention.c, or None and what the system says."""
    try:
        return ctypes.CDLL(str(LIBRARY)), ""
    except OSError as error:
        return None, str(error)


@functools.cache
def best_path() -> int:
    """The fastest path this machine can run, from 1 (slowest) up; 0 if it can run none."""
    native = library()
    return 0 if native is None else native.mdp_lite_attention_path()


def missing_reason() -> str | None:
    """Why there is no native attention here and how to get it, or None if there is.

    A clause, which says whether the machine or the installation is the cause.

        missing_reason()  # None, or "this processor has no AVX2"
    """
    if best_path():
        return None
    machine = platform.machine()
    if machine not in ("x86_64", "AMD64"):
        return f"it is for x86-64 processors, this one is {machine or 'unknown'}"
    if os.name != "posix":
        return f"it is not built on {platform.system()}"
    if not LIBRARY.is_file():
        return f"it was installed without a C compiler; install gcc, then run `{_name_remedy()}`"
    if library() is None:
        return f"its library does not load: {_load()[1]}"
    return "this processor has no AVX2"


def _name_remedy() -> str:
    tree = C_SOURCE.is_file()
    return FROM_TREE.format(folder=LIBRARY.parents[2]) if tree else FROM_INDEX


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for (b, h, n, d) queries and (b, h, m, d) keys and values."""
    return functional.scaled_dot_product_attention(q, k, v)


def takes(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether `native_attention` takes these on this machine."""
    return best_path() > 0 and fits(q, k, v)


def fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether attention.c can compute these.

    It needs the CPU, bfloat16 or float32, d a multiple of 8 up to 512, the d values of a row
    contiguous, and no gradient.
    """
    b, h, _, d = q.shape if q.dim() == 4 else (0, 0, 0, 0)
    return (
        q.device.type == k.device.type == v.device.type == "cpu"
        and q.dtype == k.dtype == v.dtype
        and q.dtype in (torch.bfloat16, torch.float32)
        and k.shape == v.shape == (b, h, k.shape[-2], d)
        and q.numel() > 0
        and k.numel() > 0
        and d % 8 == 0
        and d <= MAX_HEAD_DIM
        and all(x.stride(-1) == 1 for x in (q, k, v))
        and not (torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)))
    )


def native_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """`attention` by attention.c for inputs that `takes` accepts; the memory is (b, n, h, d)."""
    return _run(q, k, v, best_path())


def _run(q: Tensor, k: Tensor, v: Tensor, path: int) -> Tensor:
    out = _empty(q)
    (b, h, n, d), m = q.shape, k.shape[2]
    half, threads = q.dtype == torch.bfloat16, torch.get_num_threads()
    operands = [_operand(x) for x in (q, k, v, out)]
    call = _Call(b, h, n, m, d, half, path, threads, *operands)
    native = library()
    if native is None or native.mdp_lite_attention(ctypes.byref(call)):
        raise MemoryError("no memory for the packed keys and values of an attention")
    return out


def _empty(q: Tensor) -> Tensor:
    b, h, n, d = q.shape
    return q.new_empty((b, n, h, d)).transpose(1, 2)


def _operand(x: Tensor) -> _Operand:
    batch, head, row, _ = x.stride()
    size = x.element_size()
    return _Operand(x.data_ptr(), batch * size, head * size, row * size)


@functools.cache
def attention_op() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """`native_attention` as the operator mdp_lite::attention, which is one node of a traced graph.

    It is registered at the first call.
    """
    operator = torch.library.custom_op(
        "mdp_lite::attention", native_attention, mutates_args=(), device_types="cpu"
    )
    operator.register_fake(lambda q, k, v: _empty(q))
    return operator
