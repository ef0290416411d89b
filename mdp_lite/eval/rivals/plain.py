"""Rivals without attention: SDEdit, DDIM inversion with another prompt, edit-friendly DDPM."""

import torch
from torch import Tensor

from mdp_lite.eval.rivals.asked import Asked, Edited, Row, called, null_row, stepped
from mdp_lite.method.ddim import ddpm_mean, renoise, seen
from mdp_lite.method.mdp import guide
from mdp_lite.method.sample import levels


def sampled(asked: Asked, x: Tensor, first: int = 0) -> Tensor:
    """From x_first (b, 4, y, x) down the grid towards the target."""
    for i in range(first, len(asked.grid.t)):
        rows = [Row(x, null_row(asked, i)), Row(x, asked.to.c)]
        x = stepped(asked, i, x, *called(asked.unet, asked.grid.t[i], rows))
    return x


def regenerated(asked: Asked) -> Edited:
    """The target's prompt from the noise that the source begins with.

    Where that was found by DDIM inversion (Song et al. 2021, arXiv 2010.02502, section 5.2), this
    is the plain use of it.
    """
    return Edited(sampled(asked, asked.source.x[0]), 2 * len(asked.grid.t))


def sdedit(asked: Asked, z: Tensor, strength: float = 0.75) -> Edited:
    """SDEdit (Meng et al. 2021, arXiv 2108.01073, Algorithm 1): noise z over it, then sampling.

    x(t_0) = sqrt(a) x + sqrt(1 - a) z, where strength is t_0 as a share of the steps.
    """
    n = len(asked.grid.t)
    first = n - int(strength * n)
    if first == n:
        return Edited(asked.source.x[-1], 0)
    x = renoise(asked.source.x[-1], z, asked.grid.a[first])
    return Edited(sampled(asked, x, first), 2 * (n - first))


def edit_friendly(asked: Asked, skip: float = 0.36) -> Edited:
    """Edit-friendly DDPM (Huberman-Spiegelglas et al. 2023, arXiv 2304.06140, section 4).

    The source is Editor.invert's of that name: it has x_t under noise of its own at each step (Eq.
    6) and the z_t that join them (Eq. 5). The target begins at the source's x after skip steps and
    takes the same z_t: x_{t-1} = mu_t(x_t) + sigma_t z_t.
    """
    source, grid, n = asked.source, asked.grid, len(asked.grid.t)
    if source.noise is None:
        raise ValueError("edit-friendly DDPM needs a source with noise maps, got one without")
    first = int(skip * n)
    x = source.x[first]
    for i in range(first, n):
        at, rows = levels(grid, i), [Row(x, null_row(asked, i)), Row(x, asked.to.c)]
        guided = guide(torch.cat(called(asked.unet, grid.t[i], rows)), True, asked.to.g)
        x0, eps = seen(guided, x, at.a, asked.v)
        x = ddpm_mean(x0, eps, at.a, at.b) + source.noise[i]
    return Edited(x, 2 * (n - first))
