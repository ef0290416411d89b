"""What an edit must compute: which steps call the UNet, with how many rows, and which are known.

A plan leads where walking all N steps leads, in fewer calls. Its legs, in order:
source: x* = x_A, whatever came before; carry: x* - x_A is scaled, no call; call: one step.
"""

from collections.abc import Hashable
from typing import NamedTuple

from torch import Tensor

from mdp_lite.schedule import Grid, Weights


class Known(NamedTuple):
    """What is known of an edit beside its table.

    guided: a null row is needed (g is not 1, and null is not the condition itself); same: target
    and source have one condition; own: the source's noise is this model's under this guidance.
    """

    guided: bool = True
    same: bool = False
    own: bool = False


class Leg(NamedTuple):
    """From row start to row stop: "source", "carry", or "call" of the UNet.

    reads are the conditions of a call's rows: "null", "c" (mixed by w_c), "source". Legs that are
    equal and follow the same legs compute the same; key is what they depend on beside.
    """

    kind: str
    start: int
    stop: int
    reads: tuple[str, ...] = ()
    key: Hashable = None


class Plan(NamedTuple):
    """The legs of an edit of n steps; before the first leg x* = x_A."""

    n: int
    legs: tuple[Leg, ...]

    @property
    def unet_rows(self) -> int:
        """Latents that go through the UNet, once each."""
        return sum(len(leg.reads) for leg in self.legs)

    @property
    def unet_calls(self) -> int:
        """Calls of the UNet, if nothing is computed together."""
        return sum(leg.kind == "call" for leg in self.legs)


def plan(weights: Weights, grid: Grid, known: Known = Known()) -> Plan:  # noqa: B008
    """Compile a table of n rows for a path over the grid that starts where the source does."""
    legs: list[Leg] = []
    follows = True  # x* is the source's own latent
    for i in range(len(grid.t)):
        w = Weights(*(column[i] for column in weights))
        if _all(w.x, 1) or (follows and _keeps(w, grid, i, known)):
            legs, follows = [Leg("source", 0, i + 1)], True  # what came before is dead
        elif _carries(w, grid, i):
            _extend(legs, i, _key(w.x))
        else:
            legs.append(_call(w, i, known))
            follows = False
    return Plan(len(grid.t), tuple(legs))


def plain(n: int, guided: bool) -> Plan:
    """Sampling without a source: every step is a call."""
    reads = ("null", "c") if guided else ("c",)
    return Plan(n, tuple(Leg("call", i, i + 1, reads) for i in range(n)))


def described(plan: Plan) -> list[str]:
    """The legs for people, equal calls in a row as one line."""
    lines: list[str] = []
    runs: list[list[Leg]] = []
    for leg in plan.legs:
        if runs and leg.kind == "call" and leg.reads == runs[-1][-1].reads:
            runs[-1].append(leg)
        else:
            runs.append([leg])
    for run in runs:
        leg, where = run[0], f"rows {run[0].start} to {run[-1].stop - 1}"
        if leg.kind == "call":
            reads = " + ".join(leg.reads)
            lines.append(f"{where}: {len(run)} calls of the UNet, {len(leg.reads)} rows ({reads})")
        elif leg.kind == "carry":
            lines.append(f"{where}: the distance from the source is scaled, no call")
        else:
            lines.append(f"{where}: the source itself, no call")
    return [*lines, f"{plan.unet_rows} UNet rows in {plan.unet_calls} calls"]


def _all(column: Tensor, value: float) -> bool:
    return bool((column == value).all())


def _any(column: Tensor) -> bool:
    return bool(column.any())


def _keeps(w: Weights, grid: Grid, i: int, known: Known) -> bool:
    """Whether a step from x_A leads to x_A: its noise is the source's, known or predicted anew."""
    asks_source = known.same or _all(w.c, 1) or _all(w.beta, 1)
    return _all(w.eps, 1) or _still(grid, i) or (known.own and asks_source)


def _carries(w: Weights, grid: Grid, i: int) -> bool:
    """Whether x* - x_A is only scaled: both go along one noise, or stand still."""
    return _all(w.eps, 1) or _still(grid, i)


def _still(grid: Grid, i: int) -> bool:
    """A DDIM step from a level to itself is the identity."""
    return bool(grid.a[i] == grid.b[i])


def _scalar(column: Tensor) -> bool:
    return _all(column, column.flatten()[0].item())


def _extend(legs: list[Leg], i: int, key: Hashable) -> None:
    if legs and legs[-1].kind == "carry":
        last = legs.pop()
        legs.append(last._replace(stop=i + 1, key=(last.key, key)))
    else:
        legs.append(Leg("carry", i, i + 1, key=key))


def _call(w: Weights, i: int, known: Known) -> Leg:
    """A step of the denoiser; its third row is MDP-beta's, between two conditions that differ."""
    reads = ("null",) if known.guided else ()
    if known.same or _all(w.c, 1) or _all(w.beta, 1):
        return Leg("call", i, i + 1, (*reads, "source"), (_key(w.eps), _key(w.x)))
    if _any(w.beta):
        reads, key = (*reads, "c", "source"), (_key(w.c), _key(w.beta), _key(w.eps), _key(w.x))
    else:
        reads, key = (*reads, "c"), (_key(w.c), _key(w.eps), _key(w.x))
    return Leg("call", i, i + 1, reads, key)


def _key(column: Tensor) -> Hashable:
    """A weight as something to compare: one number, or the bytes of a map."""
    if _scalar(column):
        return column.flatten()[0].item()
    return column.contiguous().double().cpu().numpy().tobytes()
