"""Many windows of an edit of many cases at once; steps that windows share are computed once."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from mdp_lite.method.execute import EditTask, build_tree
from mdp_lite.method.leash import add_leash, add_local_leash
from mdp_lite.method.mdp import Denoiser, Guidance
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import Grid, Weights, variant_table, window
from mdp_lite.pipeline.sweep import run_to_end


class EvalCell(NamedTuple):
    """One setting of an edit: weight share on the steps [n - t_max, n - t_max + t_m).

    leash is the share of the pull of leash.add_leash that follows the window; 0 is none. With local
    it is that of add_local_leash.
    """

    variant: str
    t_max: int
    t_m: int
    share: float = 1.0
    leash: float = 0.0
    local: bool = False

    @property
    def label(self) -> str:
        """As in: epsilon 47/26; c 50/26 w=0.5; x 50/17 leash; epsilon 50/17 local leash 0.7."""
        weight = "" if self.share == 1 else f" w={self.share:g}"
        kind = " local leash" if self.local else " leash"
        pull = kind if self.leash else ""
        pull += f" {self.leash:g}" if self.leash not in (0, 1) else ""
        return f"{self.variant} {self.t_max}/{self.t_m}{weight}{pull}"

    def build_weights(self, n: int) -> Weights:
        """Its table of n steps."""
        weights = variant_table(self.variant, self.share * window(n, self.t_max, self.t_m))
        add = add_local_leash if self.local else add_leash
        return add(weights, self.t_max, self.t_m, self.leash) if self.leash else weights


def run_cells(
    unet: Denoiser, grid: Grid, source: Trajectory, guidance: Guidance, cells: Iterable[EvalCell],
    own_noise: bool = True, v_prediction: bool = False, guidance_every: int = 1,
) -> tuple[dict[EvalCell, Tensor], int]:  # fmt: skip
    """The clean latents (b, 4, y, x) of each cell, and the UNet rows of one picture for all cells.

    Equal latents are one tensor. own_noise: the source's noise is what the model predicts along it,
    under this guidance. guidance_every is that of Editor.edit.
    """
    some, n = list(cells), len(grid.t)
    tables = [cell.build_weights(n) for cell in some]
    how = (own_noise, v_prediction, guidance_every)
    ends, rows = run_tables(unet, grid, source, guidance, tables, *how)
    return dict(zip(some, ends, strict=True)), rows


def run_tables(
    unet: Denoiser, grid: Grid, source: Trajectory, guidance: Guidance, tables: Sequence[Weights],
    own_noise: bool = True, v_prediction: bool = False, guidance_every: int = 1,
) -> tuple[list[Tensor], int]:  # fmt: skip
    """The same for any tables of weights: a clean latent for each, and the rows of one picture."""
    facts = EditFacts(guided=guidance.null is not None, own_noise=own_noise)
    plans = [plan(w, grid, facts, guidance_every) for w in tables]
    pairs = zip(tables, plans, strict=True)
    tasks = [EditTask(grid, guidance, source, w, steps) for w, steps in pairs]
    ends, cost = run_to_end(unet, build_tree(tasks), v_prediction, max_rows=0)
    return [ends[i].x for i in range(len(tasks))], cost.unet_rows
