"""Inversion: from a picture's latent up the grid to noise (Song et al. 2021, section 5.2)."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mdp_lite.ddim import eps_to_x0, renoise, v_to_eps, v_to_x0
from mdp_lite.mdp import Denoiser, Step, guided
from mdp_lite.sample import Conditions, Path, levels
from mdp_lite.schedule import Grid

METHODS = ("replay", "ddim")


def invert(
    unet: Denoiser, grid: Grid, x: Tensor, under: Conditions, v: bool = False
) -> Iterator[Step]:
    """From the clean latent x (b, 4, y, x) up the grid, yielding x_i and the noise it went along.

    The noise between levels b and a is predicted at x_b with the timestep of a, as in every public
    DDIM inversion: it stands for the one that sampling would predict at x_a.
    """
    under = under.alone
    for i in reversed(range(len(grid.t))):
        at = levels(grid, i)
        e = guided(unet, x, at.t, under.c, under.null, under.g)
        eps = v_to_eps(e, x, at.b) if v else e
        x0 = v_to_x0(e, x, at.b) if v else eps_to_x0(e, x, at.b)
        x = renoise(x0, eps, at.a)
        yield Step(x, eps)


def replay(x: Tensor, steps: list[Step], c: Tensor) -> Path:
    """The inversion read backwards as a source path: DDIM along its own noise ends at x exactly."""
    back = steps[::-1]
    return Path(torch.stack([*(s.x for s in back), x]), torch.stack([s.eps for s in back]), c)
