"""Plans: which steps of an edit call the UNet, with which rows, and which have a closed form.

A plan leads where computing all N steps leads, with fewer UNet rows. Its segments, in order, are of
four kinds, and only the last one calls the UNet. "source": x* = x_A, whatever came before. "carry":
both paths use the same noise, so x* - x_A is only multiplied by a number. "along": the same noise,
but the source has offsets (`direct`), so the steps are computed one by one. "call": one step.
"""

import hashlib
from collections.abc import Hashable, Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

from torch import Tensor

from mdp_lite.method.mdp import Reads
from mdp_lite.method.schedule import Grid, Weights


class EditFacts(NamedTuple):
    """What is known of an edit besides its table, and lets steps or rows be left out.

    guided: g is not 1. same_condition: target and source have the same condition. own_noise: asked
    again with the source's prompt and the edit's guidance, this model would predict the recorded
    noise. null_is_c and null_is_source: the null row equals the target's or the source's condition,
    so that guidance towards that condition alone changes nothing. exact: a step from the source's
    latent along the recorded noise ends at the recorded next latent (false for `direct`).
    """

    guided: bool = True
    same_condition: bool = False
    own_noise: bool = False
    null_is_c: bool = False
    null_is_source: bool = False
    exact: bool = True


UNKNOWN = EditFacts()


class Segment(NamedTuple):
    """Steps start to stop - 1 of a plan, of one kind: "source", "carry", "along" or "call".

    reads names the rows of a call. keys are the mixing weights of its steps. reuses: the call asks
    no null row, and its guidance direction comes from that of the segment before. Two plans share a
    segment if it is equal in both, keys included, and follows the same segments.
    """

    kind: str
    start: int
    stop: int
    reads: Reads = ()
    keys: tuple[Hashable, ...] = ()
    reuses: bool = False


class Plan(NamedTuple):
    """The segments of an edit of n steps; before the first segment x* = x_A.

    >>> made = Plan(2, (Segment("source", 0, 1), Segment("call", 1, 2, ("null", "c"))))
    >>> made.unet_rows, made.unet_calls
    (2, 1)
    """

    n: int
    segments: tuple[Segment, ...]

    @property
    def unet_rows(self) -> int:
        """How many latents go through the UNet."""
        return sum(len(one.reads) for one in self.segments)

    @property
    def unet_calls(self) -> int:
        """How many times the UNet is called if no call is shared with another edit."""
        return sum(one.kind == "call" for one in self.segments)


def plan(weights: Weights, grid: Grid, facts: EditFacts = UNKNOWN, guidance_every: int = 1) -> Plan:
    """Compile a table of n steps for a path over the grid that starts at the source's noise.

    guidance_every: of calls in a row only every so many asks the null row; 1 is exact.
    """
    segments: list[Segment] = []
    on_source = True  # x* is the source's own latent
    table = weights.change(Tensor.cpu)
    # A DDIM step from a level to itself is the identity.
    for i, identity in enumerate((grid.a == grid.b).tolist()):
        w = table.change(itemgetter(i))
        pull, same_noise = _pull(w), _all(w.eps, 1)
        known = len(pull) == 1  # a local pull depends on the prediction of x_0
        stays = (identity or same_noise) and facts.exact
        reads_source = facts.own_noise and _reads_source(w, facts)
        if (known and _all(w.x, 1)) or (on_source and (stays or reads_source)):
            segments, on_source = [Segment("source", 0, i + 1)], True  # nothing before it matters
            continue
        on_source = False
        if same_noise or (identity and known):  # no noise to predict
            kind = "carry" if known and facts.exact else "along"
            _extend(segments, kind, i, tuple(map(_key, pull)))
        else:
            segments.append(_call(w, i, facts))
    return Plan(len(grid.t), tuple(reuse_directions(segments, guidance_every)))


def reuse_directions(segments: Iterable[Segment], every: int) -> Iterator[Segment]:
    """Leave out null rows: of calls in a row that guide towards one condition all but every k-th.

    The first of them asks it. So does a call after a closed form or after a step that was not
    guided, and one whose condition is another mixture than that of the step before.
    """
    before, age = None, 0  # the condition that the step before guides towards; steps since its null
    for one in segments:
        towards = _condition(one)
        reuses = towards is not None and towards == before and age + 1 < every
        yield one._replace(reads=one.reads[1:], reuses=True) if reuses else one
        before, age = towards, age + 1 if reuses else 0


def naive_plan(weights: Weights, guided: bool) -> Plan:
    """The plan that skips nothing: every step is a call, with a third row if beta has a weight."""
    reads = ("null", "c") if guided else ("c",)
    steps = [weights.select_step(i, weights.eps) for i in range(len(weights.eps))]
    extra = [("source",) if w.mixes_predictions else () for w in steps]
    calls = tuple(Segment("call", i, i + 1, (*reads, *more)) for i, more in enumerate(extra))
    return Plan(len(calls), calls)


def call_steps(plan: Plan) -> tuple[int, ...]:
    """The steps at which the UNet is called."""
    return tuple(one.start for one in plan.segments if one.kind == "call")


def _condition(segment: Segment) -> Hashable:
    """The condition that a call guides towards, c with its weight of MDP-c; None if it does not."""
    if segment.reads[:1] != ("null",):
        return None
    return (segment.reads[1], segment.keys[0]) if segment.reads[1] == "c" else segment.reads[1]


def _all(column: Tensor, value: float) -> bool:
    return bool((column == value).all())


def _reads_source(w: Weights, facts: EditFacts) -> bool:
    """Whether the UNet would be asked for the source's condition alone."""
    tilted = w.tilt is not None and bool(w.tilt.any())
    return facts.same_condition or _all(w.c, 1) or (_all(w.beta, 1) and not tilted)


def _extend(segments: list[Segment], kind: str, i: int, key: Hashable) -> None:
    if segments and segments[-1].kind == kind:
        last = segments.pop()
        segments.append(last._replace(stop=i + 1, keys=(*last.keys, key)))
    else:
        segments.append(Segment(kind, i, i + 1, keys=(key,)))


def _call(w: Weights, i: int, facts: EditFacts) -> Segment:
    """A step that calls the UNet; MDP-beta's third row is for two conditions that differ."""
    if _reads_source(w, facts):
        reads, null, mixing = ("source",), facts.null_is_source, ()
    elif w.mixes_predictions:
        reads, null, mixing = ("c", "source"), False, (w.c, w.beta, w.tilt)
    else:
        reads, null, mixing = ("c",), facts.null_is_c and not w.c.any(), (w.c,)
    if facts.guided and not null:
        reads = ("null", *reads)
    keys = tuple(map(_key, (*mixing, w.eps, w.x, w.local)))  # a place for each column
    return Segment("call", i, i + 1, reads, keys)


def _pull(w: Weights) -> tuple[Tensor, ...]:
    """The weights of the mixture of latents: x alone where it does not depend on the data."""
    return (w.x,) if w.local is None or not w.local.any() else (w.x, w.local)


def _key(column: Tensor | None) -> Hashable:
    """A weight as something to compare: one number, or the shape and digest of a map."""
    if column is None:
        return 0.0
    for value in (0.0, 1.0):
        if _all(column, value):
            return value
    if column.ndim == 0:
        return column.item()
    # A map of one value is not that number: torch may round its lerp differently.
    values = column.contiguous().cpu().double().numpy().tobytes()
    return tuple(column.shape), hashlib.sha256(values).digest()
