"""Walking a path: plain sampling and editing are one loop that yields after every step."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.ddim import ddpm_mean, eps_to_x0
from mdp_lite.method.mdp import Denoiser, Levels, SourceRow, Step, step
from mdp_lite.method.schedule import Grid, Row, Weights, row


class Conditions(NamedTuple):
    """c (b or 1, l, d) of the prompt; null likewise, or None for guidance 1; g () the guidance.

    null is c itself where both prompts are one: guidance is then the identity as long as c is not
    mixed with another condition. It may be a table (N, b or 1, l, d), one for each step, as
    null-text inversion makes it. q () is the quantile of proximal guidance, or None for plain.
    """

    c: Tensor
    null: Tensor | None
    g: Tensor
    q: Tensor | None = None

    @property
    def rows(self) -> int:
        """UNet rows of a step without a source."""
        return 1 if self.null is None or self.null is self.c else 2

    @property
    def alone(self) -> "Conditions":
        """The same for paths without a source, without a null row that changes nothing."""
        return self if self.rows == 2 else self._replace(null=None)

    def at(self, i: Row) -> "Conditions":
        """Those of step i."""
        if self.null is None or self.null.ndim == 3:
            return self
        return self._replace(null=row(self.null, i))


class Path(NamedTuple):
    """A recorded path: x (N+1, b, 4, y, x), eps (N, b, 4, y, x), and the c (b or 1, l, d) it had.

    x[0] is noise, x[N] the clean latent, eps[i] the guided noise of the step from x[i] to x[i+1].
    null (N, b, l, d) are null rows that were optimised for it; noise (N, b, 4, y, x) is the sigma z
    of each step where it goes by DDPM.
    """

    x: Tensor
    eps: Tensor
    c: Tensor
    null: Tensor | None = None
    noise: Tensor | None = None


def record(x: Tensor, steps: list[Step], c: Tensor) -> Path:
    """The path that started at x (b, 4, y, x) and took these steps."""
    return Path(torch.stack([x, *(s.x for s in steps)]), torch.stack([s.eps for s in steps]), c)


def levels(grid: Grid, i: Row) -> Levels:
    """Row i of the grid."""
    return Levels(*(row(column, i) for column in grid))


def no_source(x: Tensor, c: Tensor) -> SourceRow:
    """Zeros, not garbage: a weight of 0 times NaN would still be NaN."""
    zeros = torch.zeros_like(x)
    return SourceRow(torch.zeros_like(c), zeros, zeros, zeros)


def weights_row(table: Weights, i: Row, x: Tensor) -> Weights:
    """Row i of a table, as x needs it."""
    return Weights(*(row(column, i).to(x) for column in table))


def source_row(path: Path, grid: Grid, i: Row) -> SourceRow:
    """What path A did at step i; its predicted x_0 follows from where the step arrived."""
    x, eps = row(path.x, i + 1), row(path.eps, i)
    noise = None if path.noise is None else row(path.noise, i)
    return SourceRow(path.c, eps, headed(path, grid, i, x, eps), x, noise)


def headed(path: Path, grid: Grid, i: Row, x: Tensor, eps: Tensor) -> Tensor:
    """The predicted x_0 of a step i like the path's, which arrived at x along eps."""
    a, b = row(grid.a, i), row(grid.b, i)
    if path.noise is None:
        return eps_to_x0(eps, x, b)
    return (x - row(path.noise, i) - ddpm_mean(torch.zeros_like(eps), eps, a, b)) / b.sqrt()


def no_weights(n: int) -> Weights:
    """The table of plain sampling: nothing from any source."""
    return Weights(*torch.zeros(4, n, dtype=torch.float64))


def walk(
    unet: Denoiser, grid: Grid, x: Tensor, to: Conditions,
    source: Path | None = None, weights: Weights | None = None, v: bool = False,
) -> Iterator[Step]:  # fmt: skip
    """From the noise x (b, 4, y, x) down the grid, yielding each step.

    Without a source this is DDIM sampling; with one, weights is a table of N rows that says how
    much of the source each step takes.
    """
    to = to if source else to.alone
    weights = weights or no_weights(len(grid.t))
    for i in range(len(grid.t)):
        path_a = source_row(source, grid, i) if source else no_source(x, to.c)
        w = weights_row(weights, i, x)
        beta = bool(weights.beta[i].any())
        now = to.at(i)
        taken = step(unet, x, levels(grid, i), now.c, now.null, now.g, path_a, w, beta, v, now.q)
        x = taken.x
        yield taken
