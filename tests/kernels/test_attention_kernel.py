"""The native attention against attention in float64: errors, extremes, threads, refusals."""

import platform
import shutil
import sysconfig
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdp_lite_kernels import attention as kernel

needs_kernel = pytest.mark.skipif(
    kernel.best_path() == 0,
    reason="no native attention here: no compiler, or not an x86-64 with AVX2",
)
PATHS = range(1, kernel.best_path() + 1)
DTYPES = (torch.bfloat16, torch.float32)


def inputs(
    b: int, h: int, n: int, m: int, d: int, dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """q, k, v in (b, n, h, d) memory seen as (b, h, n, d)."""
    made = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(b, rows, h, d, generator=made).to(dtype) for rows in (n, m, m))
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def error(x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> float:
    want = kernel.attention(q.double(), k.double(), v.double())
    return float((x.double() - want).norm() / want.norm())


def assert_close(path: int, q: Tensor, k: Tensor, v: Tensor) -> None:
    """bfloat16 no worse than torch's by more than 5 %, float32 to 1e-5."""
    own = error(kernel._run(q, k, v, path), q, k, v)
    few = 2e-4 if q.numel() < 4096 else 0  # a handful of values: rounding is a matter of luck
    most = (
        1e-5 if q.dtype == torch.float32 else 1.05 * error(kernel.attention(q, k, v), q, k, v) + few
    )
    assert own <= most


def test_the_kernel_is_there_where_it_can_be_built() -> None:
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if platform.machine() != "x86_64" or not shutil.which(compiler):
        pytest.skip(f"no {compiler} for x86-64 on this machine")
    assert kernel.library() is not None, "not built: run pip install -e ."


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape",
    [
        (2, 2, 256, 256, 40),
        (1, 3, 100, 77, 80),
        (2, 1, 64, 300, 160),
        (1, 2, 65, 1000, 64),
        (1, 1, 90, 140, 512),
    ],
)
def test_error_on_the_shapes_of_a_unet(
    shape: tuple[int, int, int, int, int], dtype: torch.dtype, path: int
) -> None:
    assert_close(path, *inputs(*shape, dtype))


@needs_kernel
@settings(deadline=None, max_examples=25)
@given(
    sizes=st.tuples(
        st.integers(1, 3),
        st.integers(1, 3),
        st.integers(1, 70),
        st.integers(1, 280),
        st.integers(1, 20).map(lambda eighths: 8 * eighths),
    ),
    dtype=st.sampled_from(DTYPES),
    path=st.sampled_from(PATHS or [0]),
    cut=st.integers(0, 3),
    loud=st.sampled_from([1.0, 10.0]),
)
def test_any_sizes_and_strides(
    sizes: tuple[int, int, int, int, int], dtype: torch.dtype, path: int, cut: int, loud: float
) -> None:
    b, h, n, m, d = sizes
    q, k, v = inputs(b, h + cut, n + cut, m + cut, d, dtype)
    q, k, v = (loud * q)[:, :h, :n], k[:, cut:, cut:], v[:, :h, ::2][:, :, : (m + 1) // 2]
    k = k[:, :, : v.shape[2]]
    assert kernel.takes(q, k, v)
    own, torchs = kernel._run(q, k, v, path), kernel.attention(q, k, v)
    bound = 2e-5 if dtype == torch.float32 else 1.5e-2
    torch.testing.assert_close(own, torchs, rtol=bound, atol=bound)


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
def test_scores_that_are_large_or_very_negative(path: int) -> None:
    q, k, v = inputs(1, 2, 64, 77, 40)
    assert_close(path, 10 * q, k, v)
    low = 1000 * torch.ones_like(k) + k  # every score is far below 0, where padding would win
    assert_close(path, -q.abs(), low, v)
    huge = torch.ones_like(k)
    huge[:, :, 5] *= 2
    want = v[:, :, 5:6].expand_as(q)
    assert torch.equal(kernel._run(torch.full_like(q, 1e15), huge * 1e15, v, path), want)


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_growing_maxima_and_one_key(dtype: torch.dtype, path: int) -> None:
    q, k, v = inputs(1, 1, 40, 600, 64, dtype)
    ramp = torch.linspace(0.1, 3, 600, dtype=dtype)[:, None]
    assert_close(path, q.abs(), k.abs() * ramp, v)
    one = v[:, :, :1]
    assert torch.equal(kernel._run(q, k[:, :, :1], one, path), one.expand_as(q))


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_stays_so(bad: float, path: int) -> None:
    for which in range(3):
        for row in (3, 76):
            made = [x.clone() for x in inputs(1, 2, 77, 77, 40)]
            made[which][0, 1, row, 7] = bad
            q, k, v = (x.double() for x in made)
            want = (q @ k.mT / 40**0.5).softmax(
                -1
            ) @ v  # torch's own kernel writes zeros for infinity
            own = kernel._run(*made, path).double()
            torch.testing.assert_close(own, want, rtol=2e-2, atol=2e-2, equal_nan=True)


@needs_kernel
@pytest.mark.parametrize("path", PATHS)
def test_bits_depend_on_neither_batch_nor_threads(path: int) -> None:
    q, k, v = inputs(2, 3, 200, 150, 40)
    both = kernel._run(q, k, v, path)
    for i in range(2):
        alone = kernel._run(q[i : i + 1], k[i : i + 1], v[i : i + 1], path)
        assert torch.equal(alone, both[i : i + 1])
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            assert torch.equal(kernel._run(q, k, v, path), both)
    finally:
        torch.set_num_threads(before)


@needs_kernel
def test_calls_from_several_threads_at_once() -> None:
    cases = [inputs(1, 4, 130, 200, 40, seed=seed) for seed in range(4)]
    alone = [kernel.native_attention(*case) for case in cases]

    def again(i: int) -> bool:
        return all(torch.equal(kernel.native_attention(*cases[i]), alone[i]) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(again, range(4)))


@needs_kernel
def test_the_memory_of_the_output_is_rows_of_heads() -> None:
    q, k, v = inputs(2, 3, 5, 7, 8)
    assert kernel.native_attention(q, k, v).transpose(1, 2).is_contiguous()


@needs_kernel
def test_what_is_not_taken() -> None:
    q, k, v = inputs(2, 3, 16, 7, 40)
    assert kernel.takes(q, k, v)
    assert not kernel.takes(q.half(), k.half(), v.half())
    assert not kernel.takes(q, k.float(), v)
    assert not kernel.takes(q[0], k[0], v[0])
    assert not kernel.takes(q, k, v[:, :, :-1])
    assert not kernel.takes(q[:1], k, v)
    assert not kernel.takes(q[..., :36], k[..., :36], v[..., :36])
    assert not kernel.takes(q[..., ::5], k[..., ::5], v[..., ::5])
    assert not kernel.takes(q, k[:, :, :0], v[:, :, :0])
    assert not kernel.takes(*inputs(1, 1, 4, 4, 520))
    assert not kernel.takes(q.to("meta"), k.to("meta"), v.to("meta"))
    asked = q.clone().requires_grad_()
    assert not kernel.takes(asked, k, v)
    with torch.no_grad():
        assert kernel.takes(asked, k, v)


@needs_kernel
def test_the_operator_is_the_kernel() -> None:
    q, k, v = inputs(2, 3, 16, 7, 40)
    assert torch.equal(kernel.attention_op()(q, k, v), kernel.native_attention(q, k, v))
    torch.library.opcheck(kernel.attention_op(), (q, k, v), test_utils="test_faketensor")
    assert kernel.attention_op() is kernel.attention_op()
