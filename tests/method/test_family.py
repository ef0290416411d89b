"""Published editors are tables of the one step: each is equal to its public code's arithmetic.

The loops here are written from the formulas of the papers and of the code that each test names, in
float64. Ours are plans of mdp_lite/method/family.py, and the loop that skips nothing.
"""

import pytest
import torch
from torch import Tensor

from mdp_lite.method import family
from mdp_lite.method.execute import EditTask
from mdp_lite.method.inversion import add_noise, noise_maps
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.method.sample import Trajectory, record, sample
from mdp_lite.method.schedule import Grid, Weights, alphas_cumprod, zero_weights
from mdp_lite.models.config import SchedulerConfig
from support.tables import final_latents, naive, relative_error
from support.toy import C_A, C_B, NULL, random, toy

CONFIG = SchedulerConfig(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
ABAR = alphas_cumprod(CONFIG)
SHAPE = (2, 4, 3, 5)  # two pictures: what is normalised is so in each
CLEAN = random(20, *SHAPE)
BOUND = 1e-10


def steps_at(*times: int) -> Grid:
    """Steps between these timesteps, the last one to a clean latent."""
    t = torch.tensor(times)
    return Grid(t, ABAR[t], torch.cat([ABAR[t[1:]], torch.ones(1, dtype=torch.float64)]))


def alone(c: Tensor) -> Guidance:
    """A condition without guidance."""
    return Guidance(c, None, torch.tensor(1.0))


def guided(c: Tensor, g: float) -> Guidance:
    return Guidance(c, NULL, torch.tensor(g).double())


def recorded(on: Grid, pivots: Tensor, guidance: Guidance) -> Trajectory:
    """A path through these latents, with the noise that each DDPM step must add."""
    steps, maps = zip(*noise_maps(toy, on, pivots, guidance), strict=True)
    return record(pivots[0], list(steps), guidance.c, torch.stack(maps))


def check(want: Tensor, on: Grid, path: Trajectory, to: Guidance, weights: Weights) -> None:
    """The plan of a table, and the loop without one, lead to `want`."""
    steps = plan(weights, on, EditFacts(guided=to.null is not None))
    task = EditTask(on, to, path, weights, steps)
    assert relative_error(final_latents(toy, [task], False)[0], want) <= BOUND
    assert relative_error(naive(toy, task, False), want) <= BOUND


def clean(x: Tensor, e: Tensor, a: Tensor) -> Tensor:
    return (x - (1 - a) ** 0.5 * e) / a**0.5


def posterior_mean(x: Tensor, e: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Eq. 7 of DDPM (Ho et al. 2020), as in diffusers' DDPMScheduler."""
    step = a / b
    return b**0.5 * (1 - step) / (1 - a) * clean(x, e, a) + step**0.5 * (1 - b) / (1 - a) * x


def test_turboedit() -> None:
    """GiilDe/turbo-edit, utils.py at 82741cf: create_xts, step_save_latents, step_use_latents."""
    on, shift, limits, w1 = steps_at(799, 599, 399, 199), 200, (-1.0, 6.0, -1.0, 3.0), 1.5
    z = random(21, 4, 1, *SHAPE[1:])
    clean_latent = CLEAN[:1]
    latents = [
        ABAR[t - shift] ** 0.5 * clean_latent + (1 - ABAR[t - shift]) ** 0.5 * one
        if t - shift > 0 else clean_latent
        for t, one in zip(on.t, z, strict=True)
    ]  # fmt: skip
    latents += [clean_latent]
    x, clipped = latents[0], 0
    for i, (t, a, b) in enumerate(zip(*on[:3], strict=True)):
        source_mean = posterior_mean(latents[i], toy(latents[i], t, C_A), a, b)
        norm = (latents[i + 1] - source_mean).norm()
        share = limits[i] / norm if 0 < limits[i] < norm else torch.tensor(1.0)
        clipped += int(share < 1)
        mean_a, mean_b = (posterior_mean(x, toy(x, t, c), a, b) for c in (C_A, C_B))
        x = share * latents[i + 1] + (mean_a - share * source_mean) + w1 * (mean_b - mean_a)
    assert clipped  # the limit is one
    levels = family.shift_levels(on.t, ABAR, shift)
    path = recorded(on, add_noise(on._replace(a=levels), clean_latent, z), alone(C_A))
    assert path.noise is not None
    bounds = torch.tensor([one if one > 0 else torch.inf for one in limits]).double()
    path = path._replace(noise=family.limit_noise(path.noise, bounds))
    check(x, on, path, alone(C_B), family.turboedit_table(4, w1))


@pytest.mark.parametrize("omega", [5.0, 0.0])
def test_uniedit(omega: float) -> None:
    """DSL-Lab/UniEdit-Flow, UniEditEulerScheduler.py at e3633bc: UniEditDDIMScheduler.step."""
    on = steps_at(601, 401, 201, 1)
    x = start = random(22, *SHAPE)
    for t, a, b in zip(*on[:3], strict=True):
        v_a, v_b = toy(x, t, C_A), toy(x, t, C_B)
        mask = (v_b - v_a).mean(dim=1, keepdim=True)
        low, high = (
            f(mask.reshape(2, -1), 1).reshape(2, 1, 1, 1) for f in (torch.amin, torch.amax)
        )
        mask = (mask - low) / (high - low + 1e-7)
        e = mask * v_b + (1 - mask) * v_a + omega * (1 + mask) * (v_b - v_a)
        x = b**0.5 * clean(x, e, a) + (1 - b) ** 0.5 * e
    path = record(start, list(sample(toy, on, start, alone(C_A))), C_A)
    check(x, on, path, alone(C_B), family.uniedit_table(4, omega))


def test_infedit() -> None:
    """sled-group/InfEdit, pipeline_ead.py at 0ed3382: ddcm_sampler at eta = 1, and its loop."""
    on, g = steps_at(839, 639, 439, 239, 39), 7.5
    z = random(23, 5, *SHAPE)
    source = x = on.a[0] ** 0.5 * CLEAN + (1 - on.a[0]) ** 0.5 * z[0]
    for i, (t, a, b) in enumerate(zip(*on[:3], strict=True)):
        null = toy(x, t, NULL)
        e_b, e_a = null + g * (toy(x, t, C_B) - null), toy(source, t, C_A)
        found = CLEAN + ((x - source) - (1 - a) ** 0.5 * (e_b - e_a)) / a**0.5
        added = (1 - b) ** 0.5 * z[i + 1] if i < 4 else 0.0
        x, source = b**0.5 * found + added, b**0.5 * CLEAN + added
    path = recorded(on, add_noise(on, CLEAN, z), alone(C_A))
    check(x, on, path, guided(C_B, g), family.infedit_table(on))


@pytest.mark.parametrize("noisy", [True, False])
def test_flowedit(noisy: bool) -> None:
    """fallenshock/FlowEdit as in Jiaqi-Ye/FlowEdit at 7a74d11, FlowEdit_utils.py: FlowEditSD3.

    Here n_avg = 1, n_min = 0, and n_max is the number of steps. Its velocity is that of a straight
    path z = (1 - t) x0 + t eps; on it a model of noise reads x = (alpha + sigma) z. The rule is the
    same on a source without new noise, whose latents are then not those of a straight path.
    """
    on, g_a, g_b = steps_at(750, 550, 350, 150), 2.0, 5.0
    if noisy:
        path = recorded(on, add_noise(on, CLEAN, random(24, 4, *SHAPE)), guided(C_A, g_a))
    else:
        start = random(24, *SHAPE)
        path = record(start, list(sample(toy, on, start, guided(C_A, g_a))), C_A)
    edit = torch.zeros_like(CLEAN)  # how far it is from the source, on straight paths
    for i, (t, a, b) in enumerate(zip(*on[:3], strict=True)):
        scale, time = a**0.5 + (1 - a) ** 0.5, (1 - a) ** 0.5 / (a**0.5 + (1 - a) ** 0.5)
        onward = (1 - b) ** 0.5 / (b**0.5 + (1 - b) ** 0.5)
        z_a = path.x[i] / scale
        velocities = []
        for z, c, g in ((z_a, C_A, g_a), (z_a + edit, C_B, g_b)):
            null = toy(scale * z, t, NULL)
            e = null + g * (toy(scale * z, t, c) - null)
            velocities.append(e - clean(scale * z, e, a))
        edit = edit + (onward - time) * (velocities[1] - velocities[0])
    check(path.x[-1] + edit, on, path, guided(C_B, g_b), family.flowedit_table(on, noisy))


def test_chordedit() -> None:
    """foggyabyss111/ChordEdit, pipeline_chord.py at 0ada9fd: _u_estimate, _run_edit, _pred_x0.

    One step, one noise, t_delta = 0, and its clean-up.
    """
    on, scale, z = steps_at(899, 300), 0.7, random(25, *SHAPE)
    noisy = on.a[0] ** 0.5 * CLEAN + (1 - on.a[0]) ** 0.5 * z
    found_a, found_b = (clean(noisy, toy(noisy, on.t[0], c), on.a[0]) for c in (C_A, C_B))
    moved = CLEAN + scale * (found_b - found_a)
    noisy = on.a[1] ** 0.5 * moved + (1 - on.a[1]) ** 0.5 * z
    want = clean(noisy, toy(noisy, on.t[1], C_B), on.a[1])
    pivots = family.chord_pivots(on, CLEAN, z)
    path = recorded(on, pivots, alone(C_A))
    assert path.noise is not None
    path = path._replace(noise=torch.cat([path.noise[:1], torch.zeros_like(path.noise[:1])]))
    check(want, on, path, alone(C_B), family.chordedit_table(on, scale))


def test_hedit() -> None:
    """nktoan/h-edit, text-guided/inversion/p2p_h_edit.py at 9d847a3: h_Edit_R_explicit, eta = 1."""
    on, target, source, back = steps_at(801, 601, 401, 201, 1), 7.5, 1.0, 5.0
    path = recorded(on, add_noise(on, CLEAN, random(26, 5, *SHAPE)), guided(C_A, source))
    assert path.noise is not None
    x = path.x[0]
    for t, a, b, noise in zip(*on[:3], path.noise, strict=True):
        null, e_a, e_b = (toy(x, t, c) for c in (NULL, C_A, C_B))
        base = posterior_mean(x, null + source * (e_a - null), a, b) + noise
        sigma2 = (1 - b) / (1 - a) * (1 - a / b)
        rate = (1 - b - sigma2) ** 0.5 - (1 - a) ** 0.5 * (b / a) ** 0.5
        x = base + rate * ((null + target * (e_b - null)) - (null + back * (e_a - null)))
    weights, g = family.hedit_table(5, target, source, back)
    check(x, on, path, guided(C_B, g), weights)


def test_leditspp_guides_in_whole_cells() -> None:
    """diffusers 0.42.1, pipeline_leditspp_stable_diffusion.py: one concept, no attention mask.

    With its noise recorded for DDIM at eta = 1, without a source prompt: the null row is c_A.
    """
    on, g, quantile = steps_at(801, 601, 401, 201, 1), 7.0, 0.6123
    path = recorded(on, add_noise(on, CLEAN, random(29, 5, *SHAPE)), alone(NULL))
    assert path.noise is not None
    x = path.x[0]
    for t, a, b, noise in zip(*on[:3], path.noise, strict=True):
        null = toy(x, t, NULL)
        guidance = g * (toy(x, t, C_B) - null)
        sums = guidance.abs().sum(dim=1, keepdim=True).repeat(1, 4, 1, 1)
        limit = torch.quantile(sums.flatten(start_dim=2), quantile, dim=2)
        e = null + torch.where(sums >= limit[:, :, None, None], guidance, 0.0)
        x = posterior_mean(x, e, a, b) + noise
    to = guided(C_B, g)._replace(q=torch.tensor([quantile]).double())
    check(x, on, path, to, zero_weights(5))


@pytest.mark.parametrize("kind", ["ddpm", "tcd", "ddim"])
def test_a_share_of_the_displacement_is_reached_on_any_path(kind: str) -> None:
    """u' = r u + (1 - r) U, by the two paths' own latents."""
    on, share = steps_at(800, 500, 200), torch.tensor([0.9, -0.3, 1.4]).double()
    on, noisy = on._replace(via=on.b**0.5 if kind == "tcd" else None), kind != "ddim"
    start = random(27, *SHAPE)
    path = (
        recorded(on, add_noise(on, CLEAN, random(28, 3, *SHAPE)), alone(C_A)) if noisy
        else record(start, list(sample(toy, on, start, alone(C_A))), C_A)
    )  # fmt: skip
    weights = family.displacement_table(on, share, noisy)
    x = path.x[0] + 0.1  # somewhere else than the source
    edit = sample(toy, on, x, alone(C_B), False, path, weights)
    for i, step in enumerate(edit):
        a, b = on.a[i], on.b[i]
        u, found = (x - path.x[i]) / a**0.5, clean(x, toy(x, on.t[i], C_B), a)
        moved = found - clean(path.x[i], toy(path.x[i], on.t[i], C_A), a)
        got, want = (step.x - path.x[i + 1]) / b**0.5, share[i] * u + (1 - share[i]) * moved
        assert relative_error(got, want) <= BOUND
        x = step.x
