"""Rivals that are tables of MDP's own step: the editors of method/family.py, on the same sources.

Each starts at the source's x after a share skip of the steps, as edit-friendly DDPM does.
"""

from collections.abc import Callable

import torch

from mdp_lite.eval.rivals.task import EditedLatents, RivalTask
from mdp_lite.eval.sweep import run_tables
from mdp_lite.method import family
from mdp_lite.method.schedule import Weights, zero_weights


def infedit(task: RivalTask, skip: float) -> EditedLatents:
    """InfEdit's DDCM on the source's recorded noise; guidance is the task's."""
    return run_table(task, family.infedit_table(task.grid), skip)


def flowedit(task: RivalTask, skip: float) -> EditedLatents:
    """FlowEdit's rule on the source's recorded noise."""
    return run_table(task, family.flowedit_table(task.grid), skip)


def turboedit(task: RivalTask, skip: float, w1: float = 1.5) -> EditedLatents:
    """TurboEdit's extrapolation from the source's prediction, under the task's guidance."""
    return run_table(task, family.turboedit_table(len(task.grid.t), w1), skip)


def uniedit(task: RivalTask, skip: float, omega: float = 5.0) -> EditedLatents:
    """Uni-Edit on a path by DDIM; its map takes the part of guidance, so there is no null row."""
    plain = task._replace(guidance=task.guidance._replace(null=None))
    return run_table(plain, family.uniedit_table(len(task.grid.t), omega), skip)


def hedit(
    task: RivalTask, skip: float, target: float = 7.5, source: float = 3.5, back: float = 5.0
) -> EditedLatents:
    """h-Edit-R, explicit; source is the guidance of the recorded noise, that of our inversion."""
    table, g = family.hedit_table(len(task.grid.t), target, source, back)
    return run_table(_scale(task, g), table, skip)


def leditspp(task: RivalTask, skip: float, g: float, quantile: float) -> EditedLatents:
    """LEDITS++'s masked guidance from the source's condition to the target's, in whole cells."""
    q = torch.tensor([quantile], device=task.source.x.device)
    to = task.guidance._replace(null=task.source.c, q=q)
    return run_table(_scale(task._replace(guidance=to), g), zero_weights(len(task.grid.t)), skip)


# Their names, and the settings that were tried on the tune split; the first one of each was best.
# h-Edit's with equal scales of source and back are edit-friendly DDPM, so they are not among them.
TABLE_RIVALS: dict[str, Callable[..., EditedLatents]] = {
    "infedit": infedit, "flowedit": flowedit, "turboedit": turboedit, "uniedit": uniedit,
    "h-edit": hedit, "ledits++": leditspp,
}  # fmt: skip
TRIED: dict[str, list[tuple[float, ...]]] = {
    "infedit": [(0.5,), (0.36,), (0.2,), (0.0,)],
    "flowedit": [(0.27,), (0.2,), (0.36,), (0.0,)],
    "turboedit": [(0.36, 1.2), (0.36, 1.5), (0.27, 1.5), (0.5, 1.5), (0.27, 1.2), (0.36, 1.1)],
    "uniedit": [(0.4, 3.0), (0.2, 5.0), (0.4, 5.0), (0.2, 3.0), (0.4, 2.0), (0.4, 1.0), (0.5, 2.0)],
    "h-edit": [(0.36, 5.5, 3.5, 5.0), (0.36,), (0.27,), (0.2,), (0.0,)],
    "ledits++": [
        (0.36, 4.0, 0.25), (0.27, 4.0, 0.5), (0.27, 7.0, 0.75), (0.2, 7.0, 0.75), (0.27, 7.0, 0.5),
        (0.27, 4.0, 0.25), (0.36, 3.0, 0.0),
    ],
}  # fmt: skip


def run_table(task: RivalTask, table: Weights, skip: float) -> EditedLatents:
    """The edit by a table that starts on the source's latent after a share skip of the steps."""
    first = int(skip * len(table.x))
    x, rows = run_tables(
        task.unet, task.grid, task.source, task.guidance, [start_at(table, first)],
        own_noise=False, v_prediction=task.v_prediction,
    )  # fmt: skip
    return EditedLatents(x[0], rows)


def start_at(table: Weights, first: int) -> Weights:
    """The table with the source's own latent before its step `first`."""
    before = torch.arange(len(table.x)) < first
    cut = table.change(lambda column: torch.where(before, 0.0, column))
    return cut._replace(x=torch.where(before, 1.0, table.x))


def _scale(task: RivalTask, g: float) -> RivalTask:
    """The task at another guidance scale."""
    scale = torch.full_like(task.guidance.g, g)
    return task._replace(guidance=task.guidance._replace(g=scale))
