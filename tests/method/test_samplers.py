"""The samplers of models of few steps against diffusers': same generator, start and end level."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)
from torch import Tensor

from mdp_lite.method.execute import EditTask, build_tree, execute
from mdp_lite.method.inversion import add_noise, noise_maps
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.plan import EditFacts, naive_plan, plan
from mdp_lite.method.sample import Trajectory, record, sample
from mdp_lite.method.samplers import build_grid
from mdp_lite.method.schedule import Grid, Weights, ddim_grid, zero_weights
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.names import BadInput
from mdp_lite.pipeline.noise import draw
from support.toy import C_A, C_B, random, toy

# What diffusers 0.35 does with a list of numpy numbers.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SD: dict[str, Any] = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SD["steps_offset"] = 1
THEIRS: dict[str, Any] = {
    "euler": EulerDiscreteScheduler,
    "euler-ancestral": EulerAncestralDiscreteScheduler,
    "lcm": LCMScheduler,
    "tcd": TCDScheduler,
}
KINDS = [
    ("euler", "trailing", "epsilon"),
    ("euler", "leading", "epsilon"),
    ("euler", "linspace", "epsilon"),
    ("euler", "trailing", "v_prediction"),
    ("euler", "trailing", "sample"),
    ("euler-ancestral", "trailing", "epsilon"),
    ("euler-ancestral", "linspace", "epsilon"),
    ("euler-ancestral", "leading", "v_prediction"),
    ("lcm", "leading", "epsilon"),
    ("lcm", "leading", "v_prediction"),
    ("lcm", "leading", "sample"),
    ("tcd", "leading", "epsilon"),
    ("tcd", "trailing", "v_prediction"),
    ("tcd", "leading", "sample"),
]
COUNTS = (1, 2, 4, 8)
SHAPE = (1, 4, 3, 5)
UNGUIDED = Guidance(C_A, None, torch.ones(()))


def config_of(kind: tuple[str, str, str]) -> SchedulerConfig:
    sampler, spacing, prediction = kind
    return SchedulerConfig(
        **SD, sampler=sampler, timestep_spacing=spacing, prediction_type=prediction,
        set_alpha_to_one=False,
    )  # fmt: skip


def sample_theirs(kind: tuple[str, str, str], n: int, seed: int) -> Tensor:
    """What diffusers' own loop gives in float64, with one generator for all noise."""
    sampler, spacing, prediction = kind
    options = SD | {"timestep_spacing": spacing, "prediction_type": prediction}
    theirs = THEIRS[sampler](**options)
    theirs.set_timesteps(n)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(SHAPE, generator=generator) * theirs.init_noise_sigma
    for t in theirs.timesteps:
        out = toy(theirs.scale_model_input(x, t), t, C_A.float())
        x = theirs.step(out, t, x, generator=generator).prev_sample
    return x.double()


def start(kind: tuple[str, str, str], n: int) -> tuple[Grid, Tensor, Tensor | None]:
    config = config_of(kind)
    grid = build_grid(config, n)
    return grid, *draw(config, grid, 3, SHAPE)


def path_of(kind: tuple[str, str, str], n: int) -> Trajectory:
    grid, x, noise = start(kind, n)
    v = kind[2] == "v_prediction"
    steps = list(sample(toy, grid, x, UNGUIDED, v, noise=noise))
    return record(x, steps, C_A, noise)


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_generation_is_that_of_diffusers(kind: tuple[str, str, str], n: int) -> None:
    want, got = sample_theirs(kind, n, 3), path_of(kind, n).x[-1]
    assert (got - want).abs().max() <= 1e-4 * want.abs().max().clamp(min=1)


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_every_eta_of_tcd_is_that_of_diffusers(eta: float, n: int) -> None:
    """0 adds no noise and draws none; 0.3 is TCD's own, 1 that of Hyper-SD's card."""
    config = replace(config_of(("tcd", "leading", "epsilon")), eta=eta)
    grid = build_grid(config, n)
    x, noise = draw(config, grid, 3, SHAPE)
    *_, ours = sample(toy, grid, x, UNGUIDED, noise=noise)
    theirs, generator = TCDScheduler(**SD), torch.Generator().manual_seed(3)
    theirs.set_timesteps(n)
    want = torch.randn(SHAPE, generator=generator)
    for t in theirs.timesteps:
        out = toy(want, t, C_A.float())
        want = theirs.step(out, t, want, eta=eta, generator=generator).prev_sample
    assert (noise is None) == (eta == 0)
    assert (ours.x - want).abs().max() <= 1e-4 * want.abs().max().clamp(min=1)


@pytest.mark.parametrize("n", COUNTS)
def test_an_lcm_may_start_at_another_timestep(n: int) -> None:
    """As Hyper-SD's UNet of one step does, by its card: LCMScheduler with timesteps=[800]."""
    config = replace(config_of(("lcm", "leading", "epsilon")), first_timestep=800)
    grid = build_grid(config, n)
    assert grid.t[0] == 800
    x, noise = draw(config, grid, 3, SHAPE)
    *_, ours = sample(toy, grid, x, UNGUIDED, noise=noise)
    theirs, generator = LCMScheduler(**SD), torch.Generator().manual_seed(3)
    theirs.set_timesteps(timesteps=grid.t.tolist())
    want = torch.randn(SHAPE, generator=generator)
    for t in theirs.timesteps:
        want = theirs.step(toy(want, t, C_A.float()), t, want, generator=generator).prev_sample
    assert (ours.x - want).abs().max() <= 1e-4 * want.abs().max().clamp(min=1)


