"""The Triton group norm against its reference, as triton_cases.py has the other kernels."""

import pytest
import torch

from mdp_lite_kernels import group_norm_silu_jit
from mdp_lite_kernels.group_norm_silu import group_norm_silu, triton_group_norm_silu
from support.triton_cases import DTYPES, INTERPRETED, LAST, near, real, seed, values

__all__ = ["seed"]  # a fixture of every test here

# (b, c, y, x), groups: tiny, one pixel, odd widths of a group, one channel a group, one group,
# more groups than a block and a number of them no power of two, several tiles, long rows.
SHAPES = [
    ((2, 2, 1, 1), 2),
    ((2, 4, 3, 5), 4),
    ((1, 30, 7, 9), 3),
    ((3, 33, 5, 5), 11),
    ((2, 320, 4, 4), 32),
    ((1, 960, 3, 3), 32),
    ((1, 8, 47, 43), 1),
    ((1, 48, 19, 17), 24),
    ((1, 136, 11, 13), 17),
    ((1, 1030, 2, 3), 2),
]
REAL = [  # Stable Diffusion 1.5's UNet with guidance, and the end of its VAE
    ((2, 320, 64, 64), 32),
    ((2, 960, 64, 64), 32),
    ((2, 640, 32, 32), 32),
    ((2, 1920, 32, 32), 32),
    ((2, 1280, 16, 16), 32),
    ((2, 2560, 8, 8), 32),
    ((1, 512, 64, 64), 32),
    ((1, 256, 512, 512), 32),
    ((1, 128, 512, 512), 32),
]
REAL_CASES = [pytest.param(*case, marks=real) for case in REAL]


WAYS = {  # values of a group up to which one launch does it, of a tile there, and of a tile in two
    "whole, small tiles": (2**30, 1024, 4096),
    "whole": (2**30, 16384, 4096),
    "chunks, small tiles": (0, 16384, 1024),
    "chunks": (0, 16384, 4096),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "groups"), SHAPES + REAL_CASES)
def test_group_norm_silu(
    shape: tuple[int, ...], groups: int, dtype: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jit, small = group_norm_silu_jit, "small" in way
    if small or INTERPRETED:  # long chunks in small tiles; and the interpreter is slow at programs
        monkeypatch.setattr(jit, "PROGRAMS", 4)
        for name, size in zip(("WHOLE", "WHOLE_TILE", "TILE"), WAYS[way], strict=True):
            monkeypatch.setattr(jit, name, size)
    silu = dtype != "bfloat16" or small
    x = values(*shape, dtype=dtype, scale=3, mean=0.5).to(memory_format=LAST)
    weight, bias = values(shape[1], dtype=dtype), values(shape[1], dtype=dtype)
    # A slice of a longer row, as the UNet has it: one for each picture, one for all, or none.
    rows = values({"float32": shape[0]}.get(dtype, 1), shape[1] + 3, dtype=dtype)
    shift = None if dtype == "bfloat16" and not small else rows[:, 1:-2]
    got = triton_group_norm_silu(x, groups, weight, bias, 1e-5, silu, shift)
    wide = (t.double() for t in (weight, bias))
    moved = None if shift is None else shift.double()
    want = group_norm_silu(x.double(), groups, *wide, 1e-5, silu, moved)
    assert got.dtype == x.dtype and got.is_contiguous(memory_format=LAST)
    near(got, want, 1e-6 + (DTYPES[dtype][2] if got.dtype != torch.float32 else 0))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # numpy's, in lanes masked out
@pytest.mark.parametrize("whole", [0, 2**15])
def test_group_norm_keeps_a_small_variance_beside_a_large_mean(
    whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_norm_silu_jit, "WHOLE", whole)
    x = values(1, 8, 20, 20, scale=0.01, mean=100).to(memory_format=LAST)
    weight, bias = values(8), values(8)
    got = triton_group_norm_silu(x, 2, weight, bias, 1e-6)
    want = group_norm_silu(x.double(), 2, weight.double(), bias.double(), 1e-6)
    near(got, want, 4e-3)  # the mean is rounded by 4e-6 of 0.01, and so are the sums it is of


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy's, inf - inf
@pytest.mark.parametrize("whole", [0, 2**15])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_group_norm_spoils_the_group_of_a_nan_and_no_other(
    bad: float, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_norm_silu_jit, "WHOLE", whole)
    x = values(2, 12, 11, 10).to(memory_format=LAST)
    x[1, 4, 10, 3] = bad
    weight, bias = values(12), values(12)
    got = triton_group_norm_silu(x, 3, weight, bias, 1e-5)
    assert bool(got[1, 4:8].isnan().all()) and int(got.isnan().sum()) == 4 * 110
