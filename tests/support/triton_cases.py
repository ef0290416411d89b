"""The Triton kernels against their references: on a GPU, or else in Triton's interpreter.

test_triton_kernels.py runs this file in a new process: the interpreter must be chosen before
anything imports triton. It rounds bfloat16 towards zero, where a GPU rounds to nearest, so
without a GPU values are rounded to bfloat16 first and the kernel reads them as float32.
"""

import os
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from mdp_lite.method.mdp import SourceStep, guide, pull_weight, update
from mdp_lite.method.schedule import StepCoefficients, Weights
from mdp_lite_kernels.geglu import geglu, triton_geglu
from mdp_lite_kernels.geglu import takes as geglu_takes
from mdp_lite_kernels.group_norm_silu import takes as norm_takes
from mdp_lite_kernels.guided_step import guided_step, triton_guided_step
from mdp_lite_kernels.guided_step import takes as step_takes
from mdp_lite_kernels.pixels import pixels, triton_pixels
from mdp_lite_kernels.pixels import takes as pixels_takes

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
STORED = torch.float32 if INTERPRETED else torch.bfloat16  # what holds values rounded to bfloat16
LAST = torch.channels_last
DTYPES = {  # name: (dtype of the values, dtype that stores them, one rounding of the result)
    "float32": (torch.float32, torch.float32, 1e-6),
    "float16": (torch.float16, torch.float16, 2**-11),
    "bfloat16": (torch.bfloat16, STORED, 2**-8),
}
real = pytest.mark.skipif(INTERPRETED, reason="a picture's size takes the interpreter too long")


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    """The same numbers in every run; no gradients, as wherever kernels are used."""
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def values(*shape: int, dtype: str = "float32", scale: float = 1, mean: float = 0) -> Tensor:
    precision, storage, _ = DTYPES[dtype]
    return (mean + scale * torch.randn(shape, device=DEVICE)).to(precision).to(storage)


def near(got: Tensor, want: Tensor, bound: float) -> None:
    """Equal dtypes aside, within a bound of the largest value, and NaN in the same places."""
    got, want = got.double(), want.double()
    assert got.shape == want.shape and bool((got.isnan() == want.isnan()).all())
    assert float((got - want).abs().nan_to_num().max()) <= bound * float(
        want.abs().nan_to_num().max()
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 2), (2, 3, 14), (7, 10), (1, 5, 2560), (1, 1, 3000)]
    + [pytest.param(s, marks=real) for s in [(2, 4096, 2560), (2, 1024, 5120), (2, 64, 10240)]],
)
def test_geglu(shape: tuple[int, ...], dtype: str) -> None:
    projection = values(*shape, dtype=dtype, scale=2)
    got = triton_geglu(projection)
    assert got.dtype == projection.dtype
    near(got, geglu(projection.double()), DTYPES[dtype][2])


def test_geglu_of_extremes() -> None:
    ends = [float("nan"), float("inf"), -40.0, -6.0, -1e-30, 0.0, 1e-30, 40.0]
    projection = torch.tensor([1.0] * len(ends) + ends, device=DEVICE)
    got = triton_geglu(projection)
    near(got[2:], geglu(projection)[2:], 1e-6)
    assert got[0].isnan() and got[1] == float("inf")


def level(of: Callable[[int], Tensor], each: bool, b: int) -> Tensor:
    """One 0-d value, or one for each picture."""
    return of(b).view(b, 1, 1, 1) if each else of(1)[0]


def share(kind: str, b: int, size: tuple[int, int]) -> Tensor:
    """A weight in the shapes it may have."""
    shapes = {"each": (b, 1, 1, 1), "map": (1, 1, *size), "maps": (b, 4, *size)}
    return torch.rand(shapes.get(kind, ()), device=DEVICE, dtype=torch.float64)


STEPS = [  # guided, beta, v_prediction, noise, weights, one level for each picture
    (True, False, False, False, "one", False),
    (False, False, False, False, "map", False),
    (True, True, False, False, "maps", False),
    (False, True, True, False, "each", True),
    (True, True, True, False, "map", False),
    (True, False, True, True, "one", True),
    (True, False, False, True, "maps", False),
]


@pytest.mark.parametrize(("last", "first"), [(False, True), (True, False)])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize(("guided", "beta", "v_prediction", "noisy", "kind", "each"), STEPS)
def test_guided_step(
    guided: bool, beta: bool, v_prediction: bool, noisy: bool, kind: str, each: bool,
    precision: torch.dtype, last: bool, first: bool,
) -> None:  # fmt: skip
    b, size = 3, (9, 11)
    x, eps_a, x_a, x0_a, noise = (values(b, 4, *size).to(precision) for _ in range(5))
    out = values(b * (1 + guided + beta), 4, *size, dtype="float16")
    out = out.to(memory_format=LAST) if last else out
    a, after = torch.linspace(0.2, 0.6, b), torch.linspace(0.3, 0.9, b)
    a, after = (
        a * (not (first and v_prediction)),
        torch.ones(b) if first and not v_prediction else after,
    )
    g = level(lambda n: 7.5 + torch.arange(float(n)), each, b).to(DEVICE, precision)
    a, after = (level(lambda n, t=t: t[:n], each, b).to(DEVICE, torch.float64) for t in (a, after))
    weights = Weights(
        share("one", b, size), *(share(kind, b, size).to(precision) for _ in range(3))
    )
    rest = (
        weights.beta if beta else None,
        x0_a if v_prediction else None,
        noise if noisy else None,
    )
    arguments = (
        out,
        x,
        g,
        a,
        after,
        eps_a,
        x_a,
        weights.eps,
        weights.x,
        *rest,
        guided,
        v_prediction,
    )
    onward, eps = triton_guided_step(*arguments)
    e = guide(out.to(precision), guided, g, rest[0])
    a, after = (t.to(precision) if each else t for t in (a, after))
    source = SourceStep(out, eps_a, x0_a, x_a, noise if noisy else None)
    bound = 1e-6 if precision == torch.float32 else 1e-12
    for want in (
        update(e, x, StepCoefficients(a, a, after), source, weights, v_prediction),
        guided_step(*arguments),
    ):
        near(onward, want[0], bound)
        near(eps, want[1], bound)
    assert onward.dtype == eps.dtype == precision


