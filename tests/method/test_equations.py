"""The edit loop against the paper's equations, written out here step by step in float64."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, cat

from mdp_lite.method import ddim
from mdp_lite.method.inversion import invert
from mdp_lite.method.leash import add_local_leash
from mdp_lite.method.mdp import Guidance, keep_map
from mdp_lite.method.sample import Trajectory, record, sample
from mdp_lite.method.schedule import CURVES, Weights, variant_table, window
from mdp_lite.names import VARIANTS
from support.toy import C_A, C_B, NULL, SETUPS, Setup, X, grid, toy

BOUND = 1e-10
G = 7.5
setups = pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS)
lengths = pytest.mark.parametrize("n", [10, 50])


class Coefficients(NamedTuple):
    """Step i: timestep t, abar a that the step leaves and b that it reaches."""

    t: int
    a: float
    b: float


class Written(NamedTuple):
    """Results of the loop written out here: N+1 latents, N guided noises, N predicted x_0."""

    x: list[Tensor]
    eps: list[Tensor]
    x0: list[Tensor]


def coefficients(setup: Setup, n: int) -> list[Coefficients]:
    """Stable Diffusion's noise schedule; trailing steps for zero terminal SNR, else leading."""
    abar = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    t = np.arange(n)[::-1] * (1000 // n) + 1
    if setup[1]:
        root = np.sqrt(abar)
        abar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        t = np.round(np.arange(1000, 0, -1000 / n)).astype(int) - 1
    before = t - 1000 // n
    b = np.where(before < 0, abar[0], abar[before])
    return [Coefficients(int(t[i]), float(abar[t[i]]), float(b[i])) for i in range(n)]


def guided(x: Tensor, t: int, c: Tensor, w_c: float, w_beta: float, tilt: float = 0) -> Tensor:
    """MDP-c and MDP-beta over whole stacks [null, c], guidance last: two rows, four with beta."""
    stack_a, stack_b = cat([NULL, C_A]), cat([NULL, c])
    out = rows(x, t, (1 - w_c) * stack_b + w_c * stack_a)
    if w_beta or tilt:
        other = rows(x, t, stack_a)
        w = w_beta + tilt * torch.cat(2 * [normalised((out - other)[len(x) :])])
        out = (1 - w) * out + w * other
    e_null, e_text = out.chunk(2)
    return e_null + G * (e_text - e_null)


def normalised(d: Tensor) -> Tensor:
    """The mean over channels, from 0 to 1 in each picture."""
    m = [one.mean(0) for one in d]
    return torch.stack([(one - one.min()) / (one.max() - one.min() + 1e-7) for one in m])[:, None]


def written_map(d: Tensor) -> Tensor:
    """What is kept of the source at each cell of a latent that is too small for a blur."""
    s = d.abs().mean(1, keepdim=True)
    s = torch.stack([one / one.max() if one.any() else one for one in s])
    return 1 / (4 * s * s + 1)


def rows(x: Tensor, t: int, stack: Tensor) -> Tensor:
    return toy(cat([x, x]), torch.tensor(t), stack.repeat_interleave(len(x), 0))


def written_out(
    setup: Setup, n: int, c: Tensor, source: Written | None = None, w: np.ndarray | None = None
) -> Written:
    """The published loop, reading nothing of mdp_lite; w (6, N): c, eps, x, beta, local, tilt."""
    x, result = X, Written([X], [], [])
    for i, (t, a, b) in enumerate(coefficients(setup, n)):
        w_c, w_eps, w_x, w_beta, local, tilt = (0.0,) * 6 if w is None else w[:, i]
        e = guided(x, t, c, w_c, w_beta, tilt)
        if setup[0] == "v_prediction":
            eps, x0 = a**0.5 * e + (1 - a) ** 0.5 * x, a**0.5 * x - (1 - a) ** 0.5 * e
        else:
            eps, x0 = e, (x - (1 - a) ** 0.5 * e) / a**0.5
        if source:
            eps = (1 - w_eps) * eps + w_eps * source.eps[i]
            # The noise at abar = 0 says nothing of x_0: there the two predictions are mixed.
            x0 = (1 - w_eps) * x0 + w_eps * source.x0[i]
            x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5 if a > 0 else x0
        x = b**0.5 * x0 + (1 - b) ** 0.5 * eps
        if source:
            w_x = w_x + local * written_map(x0 - source.x0[i])
            x, eps = (1 - w_x) * x + w_x * source.x[i + 1], (1 - w_x) * eps + w_x * source.eps[i]
        result.x.append(x), result.eps.append(eps), result.x0.append(x0)
    return result


def ours(
    setup: Setup,
    n: int,
    c: Tensor,
    source: Trajectory | None = None,
    weights: Weights | None = None,
) -> Trajectory:
    guidance, v = Guidance(c, NULL, torch.tensor(G)), setup[0] == "v_prediction"
    steps = sample(toy, grid(setup, n), X, guidance, v, source, weights)
    return record(X, list(steps), c)


def distance(got: Tensor, want: list[Tensor]) -> float:
    """Largest error over the largest value."""
    reference = torch.stack(want)
    return float((got - reference).abs().max() / reference.abs().max())


def check_edit(setup: Setup, n: int, weights: Weights) -> None:
    """Trajectory A, then the edit along it, ours and written out: every latent and every noise."""
    theirs_a, ours_a = written_out(setup, n, C_A), ours(setup, n, C_A)
    assert distance(ours_a.x, theirs_a.x) <= BOUND
    table = torch.stack([torch.zeros(n) if one is None else one for one in weights])
    theirs = written_out(setup, n, C_B, theirs_a, table.numpy())
    edit = ours(setup, n, C_B, ours_a, weights)
    assert distance(edit.x, theirs.x) <= BOUND
    assert distance(edit.eps, theirs.eps) <= BOUND


@pytest.mark.covering(2)
@setups
@lengths
@pytest.mark.parametrize("schedule", CURVES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_variant_follows_its_equation(setup: Setup, n: int, variant: str, schedule: str) -> None:
    check_edit(
        setup, n, variant_table(variant, window(n, round(0.94 * n), round(0.52 * n), schedule))
    )


@pytest.mark.covering(1)
@setups
@lengths
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_fractional_edges_and_weights(setup: Setup, n: int, variant: str, weight: float) -> None:
    check_edit(setup, n, variant_table(variant, weight * window(n, 0.93 * n, 0.51 * n)))


@setups
@lengths
@pytest.mark.parametrize("seed", range(4))
def test_mixed_columns(setup: Setup, n: int, seed: int) -> None:
    """All four manipulations at once, a third of the weights exactly 0 or 1, from step 0 on."""
    weights = 1.5 * torch.rand(4, n, generator=torch.Generator().manual_seed(seed)).double() - 0.25
    check_edit(setup, n, Weights(*weights.clamp(0, 1)))


@setups
@lengths
@pytest.mark.parametrize("seed", range(2))
def test_any_number_is_a_weight(setup: Setup, n: int, seed: int) -> None:
    weights = 3 * torch.rand(6, n, generator=torch.Generator().manual_seed(seed)).double() - 1
    check_edit(setup, n, Weights(*weights))


@setups
@pytest.mark.parametrize("n", [12, 50])
def test_the_local_leash_follows_its_equation(setup: Setup, n: int) -> None:
    """All columns by hand: a look of 1 or 2 rows, the rest of the window, the pull, free rows."""
    t_m, look, end = round(0.34 * n), 1 if n == 12 else 2, round(11 / 12 * n)
    weights = add_local_leash(variant_table("epsilon", window(n, n, t_m)), n, t_m)
    check_edit(setup, n, weights)
    pull = 1 - np.exp(-6 / n)
    want = [1.0] * look + [0.0] * (t_m - look) + [pull] * (end - t_m) + [0.0] * (n - end)
    assert weights.local is not None and weights.local.tolist() == pytest.approx(want, abs=1e-12)
    assert weights.eps.tolist() == [float(look <= i < t_m) for i in range(n)]
    assert not weights.x.any()


@pytest.mark.parametrize(
    ("size", "blur"), [((16, 16), 3), ((32, 24), 3), ((32, 32), 5), ((64, 64), 11), ((12, 20), 1)]
)
def test_the_map_is_blurred_in_proportion_to_the_latent(size: tuple[int, int], blur: int) -> None:
    d = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 4, *size)))
    got, half = keep_map(d, torch.zeros_like(d)), blur // 2
    for picture, keep in zip(d.numpy(), got[:, 0].numpy(), strict=True):
        mean = np.abs(picture).mean(0)
        boxes = [
            [mean[max(0, i - half) : i + half + 1, max(0, j - half) : j + half + 1].mean()
             for j in range(size[1])]
            for i in range(size[0])
        ]  # fmt: skip
        s = np.array(boxes) / np.max(boxes)
        assert np.abs(keep - 0.25 / (s * s + 0.25)).max() <= 1e-12


