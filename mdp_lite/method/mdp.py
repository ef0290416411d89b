"""Manipulating the diffusion path (MDP, arXiv 2303.16765): the one step that every edit takes.

Path A is the source, path B the edit, * the manipulated path. A weight is the source's share:
0 = edit, 1 = source. Shapes: b batch, y x latent height and width, l tokens, d condition width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, lerp

from mdp_lite.method.ddim import ddpm_mean, eps_to_x0, renoise, v_to_eps
from mdp_lite.method.schedule import Weights

Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]  # x (b, 4, y, x), t (), c (b, l, d)


class Levels(NamedTuple):
    """Where a step is: timestep t, abar a that it leaves, abar b that it reaches; all 0-d."""

    t: Tensor
    a: Tensor
    b: Tensor


class SourceRow(NamedTuple):
    """What path A did at this step; zeros where there is no source.

    c (b, l, d) its condition, eps (b, 4, y, x) its guided noise, x0 what it predicted, x what it
    reached: x_A,{i+1}; noise is sigma z where it went by DDPM, which an edit of it does too.
    """

    c: Tensor
    eps: Tensor
    x0: Tensor
    x: Tensor
    noise: Tensor | None = None


class Step(NamedTuple):
    """What a step leaves: x (b, 4, y, x) at the next level, and the noise eps it went along."""

    x: Tensor
    eps: Tensor


def asked(x: Tensor, *conditions: Tensor | None) -> tuple[Tensor, Tensor]:
    """What the denoiser reads at x: one row for each condition (b or 1, l, d) that there is."""
    rows = [row for row in conditions if row is not None]
    c = torch.cat([row.expand(x.shape[0], -1, -1) for row in rows])
    return torch.cat([x] * len(rows)).to(c.dtype), c


def proximal(d: Tensor, q: Tensor) -> Tensor:
    """d where |d| is above its quantile q in that picture, else 0 (Han et al., arXiv 2306.05414).

    The hard threshold of their Eq. 8: guidance acts where the two predictions differ most.
    """
    least = d.abs().flatten(1).quantile(q.to(d), dim=1)
    return torch.where(d.abs() > least[:, None, None, None], d, 0)


def guide(
    out: Tensor, guided: bool, g: Tensor, w_beta: Tensor | None = None, q: Tensor | None = None
) -> Tensor:
    """The prediction from the denoiser's rows: null where guided, c, and c_A where w_beta is given.

    Both guidances of MDP-beta share the null row: three rows, not four. q asks for proximal
    guidance.
    """
    rows = list(out.chunk(1 + guided + (w_beta is not None)))
    e_null = rows.pop(0) if guided else None
    e = rows[0] if w_beta is None else lerp(rows[0], rows[1], w_beta)  # MDP-beta
    if e_null is None:
        return e
    d = e - e_null if q is None else proximal(e - e_null, q)
    return e_null + g * d  # classifier-free guidance


def guided(
    unet: Denoiser, x: Tensor, t: Tensor, c: Tensor, null: Tensor | None, g: Tensor,
    c_source: Tensor | None = None, w_beta: Tensor | None = None, q: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The guided prediction at x in one call of the denoiser; null = None means g = 1."""
    rows, conditions = asked(x, null, c, c_source)
    return guide(unet(rows, t, conditions).to(x.dtype), null is not None, g, w_beta, q)


def update(e: Tensor, x: Tensor, at: Levels, source: SourceRow, w: Weights, v: bool) -> Step:
    """x_i* -> x_{i+1}* by a prediction e: the other manipulations at their weights."""
    eps = lerp(v_to_eps(e, x, at.a) if v else e, source.eps, w.eps)  # MDP-epsilon
    x0 = eps_to_x0(eps, x, at.a)  # DDIM Eq. 12, "predicted x_0"
    if v:  # where abar = 0, x is noise alone and x_0 is the prediction itself: -v
        x0 = torch.where(at.a > 0, x0, lerp(-e, source.x0, w.eps))
    noise = source.noise
    if noise is None:
        x = renoise(x0, eps, at.b)  # DDIM Eq. 12
    else:
        x = ddpm_mean(x0, eps, at.a, at.b) + noise
    return Step(lerp(x, source.x, w.x), eps)  # MDP-x


def step(
    unet: Denoiser, x: Tensor, at: Levels, c: Tensor, null: Tensor | None, g: Tensor,
    source: SourceRow, w: Weights, beta: bool = False, v: bool = False, q: Tensor | None = None,
) -> Step:  # fmt: skip
    """x_i* -> x_{i+1}*: all four manipulations at their weights (0-d, or maps like x).

    beta says whether w.beta may be other than 0 (it costs a row); v whether the model predicts v.
    Everything that changes from step to step is a tensor, so one trace serves all steps.
    """
    c = lerp(c, source.c, w.c.to(c.dtype))  # MDP-c
    extra = (source.c, w.beta) if beta else (None, None)
    return update(guided(unet, x, at.t, c, null, g, *extra, q), x, at, source, w, v)
