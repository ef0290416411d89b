"""The synthetic world: from a scene to its picture, its captions, and the pixels of a field."""

import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mdp_lite.eval import landscape, paint
from mdp_lite.eval.scene import COMPANIONS, FIELDS, Scene, change, is_held_back, sample
from mdp_lite.names import BadInput

__all__ = [
    "COMPANIONS", "FIELDS", "GROUPS", "WORDS", "Scene", "caption", "change", "draw",
    "draw_without_object", "is_held_back", "mask", "random_caption", "sample",
]  # fmt: skip

LINKS = "a an at by in light moon no on sky something stands sun the weather with ,".split()
WORDS: tuple[str, ...] = (
    *(value for field, values in FIELDS.items() if field != "light" for value in values),
    *LINKS,
)
# Words of which one can stand where another does, by what people call them; LINKS have no group.
GROUPS: dict[str, tuple[str, ...]] = {
    "objects": FIELDS["object"], "colours": FIELDS["color"], "positions": FIELDS["position"],
    "ground": FIELDS["ground"], "time of day": FIELDS["time"], "weather": FIELDS["weather"],
    "lights": ("sun", "moon"),
}  # fmt: skip
PICTURES = "synthetic scenes"  # what pictures of this world are called

CASTS = (paint.object_cast, paint.companion_cast)


def draw(scene: Scene, size: int = 64) -> Image.Image:
    """The scene as an RGB picture of size x size pixels."""
    return _picture(paint.paint(scene, size))


def draw_without_object(scene: Scene, size: int = 64) -> Image.Image:
    """The scene without its object, as an RGB picture of size x size pixels."""
    return _picture(paint.paint_without_object(scene, size))


def _picture(canvas: landscape.Array) -> Image.Image:
    return Image.fromarray(np.clip(canvas + 0.5, 0, 255).astype(np.uint8))


def mask(scene: Scene, field: str, size: int = 64) -> NDArray[np.bool_]:
    """The pixels (size, size) that a field or the companion may change."""
    if field in ("object", "color"):
        return _visible(paint.object_cast(scene, size))
    if field == "companion":
        return _visible(paint.companion_cast(scene, size))
    if field == "position":
        return _all_positions(scene, size)
    if field == "light":
        return landscape.disc_distance(scene, size) < landscape.DISC + landscape.GLOW
    if field == "ground":
        return np.repeat(landscape.ground_alpha(scene, size) > 0, size, axis=1)
    if field in ("time", "weather"):
        return np.ones((size, size), np.bool_)
    raise BadInput(f"field must be one of {', '.join(FIELDS)}, companion, got {field!r}")


def _visible(item: paint.Cast) -> NDArray[np.bool_]:
    """The pixels that an object, its shadow or its reflection covers by more than 5%."""
    return np.maximum(item.body.alpha, item.below.alpha) > 0.05


def _all_positions(scene: Scene, size: int) -> NDArray[np.bool_]:
    """The pixels of object and companion at each of the three positions of the object."""
    scenes = [change(scene, "position", value) for value in FIELDS["position"]]
    shapes = [_visible(cast(one, size)) for one in scenes for cast in CASTS]
    return np.logical_or.reduce(shapes)


def caption(scene: Scene, fields: tuple[str, ...] = tuple(FIELDS), form: str = "comma") -> str:
    """A text that names these fields of a scene: phrases ("comma") or one "sentence"."""
    for field in fields:
        if field not in FIELDS:
            raise BadInput(f"fields must be among {', '.join(FIELDS)}, got {field!r}")
    if not fields:
        raise BadInput("fields must name at least one field, got none")
    if form not in ("comma", "sentence"):
        raise BadInput(f"form must be comma or sentence, got {form!r}")
    some = frozenset(fields)
    if not some & {"object", "color", "position"}:
        return _empty_scene(scene, some, form)
    return _comma(scene, some) if form == "comma" else _sentence(scene, some)


