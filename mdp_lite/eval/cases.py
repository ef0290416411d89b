"""Edits with known answers: a held-back record, one field of it changed, and a caption of each."""

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

from mdp_lite.eval.scene import FIELDS, Scene, change, held_back, sample
from mdp_lite.eval.world import caption

FIRST = 10_000_000  # seed of the first record; training uses small ones
KINDS = ("color", "object", "ground", "time", "weather", "position")  # what a short prompt can edit
FULL_KINDS = (*KINDS, "light")  # no short prompt can say that there is no light


class Case(NamedTuple):
    """An edit: from source, a caption of before, to target, a caption of after, in words alike."""

    kind: str  # the field that changes
    before: Scene
    after: Scene
    source: str
    target: str
    seed: int  # of the record, and of the noise where one is needed


def scenes(first: int = FIRST) -> Iterator[tuple[int, Scene]]:
    """Seeds from the first on, and their scenes, of combinations that training never sees."""
    drawn = ((seed, sample(seed)) for seed in itertools.count(first))
    return ((seed, scene) for seed, scene in drawn if held_back(scene))


def cases(kind: str, count: int, short: bool, first: int = FIRST) -> list[Case]:
    """Edits of one field whose records, before and after, are both held back.

    Short prompts name the field, the object and at most one field more; others name every field.
    """
    known = KINDS if short else FULL_KINDS
    if kind not in known:
        raise ValueError(f"kind must be one of {', '.join(known)}, got {kind!r}")
    found = (edit(kind, seed, scene, short) for seed, scene in scenes(first))
    return list(itertools.islice(filter(None, found), count))


def edit(kind: str, seed: int, scene: Scene, short: bool) -> Case | None:
    """An edit of a scene; None where no other value of the field is held back."""
    rng = random.Random(seed)
    others = [value for value in FIELDS[kind] if value != getattr(scene, kind)]
    answers = [change(scene, kind, value) for value in others]
    answers = [answer for answer in answers if held_back(answer)]
    if not answers:
        return None
    after, form = rng.choice(answers), rng.choice(("comma", "sentence"))
    fields = named(kind, rng) if short else tuple(FIELDS)
    source, target = (caption(record, fields, form) for record in (scene, after))
    return Case(kind, scene, after, source, target, seed)


def named(kind: str, rng: random.Random) -> tuple[str, ...]:
    """What a short prompt names."""
    least = {"object", kind}
    more = rng.sample([field for field in KINDS if field not in least], rng.randint(0, 1))
    return (*sorted(least), *more)
