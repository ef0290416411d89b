"""Inversion: from a picture's latent up the grid to noise, and how that becomes a source path."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mdp_lite.method.ddim import ddim, renoise
from mdp_lite.method.mdp import Denoiser, Guidance, Step
from mdp_lite.method.sample import Trajectory, free_terms, step
from mdp_lite.method.schedule import Grid, StepCoefficients


def invert(
    unet: Denoiser, grid: Grid, x: Tensor, guidance: Guidance, v_prediction: bool = False,
    iterations: int = 1,
) -> Iterator[Step]:  # fmt: skip
    """From the clean latent x (b, 4, y, x) up the grid, yielding x_i and the noise that led there.

    A step up is the step down with its two levels exchanged: the noise is predicted at x_b with the
    timestep of a, as in every public DDIM inversion (Song et al. 2021, section 5.2). This is an
    approximation: sampling would predict the noise at x_a, which is not known yet. More iterations
    predict it again at the x_a found so far; the fixed point is where both are equal (Pan et al.
    2023, arXiv 2309.04907, Eq. 5).
    """
    for i in reversed(range(len(grid.t))):
        down, below = grid.select_step(i), x
        up = down._replace(a=down.b, b=down.a)
        x, eps, _ = _free_step(unet, x, up, guidance, v_prediction)
        for _ in range(iterations - 1):
            _, eps, _ = _free_step(unet, x, down, guidance, v_prediction)
            x = ddim(below, eps, down.b, down.a)
        yield Step(x, eps)


def _free_step(
    unet: Denoiser, x: Tensor, coeffs: StepCoefficients, guidance: Guidance, v_prediction: bool
) -> Step:
    """A step from x without a source."""
    return step(unet, x, free_terms(coeffs, guidance, x), guidance.reads, v_prediction)


def replay(x: Tensor, steps: list[Step], c: Tensor) -> Trajectory:
    """An inversion read backwards as a source path: DDIM along its own noise ends at x exactly."""
    back = steps[::-1]
    xs, noises = [*(one.x for one in back), x], [one.eps for one in back]
    return Trajectory(torch.stack(xs), torch.stack(noises), c)


def predict_along(
    unet: Denoiser, grid: Grid, pivots: Tensor, guidance: Guidance, v_prediction: bool = False
) -> Iterator[Step]:
    """The noise that the model predicts at each pivot x_i (N+1, b, 4, y, x), with the next pivot.

    And the direction of its guidance, which a path that was found without guidance has not.

    The offset from where DDIM would lead to x_{i+1} is PnP Inversion's (Ju et al. 2023, arXiv
    2310.01506, Algorithm 1). The recorded path includes it, because it consists of the pivots; an
    edit takes plain DDIM steps and so drifts.
    """
    for i in range(len(grid.t)):
        now = guidance.select_step(i)
        _, eps, d = _free_step(unet, pivots[i], grid.select_step(i), now, v_prediction)
        yield Step(pivots[i + 1], eps, d)


def add_noise(grid: Grid, x: Tensor, z: Tensor) -> Tensor:
    """x_i = sqrt(a_i) x + sqrt(1 - a_i) z_i (N+1, b, 4, y, x), with independent noises z_i.

    z (N, b, 4, y, x). Edit-friendly DDPM (Huberman-Spiegelglas et al., arXiv 2304.06140, Eq. 6).
    """
    a = grid.a[:, None, None, None, None]
    return torch.cat([renoise(x, z, a), x[None]])


def noise_maps(
    unet: Denoiser, grid: Grid, pivots: Tensor, guidance: Guidance, v_prediction: bool = False
) -> Iterator[tuple[Step, Tensor]]:
    """For each DDPM step between pivots: where it leads, its guided noise, and its sigma z.

    sigma_i z_i = x_{i+1} - mean(x_i) (Eq. 5 of arXiv 2304.06140, z times sigma); mean is ddim.py's
    ddpm_mean. So every step is exact, also the last one, whose sigma z the authors' code sets to 0.
    """
    for i in range(len(grid.t)):
        terms = free_terms(grid.select_step(i), guidance, pivots[i])
        source = terms.source._replace(noise=torch.zeros_like(pivots[i]))
        terms = terms._replace(source=source)
        mean, eps, d = step(unet, pivots[i], terms, guidance.reads, v_prediction)
        yield Step(pivots[i + 1], eps, d), pivots[i + 1] - mean
