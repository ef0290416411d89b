"""The grounds of the village, and the branch in a corner that shows the season."""

import math

import numpy as np

from mdp_lite.eval.landscape import Array, array, axis, blend, soft_dots
from mdp_lite.eval.village.land import (
    AMBIENT,
    GRASS,
    LEAVES,
    SOIL,
    depth_of,
    ground_alpha,
    horizon,
    low_sky,
)
from mdp_lite.eval.village.record import VillageScene

SAND = {"spring": (240, 220, 174), "summer": (246, 220, 160), "autumn": (226, 194, 146),
        "winter": (226, 224, 222)}  # fmt: skip
DOTS = {"spring": (250, 170, 206), "summer": (250, 226, 96), "autumn": (222, 96, 40),
        "winter": (255, 255, 255)}  # fmt: skip
FADED = 0.34  # share of the sky's colour in the farthest ground


def paint_ground(canvas: Array, scene: VillageScene, rng: np.random.Generator) -> None:
    """Paint the ground from the horizon down, in the light of the hour."""
    GROUNDS[scene.ground](canvas, scene, rng)


def _cover(canvas: Array, scene: VillageScene, color: Array) -> None:
    """Blend a ground (size, size, 3) in: lit, and fading to the sky with distance."""
    size = len(canvas)
    lit = color * array(AMBIENT[scene.time])
    far = (FADED * (1 - depth_of(scene, size)) ** 3)[..., None]
    blend(canvas, lit + far * (low_sky(scene) - lit), ground_alpha(scene, size))


def _base(scene: VillageScene, size: int, far: Array, near: Array) -> Array:
    """A colour that runs from far to near, (size, size, 3)."""
    depth = np.sqrt(depth_of(scene, size))[..., None]
    return np.repeat(far + depth * (near - far), size, axis=1)


def _swells(scene: VillageScene, size: int, across: float, rows: float) -> Array:
    """Soft waves of the land, in perspective; (size, size) in -1..1."""
    u, depth = axis(size)[None, :], np.sqrt(depth_of(scene, size))
    p = 2 * math.pi * scene.phase
    bend = np.sin(2 * math.pi * across * u + p) + 0.5 * np.sin(11 * u - p)
    return np.sin(2 * math.pi * rows * depth + 0.9 * bend)


def _scatter(canvas: Array, scene: VillageScene, rng: np.random.Generator, count: int) -> None:
    """Flowers, leaves or snow on the ground, larger towards the viewer."""
    size, line = len(canvas), horizon(scene)
    x, y = rng.random((2, count), np.float32)
    y = y**0.7
    wide = (0.004 + 0.008 * y).astype(np.float32)
    dots = soft_dots(size, x, line + 0.03 + (0.96 - line) * y, wide, 0.7 * wide)
    color = array(DOTS[scene.season]) * array(AMBIENT[scene.time])
    blend(canvas, color, 0.85 * np.clip(1.6 * dots - 0.2, 0, 1))


def paint_meadow(canvas: Array, scene: VillageScene, rng: np.random.Generator) -> None:
    """Grass in swells, with flowers, leaves or snow on it."""
    size = len(canvas)
    far, near = (array(c) for c in GRASS[scene.season])
    color = _base(scene, size, far, near)
    tone = 1 + 0.06 * _swells(scene, size, 1.1, 3.2)
    tone = tone + 0.025 * _swells(scene, size, 5.0, 9.0)
    _cover(canvas, scene, color * tone[..., None])
    _scatter(canvas, scene, rng, 26)


def paint_sand(canvas: Array, scene: VillageScene, rng: np.random.Generator) -> None:
    """Dunes with fine ripples; shells lie on it, and snow in winter."""
    size = len(canvas)
    near = array(SAND[scene.season])
    color = _base(scene, size, near * 0.93 + 14, near)
    dunes = _swells(scene, size, 0.8, 2.2)
    ripples = _swells(scene, size, 1.6, 13.0) * (0.4 + 0.6 * depth_of(scene, size))
    tone = 1 + 0.075 * dunes + 0.035 * ripples
    _cover(canvas, scene, color * tone[..., None])
    _scatter(canvas, scene, rng, 8)


def paint_lake(canvas: Array, scene: VillageScene, rng: np.random.Generator) -> None:
    """Water that mirrors what is above the horizon, with ripples; ice in winter."""
    size, line = len(canvas), horizon(scene)
    first, depth = round(line * size), depth_of(scene, size)
    rows = np.arange(size)
    wave = np.sin(2 * math.pi * 14 * np.sqrt(depth[:, 0]) + 6.28 * scene.phase)
    calm = 0.25 if scene.season == "winter" else 1.0
    mirror = 2 * first - 1 - rows + np.round(calm * 2.4 * depth[:, 0] * wave).astype(int)
    picture = canvas[np.clip(mirror, 0, first - 1)]
    tint = {"winter": (196, 220, 238), "autumn": (70, 104, 116)}.get(scene.season, (44, 116, 150))
    share = (0.3 + 0.42 * depth)[..., None] if scene.season != "winter" else 0.62
    water = picture + share * (array(tint) * array(AMBIENT[scene.time]) - picture)
    water = water * (1 + 0.06 * calm * _swells(scene, size, 0.7, 12.0) * (0.3 + depth))[..., None]
    blend(canvas, water, ground_alpha(scene, size))
    if scene.season != "winter":
        _scatter(canvas, scene, rng, 7)


