"""Inversion: from a picture's latent up the grid to noise, and how that becomes a source path."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mdp_lite.method.ddim import ddpm_mean, eps_to_x0, renoise, seen
from mdp_lite.method.mdp import Denoiser, Levels, Step, guided
from mdp_lite.method.sample import Conditions, Path, levels
from mdp_lite.method.schedule import Grid


def invert(
    unet: Denoiser, grid: Grid, x: Tensor, under: Conditions, v: bool = False, iterations: int = 1
) -> Iterator[Step]:
    """From the clean latent x (b, 4, y, x) up the grid, yielding x_i and the noise it went along.

    The noise between levels b and a is predicted at x_b with the timestep of a, as in every public
    DDIM inversion (Song et al. 2021, section 5.2): it stands for the one that sampling would
    predict at x_a. More iterations predict it at the x_a found so far: the fixed point is where
    the two are equal (Pan et al. 2023, arXiv 2309.04907, Eq. 5).
    """
    under = under.alone
    for i in reversed(range(len(grid.t))):
        at, below = levels(grid, i), x
        x0, eps = predicted(unet, x, at, under, v, at.b)
        x = renoise(x0, eps, at.a)
        for _ in range(iterations - 1):
            _, eps = predicted(unet, x, at, under, v, at.a)
            x = renoise(eps_to_x0(eps, below, at.b), eps, at.a)
        yield Step(x, eps)


def predicted(
    unet: Denoiser, x: Tensor, at: Levels, under: Conditions, v: bool, level: Tensor
) -> tuple[Tensor, Tensor]:
    """x_0 and the guided noise (b, 4, y, x) that the model sees in x, taken for one at a level."""
    return seen(guided(unet, x, at.t, under.c, under.null, under.g), x, level, v)


def replay(x: Tensor, steps: list[Step], c: Tensor) -> Path:
    """The inversion read backwards as a source path: DDIM along its own noise ends at x exactly."""
    back = steps[::-1]
    return Path(torch.stack([*(s.x for s in back), x]), torch.stack([s.eps for s in back]), c)


def observed(
    unet: Denoiser, grid: Grid, pivots: Tensor, under: Conditions, v: bool = False
) -> Iterator[Step]:
    """What the model predicts at each pivot x_i (N+1, b, 4, y, x), yielding x_{i+1} and the noise.

    The offset that takes a DDIM step from there on to x_{i+1} is PnP Inversion's (Ju et al. 2023,
    arXiv 2310.01506, Algorithm 1): the source has it, an edit has not.
    """
    under = under.alone
    for i in range(len(grid.t)):
        at = levels(grid, i)
        _, eps = predicted(unet, pivots[i], at, under, v, at.a)
        yield Step(pivots[i + 1], eps)


def noised(grid: Grid, x: Tensor, z: Tensor) -> Tensor:
    """x_i = sqrt(a_i) x + sqrt(1 - a_i) z_i (N+1, b, 4, y, x), each with a noise of its own.

    z (N, b, 4, y, x). Edit-friendly DDPM (Huberman-Spiegelglas et al., arXiv 2304.06140, Eq. 6).
    """
    a = grid.a[:, None, None, None, None]
    return torch.cat([renoise(x, z, a), x[None]])


def noise_maps(
    unet: Denoiser, grid: Grid, pivots: Tensor, under: Conditions, v: bool = False
) -> Iterator[tuple[Step, Tensor]]:
    """For each step of DDPM between pivots: where it leads, its guided noise, and its sigma z.

    sigma_i z_i = x_{i+1} - mean(x_i) (their Eq. 5, z times sigma). So every step is exact, also the
    last one, whose sigma z their code sets to 0.
    """
    under = under.alone
    for i in range(len(grid.t)):
        at = levels(grid, i)
        x0, eps = predicted(unet, pivots[i], at, under, v, at.a)
        yield Step(pivots[i + 1], eps), pivots[i + 1] - ddpm_mean(x0, eps, at.a, at.b)
