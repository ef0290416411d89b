"""Tables of weights: the authors' windows and schedules, and what lies between whole steps."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdp_lite.method.leash import add_leash
from mdp_lite.method.schedule import CURVES, paper_window, variant_table, window
from mdp_lite.names import VARIANTS

# The schedules of MDP.ipynb, over a window of m whole steps.
PUBLISHED: dict[str, Callable[[int], np.ndarray]] = {
    "constant": np.ones,
    "linear": lambda m: np.linspace(1, 0, m),
    "cosine": lambda m: np.cos(np.linspace(0, math.pi / 2, m)),
    "exp": lambda m: np.exp(np.linspace(0, -5, m)),
}
# (N, t_max, t_m): the notebook's ranges at N = 50, and the edges of what is possible.
WHOLE = [(50, t_max, t_m) for t_max in (50, 49, 48, 47, 45) for t_m in (25, 26)]
WHOLE += [(10, 9, 5), (10, 10, 10), (10, 10, 1), (10, 3, 3), (10, 3, 2), (10, 1, 1), (1, 1, 1)]
schedules = st.sampled_from(sorted(CURVES))


@pytest.mark.parametrize("schedule", PUBLISHED)
@pytest.mark.parametrize(("n", "t_max", "t_m"), WHOLE)
def test_whole_edges_give_the_published_table(n: int, t_max: int, t_m: int, schedule: str) -> None:
    t_min = t_max - t_m
    want = np.zeros(n)
    want[n - t_max : n - t_min] = PUBLISHED[schedule](t_m)
    got = window(n, t_max, t_m, schedule)
    assert got.dtype == torch.float64
    assert np.abs(got.numpy() - want).max() <= 1e-12


@pytest.mark.parametrize("schedule", CURVES)
@pytest.mark.parametrize("t_max", [0, 4, 10])
def test_an_empty_window_is_plain_sampling(t_max: int, schedule: str) -> None:
    assert not window(10, t_max, 0, schedule).any()


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, float, float]:
    """(n, t_max, t_m), with edges often on whole steps and often just beside them."""
    n = draw(st.integers(1, 60))
    edge = st.floats(0, 1) | st.integers(0, n).map(lambda k: k / n)
    t_max = draw(edge) * n
    return n, t_max, min(draw(edge) * n, t_max)


@given(case=windows())
@settings(deadline=None, derandomize=True)
def test_a_constant_window_weighs_t_m(case: tuple[int, float, float]) -> None:
    n, t_max, t_m = case
    w = window(n, t_max, t_m)
    assert w.sum().item() == pytest.approx(t_m, abs=1e-9)
    steps = torch.arange(n, dtype=torch.float64)  # in float32 2 - 2e-8 would be 2
    inside = (steps > n - t_max - 1) & (steps < n - (t_max - t_m))
    assert (w[~inside] <= 1e-9).all()
    whole = (steps >= n - t_max) & (steps + 1 <= n - (t_max - t_m))
    assert ((w[whole] - 1).abs() <= 1e-9).all()


@given(case=windows(), schedule=schedules)
@settings(deadline=None, derandomize=True)
def test_weights_are_shares(case: tuple[int, float, float], schedule: str) -> None:
    w = window(*case, schedule)
    assert ((w >= 0) & (w <= 1)).all()
    assert (w <= window(*case) + 1e-12).all()


def jump(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


STEP = 1e-6
SLOPE = 50  # no weight changes by more than this for one step of an edge


@given(case=windows(), schedule=schedules)
@settings(deadline=None, derandomize=True, max_examples=300)
def test_strength_is_continuous(case: tuple[int, float, float], schedule: str) -> None:
    n, t_max, t_m = case
    here = window(n, t_max, t_m, schedule)
    assert jump(here, window(n, t_max, max(t_m - STEP, 0), schedule)) <= SLOPE * STEP
    assert jump(here, window(n, t_max, min(t_m + STEP, t_max), schedule)) <= SLOPE * STEP
    assert jump(here, window(n, max(t_max - STEP, t_m), t_m, schedule)) <= SLOPE * STEP


@given(case=windows(), more=st.floats(0, 10), schedule=schedules)
@settings(deadline=None, derandomize=True, max_examples=300)
def test_a_longer_window_never_weighs_less(
    case: tuple[int, float, float], more: float, schedule: str
) -> None:
    n, t_max, t_m = case
    longer = window(n, t_max, min(t_m + more, t_max), schedule)
    assert (longer >= window(n, t_max, t_m, schedule) - 1e-9).all()


def test_paper_window_is_the_authors_and_scales() -> None:
    assert paper_window(50) == (47, 26)
    assert paper_window(100) == (94, 52)
    for n in range(1, 200):
        t_max, t_m = paper_window(n)
        window(n, t_max, t_m)  # is a window of n steps


@pytest.mark.parametrize("n, t_max, t_m", [(12, 12, 4), (50, 47, 17), (7, 7, 0)])
def test_a_leash_pulls_after_the_window(n: int, t_max: int, t_m: int) -> None:
    """Of what an edit has moved away exp(-2 s) is left after a share s of the path."""
    weights = add_leash(variant_table("x", window(n, t_max, t_m)), t_max, t_m)
    start, end = n - t_max + t_m, round(11 / 12 * n)
    assert torch.equal(weights.x[:start], window(n, t_max, t_m)[:start])
    left = (1 - weights.x[start:end]).prod().item()
    assert left == pytest.approx(math.exp(-2 * (end - start) / n), abs=1e-12)
    assert not weights.x[end:].any()
    half = add_leash(variant_table("x", window(n, t_max, t_m)), t_max, t_m, 0.5)
    assert (1 - half.x[start:end]).prod().item() == pytest.approx(math.sqrt(left), abs=1e-12)


def test_a_leash_leaves_the_other_columns() -> None:
    before = variant_table("epsilon", window(12, 11, 4))
    after = add_leash(before, 11, 4)
    assert torch.equal(after.eps, before.eps) and not after.c.any() and not after.beta.any()
    assert after.x.nonzero().flatten().tolist() == list(range(5, 11))


def test_a_window_that_ends_last_has_no_leash() -> None:
    before = variant_table("x", window(12, 12, 12))
    assert torch.equal(add_leash(before, 12, 12).x, before.x)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_fills_its_own_column(variant: str) -> None:
    w = window(10, 9, 5, "linear")
    weights = variant_table(variant, w)._asdict()
    column = {"epsilon": "eps"}.get(variant, variant)
    assert torch.equal(weights.pop(column), w)
    assert weights.pop("local") is weights.pop("tilt") is None
    assert len(weights) == 3
    assert all(other.shape == w.shape and not other.any() for other in weights.values())


BAD_WINDOWS = [
    ((10, 11, 5), "t_max must be at most the 10 steps of the path, got 11"),
    ((10, 5, 6), "t_m must be at most t_max = 5, got 6"),
    ((10, -1, 0), "t_max must be a number of steps, 0 or more, got -1"),
    ((10, 5, -0.5), "t_m must be a number of steps, 0 or more, got -0.5"),
    ((10, math.nan, 1), "t_max must be a number of steps, 0 or more, got nan"),
    ((10, 5, math.inf), "t_m must be a number of steps, 0 or more, got inf"),
    (
        (10, 5, 2, "sine"),
        "schedule must be one of constant, linear, cosine, exp, leash, local-leash, got 'sine'",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_WINDOWS)
def test_a_window_that_is_none_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError) as error:
        window(*arguments)
    assert str(error.value) == message


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="variant must be one of epsilon, c, x, beta, got 'eps'"):
        variant_table("eps", torch.zeros(10))