def random_caption(scene: Scene, rng: random.Random) -> str:
    """A caption as a person might write it: 35% name every field, the others only some."""
    form = "comma" if rng.random() < 0.6 else "sentence"
    if rng.random() < 0.35:
        return caption(scene, form=form)
    others = [field for field in FIELDS if field != "object"]
    with_object = rng.random() < 0.85
    count = rng.randint(0 if with_object else 1, len(others))
    fields = rng.sample(others, count) + ["object"] * with_object
    return caption(scene, tuple(fields), form)


def _comma(scene: Scene, fields: frozenset[str]) -> str:
    """As in: a red house on the left, grass, foggy night with the moon."""
    subject = _join(_subject(scene, fields), _location(scene, fields))
    ground = scene.ground if "ground" in fields else ""
    hour, light = _hour(scene, fields), _light(scene, fields)
    if hour:
        return _list(subject, ground, _join(hour, light))
    return _list(subject, _join(ground, light)) if ground else _join(subject, light)


def _sentence(scene: Scene, fields: frozenset[str]) -> str:
    """As in: on a foggy night with the moon, a red house stands on the left, on the grass."""
    subject = _subject(scene, fields)
    ground = f"on the {scene.ground}" if "ground" in fields else ""
    location = _list(_location(scene, fields), ground)
    sky = _join(_when(scene, fields), _light(scene, fields))
    if sky and location:
        return f"{sky}, {subject} stands {location}"
    return _join(subject, location, sky)


def _empty_scene(scene: Scene, fields: frozenset[str], form: str) -> str:
    """Ground and sky without an object, as in: snow, sunset; snow at sunset."""
    ground = scene.ground if "ground" in fields else ""
    light = _light(scene, fields)
    if fields == {"light"}:
        return "a light in the sky" if light else "no light in the sky"
    if form == "sentence" and ground:
        return _join(ground, _when(scene, fields), light)
    hour = _hour(scene, fields)
    return _list(ground, _join(hour, light)) if hour else _join(ground, light)


def _subject(scene: Scene, fields: frozenset[str]) -> str:
    """As in: a red house; a house; something red."""
    color = scene.color if "color" in fields else ""
    if "object" not in fields:
        return _join("something", color)
    return _join("an" if color == "orange" else "a", color, scene.object)


def _location(scene: Scene, fields: frozenset[str]) -> str:
    """As in: on the left; in the center; or nothing."""
    if "position" not in fields:
        return ""
    return "in the center" if scene.position == "center" else f"on the {scene.position}"


def _hour(scene: Scene, fields: frozenset[str]) -> str:
    """As in: foggy night; night; foggy weather; or nothing."""
    weather = scene.weather if "weather" in fields else ""
    if "time" in fields:
        return _join(weather, scene.time)
    return _join(weather, "weather") if weather else ""


def _when(scene: Scene, fields: frozenset[str]) -> str:
    """The hour with its preposition: on a foggy night; at night; in foggy weather; or nothing."""
    hour = _hour(scene, fields)
    if "time" not in fields:
        return f"in {hour}" if hour else ""
    if "weather" not in fields:
        return "by day" if scene.time == "day" else f"at {scene.time}"
    return f"at a {hour}" if scene.time == "sunset" else f"on a {hour}"


def _light(scene: Scene, fields: frozenset[str]) -> str:
    """As in: with the moon; only a caption of every field says: with no moon."""
    if "light" not in fields:
        return ""
    disc = "moon" if scene.time == "night" else "sun"
    if scene.light == "none":
        return f"with no {disc}" if fields == set(FIELDS) else ""
    return f"with the {disc}" if "time" in fields else "with a light in the sky"


def _join(*words: str) -> str:
    """The words that are not empty, separated by blanks."""
    return " ".join(filter(None, words))


def _list(*phrases: str) -> str:
    """The phrases that are not empty, separated by commas."""
    return ", ".join(filter(None, phrases))
