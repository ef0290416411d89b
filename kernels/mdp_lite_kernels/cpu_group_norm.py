"""GroupNorm, then SiLU or not, on the CPU in channels-last memory; also in place of its input."""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

LIBRARY = Path(__file__).with_name("_group_norm.so")
AVX2, AVX512 = 1, 2  # the paths of group_norm.c


class _Call(ctypes.Structure):
    """`struct call` of group_norm.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batches", "rows", "channels", "groups")),
        ("eps", ctypes.c_double),
        *((name, ctypes.c_int32) for name in ("half", "silu", "path", "threads")),
        *((name, ctypes.c_void_p) for name in ("x", "out", "weight", "bias")),
    ]


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled group_norm.c, or None if it was not built or does not load."""
    try:
        return ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None


@functools.cache
def best_path() -> int:
    """The fastest path this machine can run, from 1 (slowest) up; 0 if it can run none."""
    native = library()
    return 0 if native is None else native.mdp_lite_group_norm_path()


def takes(x: Tensor, groups: int, weight: Tensor, bias: Tensor) -> bool:
    """Whether the kernel computes these on this machine.

    It needs the CPU, bfloat16 or float32, channels_last, and no gradient.
    """
    return (
        best_path() > 0
        and x.ndim == 4
        and x.device.type == weight.device.type == bias.device.type == "cpu"
        and x.dtype in (torch.bfloat16, torch.float32)
        and x.numel() > 0
        and x.shape[1] % groups == 0
        and x.is_contiguous(memory_format=torch.channels_last)
        and not (torch.is_grad_enabled() and any(one.requires_grad for one in (x, weight, bias)))
    )


def native_group_norm_silu(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool = True,
    out: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`group_norm_silu` without a shift, by group_norm.c, for inputs that `takes` accepts.

    out (as x, x itself too) is where the result goes; None is new memory. Statistics are those of
    the whole group in float64; bits do not depend on the number of threads.
    """
    return _run(x, groups, weight, bias, eps, silu, out, best_path())


def _run(
    x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, silu: bool,
    out: Tensor | None, path: int,
) -> Tensor:  # fmt: skip
    out = torch.empty_like(x) if out is None else out
    wide = [one.detach().float().contiguous() for one in (weight, bias)]
    b, c, height, width = x.shape
    half, threads = x.dtype == torch.bfloat16, torch.get_num_threads()
    pointers = [one.data_ptr() for one in (x, out, *wide)]
    call = _Call(b, height * width, c, groups, eps, half, silu, path, threads, *pointers)
    native = library()
    if native is None or native.mdp_lite_group_norm(ctypes.byref(call)):
        raise MemoryError("no memory for the statistics of a group norm")
    return out
