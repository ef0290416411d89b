"""What an edit must compute: which steps call the UNet, with how many rows, and which are known.

A plan leads where walking all N steps leads, in fewer calls. Its legs, in order:
source: x* = x_A, whatever came before; carry: x* - x_A is scaled, no call; along: steps along the
source's noise, where that does not lead along the source, no call; call: one step.
"""

import hashlib
from collections.abc import Hashable
from typing import NamedTuple

from torch import Tensor

from mdp_lite.method.schedule import Grid, Weights


class Known(NamedTuple):
    """What is known of an edit beside its table.

    guided: g is not 1; same: target and source have one condition; own: the source's noise is this
    model's under this guidance; null_is_c, null_is_source: the null row is the target's condition,
    or the source's, so that guidance towards that alone is the identity; exact: steps along the
    source's noise lead along the source.
    """

    guided: bool = True
    same: bool = False
    own: bool = False
    null_is_c: bool = False
    null_is_source: bool = False
    exact: bool = True


class Leg(NamedTuple):
    """From row start to row stop: "source", "carry", "along", or "call" of the UNet.

    reads are the conditions of a call's rows: "null", "c" (mixed by w_c), "source". Legs that are
    equal and follow the same legs compute the same; keys are what they depend on beside.
    """

    kind: str
    start: int
    stop: int
    reads: tuple[str, ...] = ()
    keys: tuple[Hashable, ...] = ()


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
    columns = [column.cpu() for column in weights]
    # A DDIM step from a level to itself is the identity.
    for i, still in enumerate((grid.a == grid.b).tolist()):
        w = Weights(*(column[i] for column in columns))
        free = still or _all(w.eps, 1)  # no noise to predict: both go along one
        carries = free and known.exact  # x* - x_A is only scaled
        if _all(w.x, 1) or (follows and (carries or (known.own and _asks_source(w, known)))):
            legs, follows = [Leg("source", 0, i + 1)], True  # what came before is dead
        elif free:
            _extend(legs, "carry" if carries else "along", i, _key(w.x))
            follows = False
        else:
            legs.append(_call(w, i, known))
            follows = False
    return Plan(len(grid.t), tuple(legs))


def evaluated(plan: Plan) -> tuple[int, ...]:
    """The rows at which the UNet is called."""
    return tuple(leg.start for leg in plan.legs if leg.kind == "call")


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
        elif leg.kind == "along":
            lines.append(f"{where}: along the source's noise, no call")
        else:
            lines.append(f"{where}: the source itself, no call")
    return [*lines, f"{plan.unet_rows} UNet rows in {plan.unet_calls} calls"]


def _all(column: Tensor, value: float) -> bool:
    return bool((column == value).all())


def _any(column: Tensor) -> bool:
    return bool(column.any())


def _asks_source(w: Weights, known: Known) -> bool:
    """Whether the denoiser is asked for the source's condition alone."""
    return known.same or _all(w.c, 1) or _all(w.beta, 1)


def _extend(legs: list[Leg], kind: str, i: int, key: Hashable) -> None:
    if legs and legs[-1].kind == kind:
        last = legs.pop()
        legs.append(last._replace(stop=i + 1, keys=(*last.keys, key)))
    else:
        legs.append(Leg(kind, i, i + 1, keys=(key,)))


def _call(w: Weights, i: int, known: Known) -> Leg:
    """A step of the denoiser; its third row is MDP-beta's, between two conditions that differ."""
    if _asks_source(w, known):
        reads, null, mixing = ("source",), known.null_is_source, (w.eps, w.x)
    elif _any(w.beta):
        reads, null, mixing = ("c", "source"), False, (w.c, w.beta, w.eps, w.x)
    else:
        reads, null, mixing = ("c",), known.null_is_c and not _any(w.c), (w.c, w.eps, w.x)
    if known.guided and not null:
        reads = ("null", *reads)
    return Leg("call", i, i + 1, reads, tuple(map(_key, mixing)))


def _key(column: Tensor) -> Hashable:
    """A weight as something to compare: one number, or the shape and digest of a map."""
    for value in (0.0, 1.0):
        if _all(column, value):
            return value
    if column.ndim == 0:
        return column.item()
    # A map of one value is not that number: torch may round its lerp otherwise.
    values = column.contiguous().double().numpy().tobytes()
    return tuple(column.shape), hashlib.sha256(values).digest()
