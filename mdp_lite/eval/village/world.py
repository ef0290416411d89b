"""The village's interface, as that of the first world: records, pictures, masks, captions."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mdp_lite.eval.landscape import Array
from mdp_lite.eval.village import casts, land, paint, sky, styles
from mdp_lite.eval.village.captions import caption, list_words, random_caption
from mdp_lite.eval.village.record import (
    FIELDS,
    VillageScene,
    change,
    is_held_back,
    sample,
    sample_training,
)
from mdp_lite.names import BadInput

__all__ = [
    "FIELDS", "GROUPS", "PICTURES", "SIZE", "WORDS", "VillageScene", "caption", "change", "draw",
    "draw_without_object", "is_held_back", "mask", "random_caption", "sample",
    "sample_training",
]  # fmt: skip

SIZE = 128  # pixels along a side
WORDS = list_words()
# Words of which one can stand where another does, by what people call them; others have no group.
# What describes comes after what it describes, and before it in a caption: "red striped house".
GROUPS: dict[str, tuple[str, ...]] = {
    "objects": FIELDS["object"], "materials": FIELDS["material"], "colours": FIELDS["color"],
    "positions": FIELDS["position"], "ground": FIELDS["ground"], "backdrop": FIELDS["backdrop"],
    "seasons": FIELDS["season"], "time of day": FIELDS["time"], "weather": FIELDS["weather"],
    "styles": FIELDS["style"], "lights": ("sun", "moon"),
}  # fmt: skip
PICTURES = "synthetic villages"  # what pictures of this world are called
EVERYWHERE = ("season", "time", "weather", "style")


def draw(scene: VillageScene, size: int = SIZE) -> Image.Image:
    """The scene as an RGB picture of size x size pixels."""
    return _picture(paint.paint(scene, size))


def draw_without_object(scene: VillageScene, size: int = SIZE) -> Image.Image:
    """The scene without its named things, as an RGB picture of size x size pixels."""
    return _picture(paint.paint(scene, size, group=False))


def _picture(canvas: Array) -> Image.Image:
    return Image.fromarray(np.clip(canvas + 0.5, 0, 255).astype(np.uint8))


def mask(scene: VillageScene, field: str, size: int = SIZE) -> NDArray[np.bool_]:
    """The pixels (size, size) that a field may change. Raises BadInput for unknown fields."""
    if field not in FIELDS:
        raise BadInput(f"field must be one of {', '.join(FIELDS)}, got {field!r}")
    if field in EVERYWHERE:
        return np.ones((size, size), np.bool_)
    return _widen(scene, _exact_mask(scene, field, size))


def _exact_mask(scene: VillageScene, field: str, size: int) -> NDArray[np.bool_]:
    """The pixels that a field may change before the picture's style spreads them."""
    if field in ("object", "color", "material"):
        return _visible(scene, scene.object, casts.cast_group(scene, size), size)
    if field in ("count", "position"):
        return _all_places(scene, field, size)
    if field in ("friend", "friend_color"):
        return _visible(scene, scene.friend, casts.cast_friend(scene, size), size)
    if field == "light":
        return _with_mirror(scene, sky.disc_distance(scene, size) < sky.DISC + sky.GLOW)
    if field == "backdrop":
        return _with_mirror(scene, _backdrop_band(scene, size))
    return np.repeat(land.ground_alpha(scene, size) > 0, size, axis=1)


def _visible(
    scene: VillageScene, thing: str, things: Iterator[casts.VillageCast], size: int
) -> NDArray[np.bool_]:
    """The pixels that things, their shadows, reflections or lamps change by more than a little."""
    covers = [np.zeros((size, size), np.float32)]
    for cast in things:
        covers += [
            cast.alpha,
            paint.shadow_of(scene, cast, thing),
            3 * casts.halo_light(cast, size),
        ]
        if scene.ground == "lake":
            covers.append(paint.reflection(cast)[1])
            if thing not in paint.FLOATING:
                covers.append(paint.island(cast, 1.0))
    return np.maximum.reduce(covers) > 0.05


def _all_places(scene: VillageScene, field: str, size: int) -> NDArray[np.bool_]:
    """The pixels of the things at each position, or in each number; the friend moves too."""
    masks = []
    for value in FIELDS[field]:
        one = change(scene, field, value)
        masks.append(_visible(one, one.object, casts.cast_group(one, size), size))
        if field == "position":
            masks.append(_visible(one, one.friend, casts.cast_friend(one, size), size))
    return np.logical_or.reduce(masks)


def _backdrop_band(scene: VillageScene, size: int) -> NDArray[np.bool_]:
    """The rows from the highest backdrop to the horizon."""
    rows, line = (np.arange(size) + 0.5) / size, land.horizon(scene)
    band = (rows > line - 1.2 * land.RISE) & (rows < line + 1 / size)
    return np.repeat(band[:, None], size, axis=1)


def _with_mirror(scene: VillageScene, pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels and, where there is a lake, all of the water: it mirrors them with ripples."""
    if scene.ground != "lake":
        return pixels
    return pixels | (land.ground_alpha(scene, len(pixels)) > 0)


def _widen(scene: VillageScene, pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels and those to which the style spreads their colours."""
    if scene.style == "photo":
        return pixels
    reach = math.ceil(styles.REACH * len(pixels))
    wide = np.pad(pixels, reach)
    for axis in (0, 1):
        wide = np.logical_or.reduce([np.roll(wide, k, axis) for k in range(-reach, reach + 1)])
    return wide[reach:-reach, reach:-reach]
