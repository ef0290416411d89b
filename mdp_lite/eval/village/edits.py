"""Edits of the village with known answers: twelve kinds, each from a scene to a changed scene.

As in the first world's suite, prompts name little: the change, the object, one thing more at the
most, and what is unusual, as all captions of the village do. Both scenes are of combinations that
training never sees.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace

from mdp_lite.eval.cases import EditCase
from mdp_lite.eval.edits import SEEDS_APART, SPLITS
from mdp_lite.eval.village.captions import FORMS, caption
from mdp_lite.eval.village.record import FIELDS, VillageScene, is_held_back, sample
from mdp_lite.names import BadInput

PAIRED = ("object", "color", "ground", "time", "season")  # two of these change at once
EXTRA = ("color", "position", "ground", "time", "weather", "style")  # what a prompt may name more

KINDS = {
    "object": "other things in their place",
    "color": "another colour of the things",
    "material": "another material of the things",
    "position": "the things elsewhere, as large as they were",
    "ground": "another ground",
    "season": "another season",
    "time": "another time of day",
    "weather": "other weather",
    "style": "another style of the whole picture",
    "add": "a second thing where there was none",
    "remove": "no second thing where there was one",
    "two": "two of object, colour, ground, time and season at once",
}


def iterate_village_edits(kind: str, split: str) -> Iterator[EditCase]:
    """Edits of a kind, without end; equal calls give equal edits. Raises BadInput."""
    for name, value, known in (("kind", kind, KINDS), ("split", split, SPLITS)):
        if value not in known:
            raise BadInput(f"{name} must be one of {', '.join(known)}, got {value!r}")
    first = SPLITS[split] + SEEDS_APART * list(KINDS).index(kind)
    scenes = ((seed, sample(seed)) for seed in itertools.count(first))
    return filter(None, (make_edit(kind, *one) for one in scenes if is_held_back(one[1])))


def make_edit(kind: str, seed: int, scene: VillageScene) -> EditCase | None:
    """An edit of a scene; None if no possible answer is held back from training."""
    rng = random.Random(f"village {kind} {seed}")
    answers = [replace(scene, **values) for values in list_changes(kind, scene, rng)]
    answers = [answer for answer in answers if is_held_back(answer)]
    if not answers:
        return None
    answer, form = rng.choice(answers), rng.choice(FORMS)
    fields = choose_fields(kind, scene, answer, rng)
    source, target = (caption(one, fields, form) for one in (scene, answer))
    return EditCase(kind, scene, answer, source, target, seed)


def list_changes(kind: str, scene: VillageScene, rng: random.Random) -> list[dict[str, str]]:
    """All possible changes of a scene, each as fields with their new values."""
    if kind in ("add", "remove"):
        if (scene.friend == "none") != (kind == "add"):
            return []
        values = [v for v in FIELDS["friend"] if v not in ("none", scene.object)]
        return [{"friend": v} for v in (values if kind == "add" else ["none"])]
    fields = tuple(rng.sample(PAIRED, 2)) if kind == "two" else (kind,)
    others = [[v for v in FIELDS[field] if v != getattr(scene, field)] for field in fields]
    return [dict(zip(fields, values, strict=True)) for values in itertools.product(*others)]


def choose_fields(
    kind: str, scene: VillageScene, answer: VillageScene, rng: random.Random
) -> tuple[str, ...]:
    """The fields that the prompts name: the object, what changes, and one more at the most."""
    changed = [name for name in FIELDS if getattr(scene, name) != getattr(answer, name)]
    least = {"object", *changed} | ({"friend_color"} if kind in ("add", "remove") else set())
    more = rng.sample([field for field in EXTRA if field not in least], rng.randint(0, 1))
    return (*sorted(least), *more)
