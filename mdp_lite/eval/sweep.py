"""Many windows of an edit at once: what they share is computed once.

A window of constant weight has three parts: plain steps towards the target, which every window
shares with plain sampling; manipulated steps, which windows that start together share; and plain
steps again. A part that never reads the network costs nothing.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.mdp import Denoiser
from mdp_lite.sample import Conditions, Path, walk
from mdp_lite.schedule import Grid, table


class Cell(NamedTuple):
    """One setting of an edit: weight share on the rows [n - t_max, n - t_max + t_m)."""

    variant: str
    t_max: int
    t_m: int
    share: float = 1.0

    @property
    def label(self) -> str:
        """As in: epsilon 47/26; c 50/26 w=0.5."""
        weight = "" if self.share == 1 else f" w={self.share:g}"
        return f"{self.variant} {self.t_max}/{self.t_m}{weight}"


def cheapest(cell: Cell, n: int, sampled: bool) -> Cell:
    """The cell with the same picture that needs the fewest steps.

    At weight 1, x follows from where the window ends alone, and beta is c; from the first step on
    all four follow the source, if it was sampled under the same guidance (not inverted).
    """
    variant, t_max, t_m, share = cell
    if t_m == 0:
        return Cell("x", n, 0)
    if share != 1:
        return cell
    follows = variant == "x" or (t_max == n and (sampled or variant == "epsilon"))
    if follows:
        return Cell("x", n, n - t_max + t_m)
    return cell._replace(variant="c") if variant == "beta" else cell


@torch.no_grad()
def sweep(
    unet: Denoiser, grid: Grid, source: Path, to: Conditions, plain: Path,
    cells: Iterable[Cell], sampled: bool = True, v: bool = False,
) -> dict[Cell, Tensor]:  # fmt: skip
    """Clean latents (b, 4, y, x) of every cell; plain is the path sampled under to.

    plain starts from the source's noise; sampled as in cheapest().
    """
    n = len(grid.t)
    needed = {cell: cheapest(cell, n, sampled) for cell in cells}
    trunks: dict[tuple[str, int, float], list[Cell]] = {}
    for cell in dict.fromkeys(needed.values()):
        trunks.setdefault((cell.variant, cell.t_max, cell.share), []).append(cell)
    found: dict[Cell, Tensor] = {}
    for group in trunks.values():
        longest = max(group, key=lambda cell: cell.t_m)
        reached = trunk(unet, grid, source, to, plain, longest, v)
        for cell in group:
            end = n - cell.t_max + cell.t_m
            found[cell] = finish(unet, part(grid, end, n), reached[cell.t_m], to, v)
    return {cell: found[needed[cell]] for cell in needed}


def trunk(
    unet: Denoiser, grid: Grid, source: Path, to: Conditions, plain: Path, cell: Cell, v: bool
) -> Tensor:
    """The manipulated rows of a cell: x (t_m + 1, b, 4, y, x), from where its window starts."""
    n = len(grid.t)
    start, end = n - cell.t_max, n - cell.t_max + cell.t_m
    if cell.variant == "x" and cell.share == 1:
        return source.x[start : end + 1]
    weights = table(cell.variant, torch.full((cell.t_m,), cell.share, dtype=torch.float64))
    silent = cell.variant == "epsilon" and cell.share == 1
    read = (lambda x, t, c: torch.zeros_like(x)) if silent else unet
    follow = Path(source.x[start : end + 1], source.eps[start:end], source.c)
    rows = walk(read, part(grid, start, end), plain.x[start], to, follow, weights, v)
    return torch.stack([plain.x[start], *(step.x for step in rows)])


def finish(unet: Denoiser, rest: Grid, x: Tensor, to: Conditions, v: bool) -> Tensor:
    """Plain steps to the end of the grid."""
    for step in walk(unet, rest, x, to, v=v):
        x = step.x
    return x


def part(grid: Grid, start: int, end: int) -> Grid:
    """Rows start to end of the grid."""
    return Grid(*(column[start:end] for column in grid))
