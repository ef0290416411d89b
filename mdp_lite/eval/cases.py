"""Edits with known answers: a held-back scene, one field of it changed, and a caption of each."""

import itertools
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from mdp_lite.eval.scene import FIELDS, Scene, change, is_held_back, sample
from mdp_lite.eval.world import caption
from mdp_lite.names import BadInput

FIRST = 10_000_000  # seed of the first scene; training uses small ones
KINDS = ("color", "object", "ground", "time", "weather", "position")  # what a short prompt can edit
FULL_KINDS = (*KINDS, "light")  # no short prompt can say that there is no light


class EditCase(NamedTuple):
    """An edit from a scene to another, each with a caption of the same form.

    kind is the field that changes. A scene is a record of any world. seed is that of the source
    scene, and of the noise if one is needed.
    """

    kind: str
    source_scene: Any
    target_scene: Any
    source: str
    target: str
    seed: int


def iterate_scenes(first: int = FIRST) -> Iterator[tuple[int, Scene]]:
    """Seeds from the first on, and their scenes, of combinations that training never sees."""
    pairs = ((seed, sample(seed)) for seed in itertools.count(first))
    return ((seed, scene) for seed, scene in pairs if is_held_back(scene))


def make_cases(kind: str, count: int, short: bool, first: int = FIRST) -> list[EditCase]:
    """Edits of one field whose scenes are both held back from training.

    Short prompts name the field, the object and at most one field more; others name every field.
    """
    kinds = KINDS if short else FULL_KINDS
    if kind not in kinds:
        raise BadInput(f"kind must be one of {', '.join(kinds)}, got {kind!r}")
    cases = (make_case(kind, seed, scene, short) for seed, scene in iterate_scenes(first))
    return list(itertools.islice(filter(None, cases), count))


def make_case(kind: str, seed: int, scene: Scene, short: bool) -> EditCase | None:
    """An edit of a scene; None if no other value of the field is held back."""
    rng = random.Random(seed)
    others = [value for value in FIELDS[kind] if value != getattr(scene, kind)]
    answers = [change(scene, kind, value) for value in others]
    answers = [answer for answer in answers if is_held_back(answer)]
    if not answers:
        return None
    answer, form = rng.choice(answers), rng.choice(("comma", "sentence"))
    fields = choose_fields(kind, rng) if short else tuple(FIELDS)
    source, target = (caption(one, fields, form) for one in (scene, answer))
    return EditCase(kind, scene, answer, source, target, seed)


def choose_fields(kind: str, rng: random.Random) -> tuple[str, ...]:
    """The fields that a short prompt names."""
    least = {"object", kind}
    more = rng.sample([field for field in KINDS if field not in least], rng.randint(0, 1))
    return (*sorted(least), *more)
