"""Many windows of an edit of many cases at once: what the windows share is computed once."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from mdp_lite.method.execute import Task, tree
from mdp_lite.method.mdp import Denoiser
from mdp_lite.method.plan import Known, plan
from mdp_lite.method.sample import Conditions, Path
from mdp_lite.method.schedule import Grid, Weights, leashed, table, window
from mdp_lite.pipeline.sweep import finished


class Cell(NamedTuple):
    """One setting of an edit: weight share on the rows [n - t_max, n - t_max + t_m).

    leash is how much of schedule.leashed's pull follows the window.
    """

    variant: str
    t_max: int
    t_m: int
    share: float = 1.0
    leash: float = 0.0

    @property
    def label(self) -> str:
        """As in: epsilon 47/26; c 50/26 w=0.5; x 50/17 leash; x 50/17 leash 0.7."""
        weight = "" if self.share == 1 else f" w={self.share:g}"
        pull = " leash" if self.leash else ""
        pull += f" {self.leash:g}" if self.leash not in (0, 1) else ""
        return f"{self.variant} {self.t_max}/{self.t_m}{weight}{pull}"

    def weights(self, n: int) -> Weights:
        """Its table of n rows."""
        weights = table(self.variant, self.share * window(n, self.t_max, self.t_m))
        return leashed(weights, self.t_max, self.t_m, self.leash) if self.leash else weights


def sweep(
    unet: Denoiser, grid: Grid, source: Path, to: Conditions, cells: Iterable[Cell],
    sampled: bool = True, v: bool = False,
) -> dict[Cell, Tensor]:  # fmt: skip
    """Clean latents (b, 4, y, x) of every cell; equal ones are one tensor.

    sampled says that the source's noise is what the model predicts along it under to's guidance.
    """
    return swept(unet, grid, source, to, cells, sampled, v)[0]


def swept(
    unet: Denoiser, grid: Grid, source: Path, to: Conditions, cells: Iterable[Cell],
    sampled: bool = True, v: bool = False,
) -> tuple[dict[Cell, Tensor], int]:  # fmt: skip
    """The same, and the UNet rows that one picture took for all cells."""
    known, listed = Known(guided=to.null is not None, own=sampled), list(cells)
    tables = [cell.weights(len(grid.t)) for cell in listed]
    tasks = [Task(grid, to, source, w, plan(w, grid, known)) for w in tables]
    last, spent = finished(unet, tree(tasks), v, most=0)
    return {cell: last[i].x for i, cell in enumerate(listed)}, spent.unet_rows
