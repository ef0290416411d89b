"""Many windows of an edit of many cases at once; steps that windows share are computed once."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from mdp_lite.method.execute import EditTask, build_tree
from mdp_lite.method.leash import add_leash
from mdp_lite.method.mdp import Denoiser, Guidance
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import Grid, Weights, variant_table, window
from mdp_lite.pipeline.sweep import run_to_end


class EvalCell(NamedTuple):
    """One setting of an edit: weight share on the steps [n - t_max, n - t_max + t_m).

    leash is the share of the pull of leash.add_leash that follows the window; 0 is none.
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

    def build_weights(self, n: int) -> Weights:
        """Its table of n steps."""
        weights = variant_table(self.variant, self.share * window(n, self.t_max, self.t_m))
        return add_leash(weights, self.t_max, self.t_m, self.leash) if self.leash else weights


def run_cells(
    unet: Denoiser, grid: Grid, source: Trajectory, guidance: Guidance, cells: Iterable[EvalCell],
    own_noise: bool = True, v_prediction: bool = False,
) -> tuple[dict[EvalCell, Tensor], int]:  # fmt: skip
    """The clean latents (b, 4, y, x) of each cell, and the UNet rows of one picture for all cells.

    Equal latents are one tensor. own_noise: the source's noise is what the model predicts along it,
    under this guidance.
    """
    facts, some = EditFacts(guided=guidance.null is not None, own_noise=own_noise), list(cells)
    tables = [cell.build_weights(len(grid.t)) for cell in some]
    tasks = [EditTask(grid, guidance, source, w, plan(w, grid, facts)) for w in tables]
    ends, cost = run_to_end(unet, build_tree(tasks), v_prediction, max_rows=0)
    return {cell: ends[i].x for i, cell in enumerate(some)}, cost.unet_rows
