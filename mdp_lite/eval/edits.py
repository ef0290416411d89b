"""The suite of synthetic edits: ten kinds, each from a scene to a changed scene.

Prompts name little: the change, the object, and at most one thing more. The edit is to preserve all
else. Both scenes are of combinations that training never sees, no scene is used twice, and settings
are tuned on other scenes than those that are reported. The scenes of "report" have been published
with their figures; those of "fresh" are for claims that were settled before anyone saw them.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

from mdp_lite.eval.cases import KINDS as FIELD_KINDS
from mdp_lite.eval.cases import EditCase, iterate_scenes
from mdp_lite.eval.reader import HEADS
from mdp_lite.eval.scene import FIELDS, Scene, is_held_back
from mdp_lite.eval.world import caption
from mdp_lite.names import BadInput

# Seed of the first scene of each split.
SPLITS = {"tune": 20_000_000, "report": 40_000_000, "fresh": 60_000_000}
SEEDS_APART = 1_000_000  # from one kind's first scene to the next kind's
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


def iterate_edits(kind: str, split: str) -> Iterator[EditCase]:
    """Edits of a kind, without end; equal calls give equal edits."""
    for name, value, known in (("kind", kind, KINDS), ("split", split, SPLITS)):
        if value not in known:
            raise BadInput(f"{name} must be one of {', '.join(known)}, got {value!r}")
    first = SPLITS[split] + SEEDS_APART * list(KINDS).index(kind)
    cases = (make_edit(kind, seed, scene) for seed, scene in iterate_scenes(first))
    return filter(None, cases)


def make_edit(kind: str, seed: int, scene: Scene) -> EditCase | None:
    """An edit of a scene; None if no possible answer is held back from training."""
    rng = random.Random(f"{kind} {seed}")
    answers = [replace(scene, **values) for values in list_changes(kind, scene, rng)]
    answers = [answer for answer in answers if is_held_back(answer)]
    if not answers:
        return None
    answer, form = rng.choice(answers), rng.choice(("comma", "sentence"))
    fields = choose_fields(kind, find_changes(scene, answer), rng)
    source, target = (caption(one, fields, form) for one in (scene, answer))
    if kind == "remove":  # a short caption does not mention what is absent
        target = source.replace("with the", "with no")
    return EditCase(kind, scene, answer, source, target, seed)


def list_changes(kind: str, scene: Scene, rng: random.Random) -> list[Values]:
    """All possible changes of a scene, each as fields with their new values."""
    if kind in ("add", "remove"):
        old, new = ("none", "shown") if kind == "add" else ("shown", "none")
        return [{"light": new}] if scene.light == old else []
    pairs = {"two": tuple(rng.sample(PAIRED, 2)), "style": ("time", "weather")}
    fields = pairs.get(kind, (kind,))
    others = [[v for v in FIELDS[field] if v != getattr(scene, field)] for field in fields]
    return [dict(zip(fields, values, strict=True)) for values in itertools.product(*others)]


def choose_fields(kind: str, fields: tuple[str, ...], rng: random.Random) -> tuple[str, ...]:
    """The fields that the prompts name; with a sun or moon the time of day is one of them."""
    least = {"object", *fields} | ({"time"} if kind in ("add", "remove") else set())
    more = rng.sample([field for field in FIELD_KINDS if field not in least], rng.randint(0, 1))
    return (*sorted(least), *more)


def find_changes(source: Scene, target: Scene) -> tuple[str, ...]:
    """The fields in which two scenes differ."""
    return tuple(name for name in HEADS if getattr(source, name) != getattr(target, name))
