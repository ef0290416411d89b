"""The suite of drawn edits: ten kinds, each from a record to its changed record.

Prompts name little: what changes, the object, and at most one thing more. All else is left for the
edit to keep. Records before and after are of combinations that training never sees, no record
serves twice, and what settings are chosen on is not what is reported.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

from mdp_lite.eval.cases import KINDS as FIELD_KINDS
from mdp_lite.eval.cases import Case, scenes
from mdp_lite.eval.reader import HEADS
from mdp_lite.eval.scene import FIELDS, Scene, held_back
from mdp_lite.eval.world import caption

SPLITS = {"tune": 20_000_000, "report": 40_000_000}  # seed of the first record
APART = 1_000_000  # seeds from one kind's first record to the next kind's
PAIRED = ("object", "color", "ground", "time")  # two of these change at once

Values = dict[str, str]

KINDS = {
    "object": "another object in its place",
    "color": "another colour of the object",
    "position": "the object elsewhere, as large as it was",
    "time": "another time of day",
    "ground": "another ground, or season",
    "weather": "other weather",
    "add": "a sun or moon where there was none",
    "remove": "no sun or moon where there was one",
    "two": "two of object, colour, ground and time at once",
    "style": "the look of the whole picture: time of day and weather",
}


def edits(kind: str, split: str) -> Iterator[Case]:
    """Edits of a kind, one after the other without end; equal calls give equal edits."""
    for name, value, known in (("kind", kind, KINDS), ("split", split, SPLITS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    first = SPLITS[split] + APART * list(KINDS).index(kind)
    found = (drawn_edit(kind, seed, scene) for seed, scene in scenes(first))
    return filter(None, found)


def drawn_edit(kind: str, seed: int, scene: Scene) -> Case | None:
    """An edit of a scene; None where it has no answer that is held back."""
    rng = random.Random(f"{kind} {seed}")
    answers = [replace(scene, **values) for values in changes(kind, scene, rng)]
    answers = [answer for answer in answers if held_back(answer)]
    if not answers:
        return None
    after, form = rng.choice(answers), rng.choice(("comma", "sentence"))
    fields = named(kind, changed(scene, after), rng)
    source, target = (caption(record, fields, form) for record in (scene, after))
    if kind == "remove":  # captions that name little are silent about what is not there
        target = source.replace("with the", "with no")
    return Case(kind, scene, after, source, target, seed)


def changes(kind: str, scene: Scene, rng: random.Random) -> list[Values]:
    """What may change in a scene, each as the fields with their new values."""
    if kind in ("add", "remove"):
        before, after = ("none", "shown") if kind == "add" else ("shown", "none")
        return [{"light": after}] if scene.light == before else []
    pairs = {"two": tuple(rng.sample(PAIRED, 2)), "style": ("time", "weather")}
    fields = pairs.get(kind, (kind,))
    others = [[v for v in FIELDS[field] if v != getattr(scene, field)] for field in fields]
    return [dict(zip(fields, values, strict=True)) for values in itertools.product(*others)]


def named(kind: str, fields: tuple[str, ...], rng: random.Random) -> tuple[str, ...]:
    """What the prompts name; sun and moon are told by the time of day."""
    least = {"object", *fields} | ({"time"} if kind in ("add", "remove") else set())
    more = rng.sample([field for field in FIELD_KINDS if field not in least], rng.randint(0, 1))
    return (*sorted(least), *more)


def changed(before: Scene, after: Scene) -> tuple[str, ...]:
    """The fields in which two records differ."""
    return tuple(name for name in HEADS if getattr(before, name) != getattr(after, name))