def paint_street(canvas: Array, scene: VillageScene, rng: np.random.Generator) -> None:
    """A paved street across, with a kerb and a dashed line, grass behind it."""
    size, u = len(canvas), axis(len(canvas))
    far, near = (array(c) for c in GRASS[scene.season])
    color = _base(scene, size, far, near)
    color = color * (1 + 0.05 * _swells(scene, size, 1.1, 3.2))[..., None]
    depth = depth_of(scene, size)
    asphalt = np.broadcast_to(array((112, 112, 122)), color.shape) * (0.86 + 0.2 * depth)[..., None]
    for start, paint, width in ((0.36, (206, 202, 196), 0.05), (0.41, None, 1.0)):
        inside = np.clip((depth - start) * 0.44 * size, 0, 1)
        inside = inside * np.clip((start + width - depth) * 0.44 * size + 1, 0, 1)
        tone = asphalt if paint is None else np.broadcast_to(array(paint), color.shape)
        color = color + inside[..., None] * (tone - color)
    dash = (np.sin(2 * math.pi * (3.2 * u + scene.phase)) > -0.2)[None, :]
    stripe = np.exp(-(((depth - 0.93) / 0.022) ** 4)) * dash
    color = color + 0.85 * stripe[..., None] * (array((246, 240, 222)) - color)
    _cover(canvas, scene, color)
    _scatter(canvas, scene, rng, 8)


def paint_field(canvas: Array, scene: VillageScene, rng: np.random.Generator) -> None:
    """A ploughed field whose rows run to a point at the horizon, with crops between."""
    size, u = len(canvas), axis(len(canvas))
    far, near = (array(c) for c in GRASS[scene.season])
    crop = _base(scene, size, far * 0.94, near * 0.98)
    depth = depth_of(scene, size)
    across = (u[None, :] - 0.5 - 0.3 * (scene.phase - 0.5)) / (0.07 + 0.93 * depth)
    wave = 0.5 + 0.5 * np.sin(2 * math.pi * 4.5 * across)
    fade = np.clip(depth / 0.3, 0, 1)
    furrow = (np.clip(1.8 * wave - 0.75, 0, 1) * fade)[..., None]
    color = crop + 0.9 * furrow * (array(SOIL) * (0.9 + 0.3 * depth)[..., None] - crop)
    _cover(canvas, scene, color)
    _scatter(canvas, scene, rng, 8)


def paint_branch(canvas: Array, scene: VillageScene) -> None:
    """A branch in an upper corner: blossoms, leaves, autumn leaves, or bare with snow."""
    size, u = len(canvas), axis(len(canvas))
    light = 0.25 + 0.75 * array(AMBIENT[scene.time])
    across = u if scene.branch_left else 1 - u
    x, y = across[None, :], u[:, None]
    bough = 0.015 + 0.13 * x + 0.06 * np.sin(8 * x)
    thick = 0.014 * np.clip(1 - x / 0.36, 0, 1)
    wood = np.clip((thick - np.abs(y - bough)) * size + 0.3, 0, 1) * (x < 0.36)
    blend(canvas, array((86, 62, 54)) * light, wood)
    if scene.season == "winter":
        snow = np.clip((thick * 0.9 + 0.004 - np.abs(y - bough + 0.012)) * size + 0.3, 0, 1)
        blend(canvas, array((250, 252, 255)) * light, snow * (x < 0.34))
        return
    color = array((252, 180, 212) if scene.season == "spring" else LEAVES[scene.season])
    for part, tone in enumerate((0.74, 0.95, 1.16)):
        dots = _leaves(size, part, scene.branch_left)
        tint = np.clip(color * tone, 0, 255) * light
        blend(canvas, tint, 0.95 * np.clip(3 * dots - 1, 0, 1))


def _leaves(size: int, part: int, left: bool) -> Array:
    """Soft dots along the branch, denser towards the corner; part 0 to 2 chooses a third."""
    i = np.arange(part, 51, 3)
    x = 0.4 * ((i * 0.618) % 1) ** 1.3
    spread = 0.05 * (1 - x / 0.5) * np.sin(5.3 * i + 1) - 0.008 * part
    y = 0.015 + 0.13 * x + 0.06 * np.sin(8 * x) + spread
    wide = 0.0095 + 0.003 * np.sin(1.7 * i)
    across = x if left else 1 - x
    return soft_dots(size, *(v.astype(np.float32) for v in (across, y, wide, 0.8 * wide)))


GROUNDS = {
    "meadow": paint_meadow,
    "sand": paint_sand,
    "lake": paint_lake,
    "street": paint_street,
    "field": paint_field,
}
