"""The DDIM grid and its step against diffusers' schedulers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, PNDMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mdp_lite.checkpoint.config_files import read_scheduler_config
from mdp_lite.method.ddim import ddim, renoise, v_to_eps, v_to_x0
from mdp_lite.method.inversion import invert
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import free_terms, step
from mdp_lite.method.schedule import alphas_cumprod, ddim_grid
from mdp_lite.models.config import SchedulerConfig

SPACINGS = ("leading", "trailing", "linspace")
STEPS = (1, 2, 3, 7, 10, 12, 20, 33, 49, 50, 99, 100, 250, 333, 499, 500, 501, 999, 1000)
UNREAD = torch.zeros(1, 1, 1)  # a condition that the denoisers of these tests never read


def scheduler(kind: type = DDIMScheduler, **options: Any) -> Any:
    """theirs, with the noise schedule of Stable Diffusion."""
    base = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return kind(clip_sample=False, **base | options)


def both(n: int, **options: Any) -> tuple[Any, SchedulerConfig]:
    """Their scheduler, set to n steps, and our settings, read from its config."""
    theirs = scheduler(**options)
    theirs.set_timesteps(n)
    # For some n, 61 the first, their trailing arange runs one step past the end, to t = -1.
    assert theirs.timesteps[n:].tolist() in ([], [-1])
    theirs.timesteps = theirs.timesteps[:n]
    return theirs, read_scheduler_config(dict(theirs.config))


def double(theirs: Any) -> Any:
    """Their scheduler on our float64 levels: what is left to differ is the formula."""
    abar = alphas_cumprod(read_scheduler_config(dict(theirs.config)))
    final = torch.ones((), dtype=torch.float64) if theirs.config.set_alpha_to_one else abar[0]
    theirs.alphas_cumprod = abar
    theirs.final_alpha_cumprod = theirs.initial_alpha_cumprod = final
    return theirs


def random(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 4, 3, 5, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("to_one", [True, False])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("zero_snr", [True, False])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_grid_is_diffusers(
    spacing: str, to_one: bool, offset: int, zero_snr: bool, prediction: str
) -> None:
    options = {"timestep_spacing": spacing, "set_alpha_to_one": to_one, "steps_offset": offset}
    options |= {"rescale_betas_zero_snr": zero_snr, "prediction_type": prediction}
    for n in STEPS:
        theirs, config = both(n, **options)
        if blind(theirs) or theirs.timesteps[0] > 999:
            with pytest.raises(
                ValueError, match="zero terminal SNR|must be at most 999 with this model"
            ):
                ddim_grid(config, n)
            continue
        grid, before = ddim_grid(config, n), theirs.timesteps - 1000 // n
        reached = theirs.alphas_cumprod[before.clamp(min=0)]
        reached = torch.where(before >= 0, reached, theirs.final_alpha_cumprod)
        assert torch.equal(grid.t, theirs.timesteps)
        assert (grid.a - theirs.alphas_cumprod[grid.t]).abs().max() <= 1e-6
        assert (grid.b - reached).abs().max() <= 1e-6
        assert (grid.a.dtype, grid.b.dtype) == (torch.float64, torch.float64)


def blind(theirs: Any) -> bool:
    """Whether an epsilon model would start where the latent is noise alone."""
    lost = theirs.alphas_cumprod[min(int(theirs.timesteps[0]), 999)] == 0
    return theirs.config.prediction_type == "epsilon" and bool(lost)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
@pytest.mark.parametrize("zero_snr", [True, False])
@pytest.mark.parametrize("total", [1000, 400])
def test_levels_are_diffusers(schedule: str, zero_snr: bool, total: int) -> None:
    theirs = scheduler(
        beta_schedule=schedule, rescale_betas_zero_snr=zero_snr, num_train_timesteps=total
    )
    abar = alphas_cumprod(read_scheduler_config(dict(theirs.config)))
    assert (abar - theirs.alphas_cumprod).abs().max() <= 1e-6
    assert bool(abar[-1] == 0) is zero_snr
    assert (abar.diff() < 0).all()


@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_number_of_steps_has_its_timesteps(spacing: str) -> None:
    for n in range(1, 1001):
        theirs, config = both(n, timestep_spacing=spacing)
        assert torch.equal(ddim_grid(config, n).t, theirs.timesteps)


STEP_OPTIONS = [
    {"timestep_spacing": spacing, "set_alpha_to_one": to_one, "prediction_type": prediction}
    for spacing in SPACINGS
    for to_one in (True, False)
    for prediction in ("epsilon", "v_prediction")
]


@pytest.mark.parametrize("options", STEP_OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("zero_snr", [True, False])
def test_step_is_diffusers(options: dict[str, Any], zero_snr: bool) -> None:
    v_prediction = options["prediction_type"] == "v_prediction"
    theirs, config = both(20, rescale_betas_zero_snr=zero_snr and v_prediction, **options)
    grid, theirs = ddim_grid(config, 20), double(theirs)
    guidance = Guidance(UNREAD, None, torch.ones(()))
    for i in range(20):
        x, out = random(i), random(100 + i)
        want = theirs.step(out, int(grid.t[i]), x).prev_sample
        terms = free_terms(grid.select_step(i), guidance, x)
        got = step(lambda x, t, c, out=out: out, x, terms, guidance.reads, v_prediction)
        assert (got.x - want).abs().max() <= 1e-10


@pytest.mark.parametrize("options", STEP_OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("zero_snr", [True, False])
def test_inverse_step_is_diffusers(options: dict[str, Any], zero_snr: bool) -> None:
    if options["timestep_spacing"] == "linspace":
        options = options | {"timestep_spacing": "leading", "steps_offset": 1}  # they have none
    v_prediction = options["prediction_type"] == "v_prediction"
    options = options | {"rescale_betas_zero_snr": zero_snr and v_prediction}
    grid = ddim_grid(both(20, **options)[1], 20)
    theirs = double(scheduler(DDIMInverseScheduler, **options))
    theirs.set_timesteps(20)
    assert torch.equal(theirs.timesteps, grid.t.flip(0))
    want = x = random(0)
    outs = [random(100 + i) for i in range(20)]
    calls = iter(outs)
    guidance = Guidance(UNREAD, None, torch.ones(()))
    steps = invert(lambda x, t, c: next(calls), grid, x, guidance, v_prediction)
    for got, t, out in zip(steps, theirs.timesteps, outs, strict=True):
        want = theirs.step(out, int(t), want).prev_sample
        assert (got.x - want).abs().max() <= 1e-10


level = st.floats(1e-4, 1.0)


@given(a=level, b=level, seed=st.integers(0, 2**32))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_step_back_undoes_a_step(a: float, b: float, seed: int) -> None:
    x, eps = random(seed), random(seed + 1)
    a_, b_ = (torch.tensor(one, dtype=torch.float64) for one in (a, b))
    assert (ddim(ddim(x, eps, a_, b_), eps, b_, a_) - x).abs().max() <= 1e-10


@given(a=st.floats(0.0, 1.0), seed=st.integers(0, 2**32))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_v_holds_the_noise_and_the_clean_latent(a: float, seed: int) -> None:
    x, v, level = random(seed), random(seed + 1), torch.tensor(a, dtype=torch.float64)
    eps, x0 = v_to_eps(v, x, level), v_to_x0(v, x, level)
    assert (renoise(x0, eps, level) - x).abs().max() <= 1e-10
    assert (level.sqrt() * eps - (1 - level).sqrt() * x0 - v).abs().max() <= 1e-10


@given(n=st.integers(1, 1000), data=st.data())
@settings(deadline=None, derandomize=True, max_examples=100)
def test_there_and_back_on_any_grid(n: int, data: st.DataObject) -> None:
    config = SchedulerConfig(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing=data.draw(st.sampled_from(SPACINGS)),
        set_alpha_to_one=data.draw(st.booleans()),
    )
    grid, i = ddim_grid(config, n), data.draw(st.integers(0, n - 1))
    x, eps = random(i), random(i + 1)
    there = ddim(x, eps, grid.b[i], grid.a[i])
    assert (ddim(there, eps, grid.a[i], grid.b[i]) - x).abs().max() <= 1e-10


@pytest.mark.parametrize("n", [0, -1, 1001, 2.0, True, "20", None])
def test_number_of_steps_is_checked(n: Any) -> None:
    with pytest.raises(ValueError, match="num_inference_steps must be a whole number from 1 to"):
        ddim_grid(SchedulerConfig(), n)


OPTIONS = [
    ("clip_sample", True),
    ("thresholding", True),
    ("trained_betas", [0.1]),
    ("beta_schedule", "squaredcos_cap_v2"),
    ("prediction_type", "flow_prediction"),
    ("timestep_spacing", "karras"),
]


@pytest.mark.parametrize(("option", "value"), OPTIONS)
def test_what_is_not_implemented_is_refused_by_name(option: str, value: Any) -> None:
    raw = dict(scheduler().config) | {option: value}
    with pytest.raises(ValueError, match=f"scheduler: .*{option}"):
        read_scheduler_config(raw)


def test_pndm_files_are_read_as_ddim(tmp_path: Path) -> None:
    options = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    PNDMScheduler(skip_prk_steps=True, steps_offset=1, **options).save_pretrained(tmp_path)
    theirs = DDIMScheduler.from_pretrained(tmp_path, clip_sample=False)
    theirs.set_timesteps(50)
    raw = json.loads((tmp_path / "scheduler_config.json").read_text())
    grid = ddim_grid(read_scheduler_config(raw), 50)
    assert torch.equal(grid.t, theirs.timesteps)
    assert abs(grid.b[-1] - theirs.final_alpha_cumprod) <= 1e-6
