"""Rivals that leave attention alone: SDEdit, DDIM inversion, edit-friendly DDPM."""

import torch
from torch import Tensor

from mdp_lite.eval.rivals.task import (
    CallRow,
    EditedLatents,
    RivalTask,
    call_unet,
    ddim_step,
    null_row,
)
from mdp_lite.method.ddim import ddpm_mean, renoise, split_prediction
from mdp_lite.method.mdp import guide
from mdp_lite.names import BadInput


def sample_target(task: RivalTask, x: Tensor, first: int = 0) -> Tensor:
    """Sample from x_first (b, 4, y, x) down the grid towards the target."""
    for i in range(first, len(task.grid.t)):
        rows = [CallRow(x, null_row(task, i)), CallRow(x, task.guidance.c)]
        x = ddim_step(task, i, x, *call_unet(task.unet, task.grid.t[i], rows))
    return x


def regenerate(task: RivalTask) -> EditedLatents:
    """Sample the target's prompt from the noise that the source starts from.

    If DDIM inversion found that noise (Song et al. 2021, arXiv 2010.02502, section 5.2), this is
    the plain use of DDIM inversion.
    """
    return EditedLatents(sample_target(task, task.source.x[0]), 2 * len(task.grid.t))


def sdedit(task: RivalTask, z: Tensor, strength: float = 0.75) -> EditedLatents:
    """SDEdit (Meng et al. 2021, arXiv 2108.01073, Algorithm 1): add noise z, then sample.

    x(t_0) = sqrt(a) x + sqrt(1 - a) z; strength is t_0 as a share of the steps.
    """
    n = len(task.grid.t)
    first = n - int(strength * n)
    if first == n:
        return EditedLatents(task.source.x[-1], 0)
    x = renoise(task.source.x[-1], z, task.grid.a[first])
    return EditedLatents(sample_target(task, x, first), 2 * (n - first))


def edit_friendly(task: RivalTask, skip: float = 0.36) -> EditedLatents:
    """Edit-friendly DDPM (Huberman-Spiegelglas et al. 2023, arXiv 2304.06140, section 4).

    The source is that of Editor.invert's method "edit-friendly": each x_t has independent noise
    (Eq. 6), and noise maps z_t join them (Eq. 5). The target starts at the source's x after a share
    skip of the steps and adds the same z_t: x_{t-1} = mu_t(x_t) + sigma_t z_t. Raises BadInput for
    a source without noise maps.
    """
    source, grid, n = task.source, task.grid, len(task.grid.t)
    if source.noise is None:
        raise BadInput("edit-friendly DDPM needs a source with noise maps, got one without")
    first = int(skip * n)
    x = source.x[first]
    for i in range(first, n):
        t, a, b, *_ = grid.select_step(i)
        rows = [CallRow(x, null_row(task, i)), CallRow(x, task.guidance.c)]
        guided = guide(torch.cat(call_unet(task.unet, t, rows)), True, task.guidance.g)
        x0, eps = split_prediction(guided, x, a, task.v_prediction)
        x = ddpm_mean(x0, eps, a, b) + source.noise[i]
    return EditedLatents(x, 2 * (n - first))
