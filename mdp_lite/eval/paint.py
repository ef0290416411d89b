"""Painting a scene: the landscape, then objects, drawn at three times the size and reduced."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from mdp_lite.eval.landscape import (
    FOG,
    Array,
    array,
    axis,
    blend,
    paint_fog,
    paint_ground,
    paint_light,
    paint_ridges,
    paint_sky,
)
from mdp_lite.eval.scene import Scene
from mdp_lite.eval.shapes import COMPANION_SHAPES, OBJECTS, Color, Pen

SUPERSAMPLING = 3
BANDS = {"left": 0.22, "center": 0.5, "right": 0.78}
BASE = 0.86  # height at which the object stands, from the top
OBJECT_HEIGHT = 0.4  # a shape is at most as wide as it is high
COMPANION_HEIGHT, COMPANION_BASE = 0.16, 0.82
FOG_ON_OBJECT = 0.22

PAINTS: dict[str, Color] = {
    "red": (212, 44, 44),
    "blue": (44, 92, 210),
    "green": (40, 152, 80),
    "yellow": (244, 210, 52),
    "purple": (142, 66, 186),
    "orange": (242, 128, 30),
}
OBJECT_LIGHT: dict[str, Color] = {  # brighter than on the land: hues must survive the night
    "day": (1, 1, 1),
    "sunset": (1, 0.93, 0.86),
    "night": (0.78, 0.78, 0.9),
}


class Layer(NamedTuple):
    """A painted layer: rgb (size, size, 3) in 0..255 and its coverage (size, size) in 0..1."""

    rgb: Array
    alpha: Array


class Cast(NamedTuple):
    """All that one object adds to a picture: its body, and below it a shadow or reflection."""

    body: Layer
    below: Layer


def object_height(scene: Scene) -> float:
    """Height of the object as a fraction of the picture's."""
    return OBJECT_HEIGHT * (0.75 + 0.5 * scene.size)


def object_x(scene: Scene) -> float:
    """Middle of the object: in its band, and never cut by the edge of the picture."""
    half = object_height(scene) / 2
    wanted = BANDS[scene.position] + 0.1 * (scene.dx - 0.5)
    return min(max(wanted, half), 1 - half)


def companion_x(scene: Scene) -> float:
    """Middle of the companion: in one of the other two bands, without touching the object."""
    free = [band for name, band in BANDS.items() if name != scene.position]
    which, inside = divmod(min(scene.companion_x, 0.999) * 2, 1)
    wanted = free[int(which)] + 0.14 * (inside - 0.5)
    middle, half = object_x(scene), COMPANION_HEIGHT / 2
    gap = object_height(scene) / 2 + half + 0.02
    wanted = max(wanted, middle + gap) if wanted > middle else min(wanted, middle - gap)
    return min(max(wanted, half), 1 - half)


class Tile(NamedTuple):
    """A transparent part of the supersampled picture, large enough for one object."""

    image: Image.Image
    left: int  # picture pixels
    top: int

    def to_layer(self, size: int) -> Layer:
        """The drawing at the size of the picture; reduce() weights colours by their coverage."""
        pixels = np.asarray(self.image.reduce(SUPERSAMPLING), np.float32)
        whole = np.zeros((size, size, 4), np.float32)
        height, width = pixels.shape[:2]
        whole[self.top : self.top + height, self.left : self.left + width] = pixels
        return Layer(whole[..., :3], whole[..., 3] / 255)


def start_tile(x: float, base: float, height: float, size: int) -> Tile:
    """An empty tile around an object's middle x, base and height (fractions of the picture)."""
    left = max(math.floor((x - height / 2) * size), 0)
    right = min(math.ceil((x + height / 2) * size), size)
    top, bottom = math.floor((base - 1.25 * height) * size), math.ceil((base + 0.02) * size)
    full = (SUPERSAMPLING * (right - left), SUPERSAMPLING * (bottom - top))
    return Tile(Image.new("RGBA", full), left, top)


