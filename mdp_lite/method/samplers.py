"""The grids of other samplers than DDIM, where their paths start, and the noise that they add.

Latents are sqrt(a) x_0 + sqrt(1 - a) eps everywhere. The Euler samplers (Karras et al., arXiv
2206.00364) are written for x / sqrt(a), whose noise has the level s = sqrt((1 - a) / a): an Euler
step is then a DDIM step, and an ancestral one a DDPM step. What differs is where a path starts and
ends. A latent consistency model (LCM; Luo et al., arXiv 2310.04378) predicts x_0 and adds noise;
trajectory consistency (TCD; Zheng et al., arXiv 2402.19159) goes by DDIM to a lower level first.
"""

import torch
from torch import Tensor

from mdp_lite.method.schedule import (
    PREDICTION,
    STEPS,
    Grid,
    alphas_cumprod,
    check_count,
    ddim_grid,
    timesteps,
)
from mdp_lite.models.config import SchedulerConfig
from mdp_lite.names import BadInput

SIGMA_DATA = 0.5  # of LCM's boundary scalings
NOISY = ("euler-ancestral", "lcm", "tcd")  # samplers that add noise at every step but the last


def build_grid(config: SchedulerConfig, n: int) -> Grid:
    """The grid of n steps that a checkpoint's scheduler config describes.

    Raises BadInput for n outside 1..T (LCM, TCD: its original steps), and for a prediction that
    says nothing of the picture where a path starts at abar = 0.
    """
    check_count(config, n)
    grids = {"ddim": ddim_grid, "lcm": lcm_grid, "tcd": tcd_grid}
    grid = grids.get(config.sampler, euler_grid)(config, n)
    if grid.a[0] == 0 and config.prediction_type != "v_prediction":
        got = config.prediction_type
        raise BadInput(f"zero terminal SNR needs {PREDICTION} v_prediction, got {got}", PREDICTION)
    direct = config.prediction_type == "sample"
    return grid._replace(direct=torch.ones_like(grid.a)) if direct else grid


def euler_grid(config: SchedulerConfig, n: int) -> Grid:
    """Every step leads to the level of the next timestep, the last one to a clean latent.

    Linspace timesteps are fractions here, and s is interpolated between whole ones, as in
    diffusers' EulerDiscreteScheduler.
    """
    abar, t = alphas_cumprod(config), timesteps(config, n)
    if config.timestep_spacing == "linspace":
        t = torch.linspace(0, config.num_train_timesteps - 1, n, dtype=torch.float64).flip(0)
    low, high = t.floor().long(), t.ceil().long()
    s = torch.lerp(noise_level(abar[low]), noise_level(abar[high]), (t - low).double())
    a = torch.where(low == high, abar[low], 1 / (1 + s**2))
    return Grid(t, a, torch.cat([a[1:], a.new_ones(1)]))


def lcm_grid(config: SchedulerConfig, n: int) -> Grid:
    """n of the timesteps that the model was distilled on, or as many from first_timestep down.

    c_skip = s^2 / ((k t)^2 + s^2) with s = 0.5 and k = timestep_scaling (arXiv 2310.04378, appendix
    and code); c_out is sqrt(1 - c_skip).
    """
    t = distilled_timesteps(config, n)
    if config.first_timestep is not None:
        t = (t * (config.first_timestep / t[0])).round().long()
    a = alphas_cumprod(config)[t]
    skip = SIGMA_DATA**2 / ((config.timestep_scaling * t.double()) ** 2 + SIGMA_DATA**2)
    return Grid(t, a, torch.cat([a[1:], a.new_ones(1)]), skip)


def tcd_grid(config: SchedulerConfig, n: int) -> Grid:
    """LCM's timesteps; a step goes to (1 - eta) t of the next one, and by noise up to its level.

    The last step leads to timestep 0. diffusers' TCDScheduler takes set_alpha_to_one for nothing.
    """
    t, abar = distilled_timesteps(config, n), alphas_cumprod(config)
    onward = torch.cat([t[1:], t.new_zeros(1)])
    via = abar[((1 - config.eta) * onward).floor().long()]
    return Grid(t, abar[t], abar[onward], via=via)


def distilled_timesteps(config: SchedulerConfig, n: int) -> Tensor:
    """n of the original_inference_steps timesteps of a distillation, evenly spaced, (n,) int64."""
    total, original = config.num_train_timesteps, config.original_inference_steps
    if n > original or original > total:
        name, most = config.sampler.upper(), min(original, total)
        raise BadInput(f"{STEPS} of {name} must be from 1 to {most}, got {n}", STEPS)
    trained = (torch.arange(1, original + 1) * (total // original) - 1).flip(0)
    return trained[(torch.arange(n, dtype=torch.float64) * (original / n)).floor().long()]


def noise_level(a: Tensor) -> Tensor:
    """s = sqrt((1 - a) / a), which Karras et al. call sigma."""
    return ((1 - a) / a).sqrt()


def start_scale(config: SchedulerConfig, grid: Grid) -> Tensor:
    """What unit noise is multiplied by where a path starts, ().

    Euler starts at s z, but with leading spacing at sqrt(s^2 + 1) z (diffusers' init_noise_sigma).
    Times sqrt(a) that is sqrt(1 - a) z and z. DDIM, LCM and TCD start at z.
    """
    euler = config.sampler.startswith("euler") and config.timestep_spacing != "leading"
    return (1 - grid.a[0]).sqrt() if euler else torch.ones_like(grid.a[0])


def noise_scales(config: SchedulerConfig, grid: Grid) -> Tensor | None:
    """What unit noise is multiplied by at each step (N,), or None for a sampler that adds none.

    LCM adds sqrt(1 - b) z, TCD what lies between its two levels, ancestral Euler DDPM's sigma z
    (Song et al. 2021, Eq. 16, eta = 1). All end without. TCD draws none where eta = 0.
    """
    if not adds_noise(config):
        return None
    _, a, b, skip, _, via = grid
    if via is not None:
        return (1 - b / via).sqrt()
    return (1 - b).sqrt() if skip is not None else ((1 - b) / (1 - a) * (1 - a / b)).sqrt()


def adds_noise(config: SchedulerConfig) -> bool:
    """Whether steps of the sampler add noise."""
    return config.sampler in NOISY and (config.sampler != "tcd" or config.eta > 0)