def test_the_map_of_two_equal_predictions_keeps_everything() -> None:
    x = torch.ones(1, 4, 8, 8)
    assert torch.equal(keep_map(x, x), torch.ones(1, 1, 8, 8))


@pytest.mark.parametrize("side", [3, 8, 16, 17, 64])
def test_the_map_of_a_picture_does_not_depend_on_its_batch(side: int) -> None:
    """Bit for bit: neither by the maximum, which is the picture's, nor by another sum."""
    made = torch.Generator().manual_seed(side)
    x0, source = torch.randn(2, 5, 4, side, side + 1, generator=made)
    source[1] += 100  # a picture whose change is larger
    whole = keep_map(x0, source)
    for count in (1, 2):
        parts = zip(x0.split(count), source.split(count), strict=True)
        assert torch.equal(torch.cat([keep_map(*part) for part in parts]), whole)


@setups
@lengths
def test_inversion_follows_its_equation(setup: Setup, n: int) -> None:
    """Up from b to a along the noise predicted at x_b, asked for with the timestep of a."""
    x, result, v = X, Written([], [], []), setup[0] != "epsilon"
    for t, a, b in reversed(coefficients(setup, n)):
        e = guided(x, t, C_A, 0.0, 0.0)
        eps = b**0.5 * e + (1 - b) ** 0.5 * x if v else e
        x0 = (x - (1 - b) ** 0.5 * eps) / b**0.5
        x = a**0.5 * x0 + (1 - a) ** 0.5 * eps
        result.x.append(x), result.eps.append(eps)
    steps = list(invert(toy, grid(setup, n), X, Guidance(C_A, NULL, torch.tensor(G)), v))
    assert distance(torch.stack([step.x for step in steps]), result.x) <= BOUND
    assert distance(torch.stack([step.eps for step in steps]), result.eps) <= BOUND


