"""The native group norm against that of float64: errors, extremes, threads, refusals."""

import platform
import shutil
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdp_lite_kernels import cpu_group_norm as kernel
from mdp_lite_kernels.group_norm_silu import group_norm_silu

needs_kernel = pytest.mark.skipif(
    kernel.best_path() == 0,
    reason="no native group norm here: no compiler, or not an x86-64 with AVX2",
)
PATHS = range(1, kernel.best_path() + 1)
DTYPES = (torch.bfloat16, torch.float32)
EPS = 1e-6


class Case(NamedTuple):
    x: Tensor
    groups: int
    weight: Tensor
    bias: Tensor

    def run(self, path: int = 1, silu: bool = True, into: Tensor | None = None) -> Tensor:
        return kernel._run(*self, EPS, silu, into, path)

    def refer(self, silu: bool = True, wide: bool = True) -> Tensor:
        """The reference in float64, or in the dtype of x."""
        x, weight, bias = (
            one.double() if wide else one for one in (self.x, self.weight, self.bias)
        )
        return group_norm_silu(x, self.groups, weight, bias, EPS, silu)


def make(
    b: int, c: int, y: int, x: int, groups: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Case:
    made = torch.Generator().manual_seed(seed)
    picture = torch.randn(b, c, y, x, generator=made) * 3 + torch.randn(c, 1, 1, generator=made)
    weight, bias = (torch.randn(c, generator=made).to(dtype) for _ in range(2))
    return Case(lay_last(picture.to(dtype)), groups, weight, bias)


def lay_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def error(found: Tensor, want: Tensor) -> float:
    return float((found.double() - want).norm() / want.norm())


def test_the_kernel_is_there_where_it_can_be_built() -> None:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if platform.machine() != "x86_64" or not shutil.which(compiler):
        pytest.skip(f"no {compiler} for x86-64 on this machine")
    assert kernel.library() is not None, "not built: run pip install -e ."


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 128, 37, 41, 32), (1, 512, 16, 16, 32), (1, 24, 5, 7, 8)])
def test_error_is_at_most_that_of_torch(
    shape: tuple[int, int, int, int, int], dtype: torch.dtype, silu: bool, path: int
) -> None:
    case = make(*shape, dtype)
    want, torchs = case.refer(silu), case.refer(silu, wide=False)
    most = 1e-6 if dtype == torch.float32 else error(torchs, want) + 1e-5
    assert error(case.run(path, silu), want) <= most


@needs_kernel
@settings(deadline=None, max_examples=40)
@given(
    sizes=st.tuples(st.integers(1, 3), st.integers(1, 30), st.integers(2, 30)),
    groups=st.integers(1, 7),
    each=st.integers(1, 24),
    dtype=st.sampled_from(DTYPES),
    path=st.sampled_from(PATHS or [0]),
    silu=st.booleans(),
)
def test_any_sizes_also_in_place(
    sizes: tuple[int, int, int], groups: int, each: int, dtype: torch.dtype, path: int, silu: bool
) -> None:
    b, height, width = sizes
    case = make(b, groups * each, height, width, groups, dtype)
    assert kernel.takes(*case)
    own = case.run(path, silu)
    want = case.refer(silu).to(dtype)
    assert own.is_contiguous(memory_format=torch.channels_last)
    bound = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(own, want, rtol=bound, atol=bound)
    assert case.run(path, silu, case.x) is case.x and torch.equal(case.x, own)


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
def test_large_means_cost_no_digits(path: int) -> None:
    """Each channel near 10,000 with deviations near 1; what x can hold is the only limit."""
    case = make(1, 64, 50, 50, 4)
    case = case._replace(x=lay_last(1e4 + case.x))
    want = case.refer()
    assert error(case.run(path), want) <= min(error(case.refer(wide=False), want), 3e-4)
    assert torch.equal(case.run(path), case.run(path))


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.0, 1.0, -3e4, 1e15])
def test_a_picture_of_one_value_is_the_bias(value: float, dtype: torch.dtype, path: int) -> None:
    case = make(1, 32, 17, 16, 4, dtype)
    flat = case._replace(x=torch.full_like(case.x, value))
    want = flat.bias[None, :, None, None].expand_as(flat.x)
    torch.testing.assert_close(flat.run(path, silu=False), want, rtol=1e-2, atol=1e-2)


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
def test_silu_of_very_large_and_very_negative_numbers(path: int) -> None:
    case = make(1, 16, 8, 8, 2)
    loud = case._replace(weight=case.weight * 60, bias=case.bias * 60)
    torch.testing.assert_close(loud.run(path).double(), loud.refer(), rtol=1e-5, atol=1e-5)
    few = torch.tensor([-1e30, -200.0, -80.0, -1.0, 0.0, 1.0, 80.0, 1e30])
    silent = Case(lay_last(torch.zeros(1, 8, 3, 3)), 1, torch.zeros(8), few)
    want = silent.refer()[0, :, 0, 0]
    torch.testing.assert_close(silent.run(path)[0, :, 0, 0].double(), want, rtol=1e-6, atol=1e-30)


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_spoils_its_group_and_no_other(
    bad: float, dtype: torch.dtype, path: int
) -> None:
    case = make(2, 24, 20, 20, 4, dtype)
    want = case.run(path).clone()
    case.x[1, 7, 19, 3] = bad  # the second group of the second picture
    want[1, 6:12] = float("nan")
    found = case.run(path)
    torch.testing.assert_close(found, want, rtol=0, atol=0, equal_nan=True)


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
def test_bits_depend_on_neither_batch_nor_threads(path: int) -> None:
    case = make(2, 48, 40, 33, 8)
    both = case.run(path)
    for i in range(2):
        assert torch.equal(case._replace(x=case.x[i : i + 1]).run(path), both[i : i + 1])
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            assert torch.equal(case.run(path), both)
    finally:
        torch.set_num_threads(before)


@needs_kernel
def test_calls_from_several_threads_at_once() -> None:
    cases = [make(1, 32, 40, 40, 4, seed=seed) for seed in range(4)]
    alone = [case.run() for case in cases]

    def again(i: int) -> bool:
        return all(torch.equal(cases[i].run(), alone[i]) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(again, range(4)))


@needs_kernel
def test_what_is_not_taken() -> None:
    case = make(2, 8, 5, 6, 2)
    assert kernel.takes(*case)
    assert torch.equal(kernel.native_group_norm_silu(*case, EPS), case.run(kernel.best_path()))
    x, groups, weight, bias = case
    others = (x.contiguous(), x.half(), x.double(), x[0], x[:0], x.to("meta"), x[..., ::2])
    assert not any(kernel.takes(other, groups, weight, bias) for other in others)
    assert not kernel.takes(x, 3, weight, bias)
    asked = lay_last(x.clone()).requires_grad_()
    assert not kernel.takes(asked, groups, weight, bias)
    with torch.no_grad():
        assert kernel.takes(asked, groups, weight, bias)
