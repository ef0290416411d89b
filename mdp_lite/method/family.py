"""Published editors as tables for the one step: MDP's weights beyond 0..1, and one map.

None of them needs code in the step. Every table has a row for each step of a source's grid and goes
where any table goes: Editor.edit(source, prompt, weights=table). noisy says whether the source has
recorded noise, as from the edit-friendly inversion. docs/method.md shows them in one notation.
"""

import torch
from torch import Tensor

from mdp_lite.method.ddim import renoise
from mdp_lite.method.schedule import Grid, Weights, zero_weights


def find_share(grid: Grid, noisy: bool) -> Tensor:
    """r (N,): what a step without weights leaves of the displacement u = (x* - x_A) / sqrt(a).

    It leads to r u + (1 - r) U, where U = x0* - x0_A is the difference of the two predictions. With
    s^2 = (1 - a) / a, DDIM has r = s' / s, and DDPM its square; TCD goes by DDIM to grid.via. Not
    for LCM, which has no such r.
    """
    via = grid.via if noisy else None
    b = grid.b if via is None else via
    squared = (1 - b) * grid.a / (b * (1 - grid.a))
    return squared if noisy and via is None else squared.sqrt()


def displacement_table(grid: Grid, share: Tensor, noisy: bool = True) -> Weights:
    """The table with which every step leaves share (N,) of the displacement.

    MDP-epsilon turns r into r + (1 - r) w. A step that is the identity, r = 1, stays so.
    """
    r = find_share(grid, noisy)
    w = torch.where(r < 1, (share - r) / (1 - r), torch.ones_like(r))
    return zero_weights(len(r))._replace(eps=w)


def infedit_table(grid: Grid, noisy: bool = True) -> Weights:
    """InfEdit's DDCM (Xu et al. 2024, arXiv 2312.04965): the displacement becomes U itself."""
    return displacement_table(grid, torch.zeros_like(grid.a), noisy)


def flowedit_table(grid: Grid, noisy: bool = True) -> Weights:
    """FlowEdit's rule (Kulikov et al. 2025, arXiv 2412.08629): the displacement goes by DDIM.

    On its straight paths u is multiplied by t' / t; in clean latents that is s' / s, DDIM's r. So
    the table of a source without recorded noise is 0, and that of a noisy one is r / (1 + r).
    """
    return displacement_table(grid, find_share(grid, noisy=False), noisy)


def turboedit_table(n: int, w1: float = 1.5) -> Weights:
    """TurboEdit (Deutch et al. 2024, arXiv 2408.00735): MDP-beta at 1 - w1, w1 its cross-prompt.

    Its path has shift_levels and limit_noise; the noise is recorded and predicted without guidance.
    """
    return zero_weights(n)._replace(beta=torch.full((n,), 1 - w1, dtype=torch.float64))


def hedit_table(
    n: int, target: float = 7.5, source: float = 1.0, back: float = 5.0
) -> tuple[Weights, float]:
    """h-Edit-R, explicit (Nguyen et al. 2025, arXiv 2503.02187): the table, and the guidance scale.

    Its three scales are those of the target, of the source's path, and of the source's prediction
    that is taken back. They are MDP-beta at the scale target + source - back.
    """
    g = target + source - back
    beta = torch.full((n,), (source - back) / g, dtype=torch.float64)
    return zero_weights(n)._replace(beta=beta), g


def uniedit_table(n: int, omega: float = 5.0) -> Weights:
    """Uni-Edit (Jiao et al. 2025, arXiv 2504.13109): MDP-beta at 1 - m - omega (1 + m) per cell.

    m is mdp.change_map. Its alpha is how much of the path is edited: cut the grid and the path.
    """
    beta = torch.full((n,), 1 - omega, dtype=torch.float64)
    return zero_weights(n)._replace(beta=beta, tilt=torch.full_like(beta, -1 - omega))


def chordedit_table(grid: Grid, scale: float = 1.0) -> Weights:
    """ChordEdit (arXiv 2602.19083) without its second time (delta = 0), with its clean-up.

    The grid has two steps: from t_start to t_end, then to the clean latent. chord_pivots is the
    path, and its last step adds no noise. scale is how far the first step goes.
    """
    x = torch.tensor([1 - scale, 0.0], dtype=torch.float64)
    return infedit_table(grid)._replace(x=x)


def chord_pivots(grid: Grid, x: Tensor, z: Tensor) -> Tensor:
    """The clean latent x (b, 4, y, x) under one noise z of its shape at every level, and itself."""
    return torch.cat([renoise(x, z, grid.a[:, None, None, None, None]), x[None]])


def shift_levels(t: Tensor, abar: Tensor, shift: int) -> Tensor:
    """The levels (N,) of TurboEdit's latents: abar at t - shift, and 1 from t = shift down."""
    return torch.where(t > shift, abar[(t - shift).clamp(min=0)], 1.0)


def limit_noise(noise: Tensor, limits: Tensor) -> Tensor:
    """Noise (N, b, 4, y, x) whose norm in each picture is at most its step's limit (N,)."""
    norms = torch.linalg.vector_norm(noise, dim=(2, 3, 4), keepdim=True)
    return noise * (limits[:, None, None, None, None] / norms).clamp(max=1)