@pytest.mark.parametrize("name", ["x", "t", "c"])
def test_the_toy_depends_on_everything(name: str) -> None:
    inputs = {"x": X, "t": torch.tensor(500), "c": C_A.expand(2, -1, -1)}
    changed = inputs | {name: inputs[name] + (100 if name == "t" else 1)}
    assert (toy(**inputs) - toy(**changed)).abs().max() > 0.01


@pytest.mark.parametrize("v_prediction", [False, True])
def test_the_gain_of_a_prediction_is_its_derivative(v_prediction: bool) -> None:
    a, b = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    x, e = torch.randn(2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def moved(e: torch.Tensor) -> torch.Tensor:
        x0, eps = ddim.split_prediction(e, x, a, v_prediction)
        return ddim.renoise(x0, eps, b)

    found = torch.autograd.functional.jacobian(moved, e)
    assert torch.allclose(ddim.step_gain(a, b, v_prediction), found, rtol=1e-12)


def test_the_x0_of_a_step_follows_from_its_two_ends() -> None:
    a, b = torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)
    x, eps = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    onward, x0 = ddim.ddim(x, eps, a, b), (x - 0.7**0.5 * eps) / 0.3**0.5
    assert torch.allclose(ddim.x0_between(x, onward, a, b), x0, rtol=1e-12)
    assert torch.equal(ddim.x0_between(x, onward, a, a), onward)  # no step: x_0 can't be found