@pytest.mark.parametrize("noisy", [False, True])
def test_a_local_pull_is_a_map_that_is_computed_first(noisy: bool) -> None:
    """The weight that update finds from both predictions of x_0, given to the kernel as a map."""
    x, eps_a, x_a, x0_a, noise = (values(3, 4, 16, 16) for _ in range(5))
    out = values(6, 4, 16, 16)
    g, a, b = (torch.tensor(n, device=DEVICE, dtype=torch.float64) for n in (4.0, 0.3, 0.4))
    zero, r = (torch.tensor(n, device=DEVICE) for n in (0.0, 0.6))
    source = SourceStep(out, eps_a, x0_a, x_a, noise if noisy else None)
    e = guide(out, True, g.float())
    weights = Weights(zero, -0.5 + zero, zero, zero, local=r)
    want = update(e, x, StepCoefficients(a, a, b), source, weights, False)
    eps = torch.lerp(e, eps_a, weights.eps)
    x0 = (x - (1 - a).sqrt().float() * eps) / a.sqrt().float()
    w_x = pull_weight(x0, x0_a, weights)
    got = triton_guided_step(
        out, x, g, a, b, eps_a, x_a, weights.eps, w_x, noise=noise if noisy else None
    )
    for one, other in zip(got, want, strict=True):
        near(one, other, 2e-6)


@pytest.mark.parametrize("w", [0.0, 1.0])
def test_a_weight_at_its_end_changes_no_bit(w: float) -> None:
    x, eps_a, x_a, _ = (values(2, 4, 8, 8) for _ in range(4))
    out, weight = values(2, 4, 8, 8), torch.tensor(w, device=DEVICE)
    g, a, b = (torch.tensor(n, device=DEVICE, dtype=torch.float64) for n in (1.0, 0.3, 0.4))
    onward, eps = triton_guided_step(out, x, g, a, b, eps_a, x_a, weight, weight, guided=False)
    assert torch.equal(eps, eps_a if w else out)
    assert not w or torch.equal(onward, x_a)


def test_guided_step_passes_nan_on() -> None:
    x, eps_a, x_a, out = (values(1, 4, 5, 5) for _ in range(4))
    out[0, 2, 3, 4] = float("nan")
    half = torch.tensor(0.5, device=DEVICE)
    onward, eps = triton_guided_step(out, x, half, half, half, eps_a, x_a, half, half, guided=False)
    assert torch.equal(onward.isnan(), out.isnan()) and torch.equal(eps.isnan(), out.isnan())


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "shape",
    [(1, 3, 1, 1), (2, 3, 5, 7), (1, 3, 40, 36), pytest.param((2, 3, 512, 512), marks=real)],
)
def test_pixels(shape: tuple[int, ...], dtype: str, last: bool) -> None:
    picture = values(*shape, dtype=dtype, scale=0.7)
    picture = picture.to(memory_format=LAST) if last else picture
    assert torch.equal(triton_pixels(picture), pixels(picture))


def test_pixels_at_every_edge_between_two() -> None:
    edge = (torch.arange(255, device=DEVICE) + 0.5) / 127.5 - 1
    near_edge = [edge, edge.nextafter(edge.new_tensor(2)), edge.nextafter(edge.new_tensor(-2))]
    ends = torch.tensor([-2.0, -1.0, 1.0, 2.0, float("inf"), -float("inf")], device=DEVICE)
    picture = torch.cat([*near_edge, ends]).view(1, 3, 257, 1)
    assert torch.equal(triton_pixels(picture), pixels(picture))


def test_takes() -> None:
    """On a GPU what the tests above give them, on a CPU nothing at all."""
    x, scale, on_gpu = values(2, 8, 4, 4).to(memory_format=LAST), values(8), not INTERPRETED
    one, rows = scale[0], (values(4, 4, 4, 4), values(2, 4, 4, 4))
    step = (one, one, one, rows[1], rows[1], one, one)
    assert norm_takes(x, 2, scale, scale, 1e-5) is on_gpu
    assert geglu_takes(scale) is on_gpu and pixels_takes(values(1, 3, 4, 4)) is on_gpu
    assert step_takes(*rows, *step) is on_gpu
    assert not norm_takes(x.double(), 2, scale, scale, 1e-5)
    assert not norm_takes(x.contiguous(), 2, scale, scale, 1e-5)
    for shift, fits in ((values(2, 8), True), (values(1, 8), True), (values(1, 1), False)):
        assert norm_takes(x, 2, scale, scale, 1e-5, shift=shift) is (on_gpu and fits)
    assert not norm_takes(x, 2, scale, scale, 1e-5, shift=values(2, 8).double())
    assert not geglu_takes(values(3, 3)) and not pixels_takes(values(1, 4, 4, 4))
    assert not step_takes(*rows, *step, guided=False) and not step_takes(
        *rows, *step, v_prediction=True
    )
    with torch.enable_grad():
        assert not geglu_takes(scale.requires_grad_())