def sample_by_ddim(kind: tuple[str, str, str], n: int) -> Tensor:
    """Plain DDIM on the same timesteps: from unit noise, without new noise, to DDIM's own end."""
    grid, v = build_grid(config_of(kind), n), kind[2] == "v_prediction"
    plain = ddim_grid(replace(config_of(kind), sampler="ddim"), n)
    end = plain.b[-1:] if kind[0] == "lcm" or kind[1] == "linspace" else plain.b[n - 1 :]
    z, _ = draw(replace(config_of(kind), sampler="ddim"), grid, 3, SHAPE)
    same = grid._replace(b=torch.cat([grid.a[1:], end]), skip=None)
    *_, last = sample(toy, same, z, UNGUIDED, v)
    return last.x


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_plain_ddim_on_the_same_timesteps_is_another_picture(
    kind: tuple[str, str, str], n: int
) -> None:
    """The noise, the start and the last level are worth the trouble (docs/method.md)."""
    want = sample_theirs(kind, n, 3)
    error = ((sample_by_ddim(kind, n) - want).norm() / want.norm()).item()
    if kind[0] == "tcd" and n == 1:  # its only step is DDIM's
        assert error <= 1e-5
        return
    assert error > (1e-3 if n > 1 or kind[2] == "epsilon" else 0)


@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_recorded_noise_reconstructs_a_picture(kind: tuple[str, str, str], n: int) -> None:
    """An edit with nothing to change ends at the picture, whatever noise was chosen."""
    grid, v = build_grid(config_of(kind), n), kind[2] == "v_prediction"
    picture, z = random(8, *SHAPE), random(9, n, *SHAPE)
    pivots = add_noise(grid, picture, z)
    pairs = list(noise_maps(toy, grid, pivots, UNGUIDED, v))
    path = record(pivots[0], [one for one, _ in pairs], C_A, torch.stack([m for _, m in pairs]))
    same = [*sample(toy, grid, path.x[0], UNGUIDED, v, path, zero_weights(n))]
    assert (same[-1].x - picture).abs().max() <= 1e-8
    again = [*sample(toy, grid, path.x[0], UNGUIDED, v, noise=path.noise)]
    assert (again[-1].x - picture).abs().max() <= 1e-8


@pytest.mark.covering(2)
@pytest.mark.parametrize("n", COUNTS)
@pytest.mark.parametrize("kind", KINDS, ids="-".join)
@pytest.mark.parametrize("column", ["c", "eps", "x", "beta"])
def test_plans_end_where_the_naive_loop_ends(
    kind: tuple[str, str, str], n: int, column: str
) -> None:
    """Segments without a UNet call have a closed form in every sampler."""
    grid, v = build_grid(config_of(kind), n), kind[2] == "v_prediction"
    path, to = path_of(kind, n), Guidance(C_B, None, torch.ones(()))
    w = torch.tensor([0.0, 0.5, 1.0, 1.0, 0.3, 1.0, 0.0, 0.0], dtype=torch.float64)[:n]
    zeros = torch.zeros(n, dtype=torch.float64)
    weights = Weights(**(dict.fromkeys(("c", "eps", "x", "beta"), zeros) | {column: w}))
    facts = EditFacts(guided=False, own_noise=True)
    ends = []
    for steps in (plan(weights, grid, facts), naive_plan(weights, guided=False)):
        task = EditTask(grid, to, path, weights, steps)
        *_, [end] = execute(toy, build_tree([task]), v)
        ends.append(end.step.x)
    assert (ends[0] - ends[1]).abs().max() <= 1e-9 * ends[1].abs().max()


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_an_edit_of_nothing_is_the_source(kind: tuple[str, str, str]) -> None:
    """Both by the noise (eps) and by the latents (x), and by sampling again."""
    n, v = 4, kind[2] == "v_prediction"
    grid, path = build_grid(config_of(kind), n), path_of(kind, n)
    for column in ("eps", "x"):
        weights = zero_weights(n)._replace(**{column: torch.ones(n, dtype=torch.float64)})
        to = UNGUIDED._replace(c=C_B)
        *_, end = sample(toy, grid, path.x[0], to, v, path, weights)
        assert (end.x - path.x[-1]).abs().max() <= 1e-9 * path.x.abs().max()


def test_the_levels() -> None:
    """Trailing timesteps start at the last one; Euler's and LCM's path ends clean, DDIM's not."""
    samplers = ("euler", "lcm", "ddim")
    turbo, lcm, ddim = (build_grid(config_of((s, "trailing", "epsilon")), 4) for s in samplers)
    assert turbo.t.tolist() == [999, 749, 499, 249] and lcm.t.tolist() == [999, 759, 499, 259]
    assert turbo.b[-1] == lcm.b[-1] == 1 > ddim.b[-1]
    assert lcm.skip is not None and 0 < lcm.skip[0] < lcm.skip[-1] < 1e-7


@pytest.mark.parametrize("n", [0, 51, True])
@pytest.mark.parametrize("sampler", ["lcm", "tcd"])
def test_a_distilled_model_has_at_most_its_original_steps(sampler: str, n: int) -> None:
    with pytest.raises(BadInput, match="num_inference_steps"):
        build_grid(config_of((sampler, "leading", "epsilon")), n)


def test_sampling_without_noise_is_bit_equal_to_before() -> None:
    """A DDIM grid has no column but its three, and no noise is drawn for it."""
    grid, x, noise = start(("ddim", "leading", "epsilon"), 4)
    assert grid.skip is grid.direct is noise is None
    assert torch.equal(x, torch.randn(SHAPE, generator=torch.Generator().manual_seed(3)).double())
