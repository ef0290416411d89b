"""Stage "limits": the rates of matrix products and copies that this device really has."""

from collections.abc import Callable

import torch

from benchmarks.gpu_first.findings import Findings, Setting
from benchmarks.gpu_first.timing import time_each
from mdp_lite.eval.rounds import find_limit

SIDE, BYTES, REPEATS = 8192, 2**31, 10  # of a square matrix; of a copied tensor
SMALL_SIDE, SMALL_BYTES, WARM = 256, 2**20, 3
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def measure_limits(setting: Setting, findings: Findings) -> None:
    """FLOP/s of the best matrix product in each dtype, and bytes/s of a copy (read and written)."""
    findings.add("copy bytes/s", measure_copy(setting))
    dtypes = DTYPES[2:] if setting.device.type == "cpu" else DTYPES
    for dtype in dtypes:
        name = str(dtype).removeprefix("torch.")
        findings.add(f"{name} FLOP/s", measure_product(setting, dtype))
        if setting.device.type == "cuda":
            findings.add(f"{name} limit", find_limit(dtype, setting.device)._asdict())
    if setting.device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        findings.add("tf32 FLOP/s", measure_product(setting, torch.float32))


def measure_product(setting: Setting, dtype: torch.dtype) -> float:
    """FLOP/s of a product of two square random matrices, the best of several."""
    n = SMALL_SIDE if setting.small else SIDE
    a, b = (torch.randn(n, n, device=setting.device).to(dtype) for _ in range(2))
    return 2 * n**3 / _find_best(setting, lambda: a @ b)


def measure_copy(setting: Setting) -> float:
    """Bytes/s that a copy reads and writes, the best of several."""
    size = SMALL_BYTES if setting.small else BYTES
    x, y = (torch.empty(size, dtype=torch.uint8, device=setting.device) for _ in range(2))
    return 2 * size / _find_best(setting, lambda: y.copy_(x))


def _find_best(setting: Setting, run: Callable[[], object]) -> float:
    """Seconds of the fastest of several calls, after some that don't count."""
    return min(time_each(run, WARM + REPEATS, setting.device)[WARM:]) / 1e3