def make_pen(tile: Tile, scene: Scene, x: float, base: float, unit: float, size: int) -> Pen:
    """A pen that draws on the tile in the object's units."""
    full = size * SUPERSAMPLING
    left, top = SUPERSAMPLING * tile.left, SUPERSAMPLING * tile.top
    canvas = ImageDraw.Draw(tile.image)
    light = OBJECT_LIGHT[scene.time]
    return Pen(canvas, x * full - left, base * full - top, unit * full, scene.mirrored, light)


def object_cast(scene: Scene, size: int) -> Cast:
    """The object and its shadow or reflection."""
    x, height = object_x(scene), object_height(scene)
    tile = start_tile(x, BASE, height, size)
    pen = make_pen(tile, scene, x, BASE, height, size)
    OBJECTS[scene.object](pen, PAINTS[scene.color], scene.lamps)
    return stand_on_ground(scene, tile.to_layer(size), x, BASE, height / 2)


def companion_cast(scene: Scene, size: int) -> Cast:
    """The companion and its shadow or reflection; transparent if the scene has none."""
    if scene.companion == "none":
        nothing = Layer(np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32))
        return Cast(nothing, nothing)
    x = companion_x(scene)
    tile = start_tile(x, COMPANION_BASE, COMPANION_HEIGHT, size)
    pen = make_pen(tile, scene, x, COMPANION_BASE, COMPANION_HEIGHT, size)
    COMPANION_SHAPES[scene.companion](pen, scene.companion_tint)
    return stand_on_ground(scene, tile.to_layer(size), x, COMPANION_BASE, COMPANION_HEIGHT / 2)


def stand_on_ground(scene: Scene, body: Layer, x: float, base: float, half: float) -> Cast:
    """The body with its shadow (on land) or its reflection (on water)."""
    size = len(body.alpha)
    if scene.ground == "water":
        return Cast(body, reflection(body, base))
    dark = array((40, 44, 78)) * array(OBJECT_LIGHT[scene.time])
    return Cast(body, Layer(dark, shadow(scene, size, x, base, half)))


def shadow(scene: Scene, size: int, x: float, base: float, half: float) -> Array:
    """Coverage (size, size) of a soft shadow on the ground, leaning away from the sun."""
    u = axis(size)
    lean = 0.35 * half * (0.5 - scene.sun_x)
    across = ((u - x - lean) / (1.15 * half)) ** 2
    down = ((u - base) / (0.16 * half + 0.012)) ** 2
    return 0.42 * np.clip(1.6 * (1 - across[None, :] - down[:, None]), 0, 1)


def reflection(body: Layer, base: float) -> Layer:
    """The body upside down below its base; it fades with depth."""
    size = len(body.alpha)
    first = round(base * size)
    count = min(first, size - first)
    rgb, alpha = np.zeros_like(body.rgb), np.zeros_like(body.alpha)
    rgb[first : first + count] = body.rgb[first - count : first][::-1]
    fade = np.linspace(0.55, 0.3, count, dtype=np.float32)[:, None]
    alpha[first : first + count] = body.alpha[first - count : first][::-1] * fade
    return Layer(rgb, alpha)


def paint_cast(canvas: Array, scene: Scene, item: Cast) -> None:
    """Blend an object and its shadow or reflection into the canvas, with a little fog."""
    for layer in (item.below, item.body):
        rgb = layer.rgb
        if scene.weather == "foggy":
            rgb = rgb + FOG_ON_OBJECT * (array(FOG[scene.time]) - rgb)
        blend(canvas, rgb, layer.alpha)


def paint(scene: Scene, size: int) -> Array:
    """The whole picture, (size, size, 3) in 0..255."""
    canvas = paint_without_object(scene, size)
    paint_cast(canvas, scene, object_cast(scene, size))
    return canvas


def paint_without_object(scene: Scene, size: int) -> Array:
    """The picture without its object and the object's shadow or reflection."""
    rng = np.random.default_rng(scene.texture)
    canvas = paint_sky(scene, size, rng)
    paint_ridges(canvas, scene, size)
    paint_ground(canvas, scene, size, rng)
    if scene.weather == "foggy":
        paint_fog(canvas, scene, size)
    if scene.light == "shown":
        paint_light(canvas, scene, size)
    if scene.companion != "none":
        paint_cast(canvas, scene, companion_cast(scene, size))
    return canvas
