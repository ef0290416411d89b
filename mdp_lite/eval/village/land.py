"""The land of the village: five backdrops, five grounds, four seasons."""

import math

import numpy as np

from mdp_lite.eval.landscape import Array, array, axis, blend
from mdp_lite.eval.shapes import Color
from mdp_lite.eval.village.record import VillageScene
from mdp_lite.eval.village.sky import DULL, DULLNESS, SKY

AMBIENT: dict[str, Color] = {
    "dawn": (1.0, 0.9, 0.9),
    "day": (1, 1, 1),
    "sunset": (0.98, 0.8, 0.7),
    "night": (0.4, 0.45, 0.68),
}
LEAVES: dict[str, Color] = {  # woods and hills by season
    "spring": (136, 190, 92),
    "summer": (56, 124, 66),
    "autumn": (208, 122, 48),
    "winter": (206, 216, 230),
}
GRASS: dict[str, tuple[Color, Color]] = {  # far, near
    "spring": ((174, 214, 112), (112, 180, 70)),
    "summer": ((128, 172, 76), (66, 132, 54)),
    "autumn": ((208, 176, 92), (168, 120, 56)),
    "winter": ((222, 230, 242), (244, 248, 254)),
}
SOIL: Color = (134, 96, 66)
RISE = 0.2  # highest backdrop above the horizon


def horizon(scene: VillageScene) -> float:
    """Height of the horizon, from the top."""
    return 0.55 + 0.06 * scene.horizon


def low_sky(scene: VillageScene) -> Array:
    """The colour of the sky at the horizon, to which far things fade."""
    low = array(SKY[scene.time][2])
    return low + DULLNESS[scene.weather] * (array(DULL[scene.time]) - low)


def below(size: int, top: Array) -> Array:
    """Coverage (size, size) of all below a line; top (4 size,) has its height at each quarter."""
    far = (axis(size)[:, None] - top[None, :]) * size + 0.5
    return np.clip(far, 0, 1).reshape(size, size, 4).mean(axis=-1)


def quarters(size: int) -> Array:
    """Places across (4 size,) of quarter columns."""
    return ((np.arange(4 * size) + 0.5) / (4 * size)).astype(np.float32)


def paint_backdrop(canvas: Array, scene: VillageScene, size: int) -> None:
    """What stands at the horizon; haze and the hour tint it."""
    BACKDROPS[scene.backdrop](canvas, scene, size)


def _layer(canvas: Array, scene: VillageScene, top: Array, color: Array, haze: float) -> None:
    """One ridge: hazier at its foot."""
    size, line = len(canvas), horizon(scene)
    tint = color * array(AMBIENT[scene.time])
    foot = haze + 0.35 * np.clip(1 - (line - axis(size)) / 0.16, 0, 1)[:, None, None]
    if tint.ndim == 1:
        tint = tint[None, None, :]
    blend(canvas, tint + foot * (low_sky(scene) - tint), below(size, top))


def paint_mountains(canvas: Array, scene: VillageScene, size: int) -> None:
    """Peaks with snow on them and a light and a dark flank, before them a wooded ridge."""
    q, line, p = quarters(size), horizon(scene), 6.28 * scene.phase
    saw = np.abs(((2.3 * q + scene.phase) % 1) - 0.5) * 2
    rough = 0.12 * np.sin(23 * q + p) + 0.06 * np.sin(51 * q + 2 * p)
    peaks = saw * (0.75 + 0.25 * np.sin(5.1 * q + 2 * p)) + 0.3 * rough
    rise = RISE * (0.7 + 0.3 * scene.ridge)
    top = line - rise * np.clip(0.12 + 0.88 * peaks, 0.05, 1)
    u = axis(size)[:, None]
    column = top.reshape(size, 4).mean(1)[None, :]
    dark = (((2.3 * axis(size) + scene.phase) % 1) > 0.5)[None, :]
    rock = np.where(dark[..., None], array((104, 116, 152)), array((146, 156, 184)))
    depth = {"winter": 0.12, "spring": 0.06, "summer": 0.03, "autumn": 0.05}[scene.season]
    edge = depth + 0.015 * np.sin(40 * axis(size) + p)[None, :]
    snow = np.clip((edge - (u - column)) * 60, 0, 1) * (column < line - 0.4 * rise)
    rock = rock + 0.9 * snow[..., None] * (array((248, 250, 255)) - rock)
    _layer(canvas, scene, top, rock.astype(np.float32), 0.18)
    hills = line - 0.02 - 0.03 * (1 + np.sin(7 * q + p)) * 0.9
    _layer(canvas, scene, hills, array(LEAVES[scene.season]) * 0.8, 0.2)


def paint_hills(canvas: Array, scene: VillageScene, size: int) -> None:
    """Three rows of round hills, the nearer the richer, with a hedge on the last."""
    q, line, p = quarters(size), horizon(scene), 6.28 * scene.phase
    rise = RISE * (0.55 + 0.35 * scene.ridge)
    color = array(LEAVES[scene.season])
    for i, (wave, tone) in enumerate(((4.3, 0.72), (6.1, 0.86), (8.7, 1.0))):
        height = rise * (0.9 - 0.3 * i) * (0.62 + 0.38 * np.sin(wave * q + p * (i + 1)))
        _layer(canvas, scene, line - height, color * tone, 0.42 - 0.16 * i)
    bushes = 0.012 * np.abs(np.sin(28 * q + p))
    _layer(canvas, scene, line - 0.008 - bushes, color * 0.66, 0.05)


def paint_forest(canvas: Array, scene: VillageScene, size: int) -> None:
    """Two rows of firs and round crowns."""
    q, line = quarters(size), horizon(scene)
    color = array(LEAVES[scene.season])
    for row, (count, tone, haze) in enumerate(((13, 0.82, 0.34), (10, 0.7, 0.06))):
        place = q * count + scene.phase * (3 + row)
        trunk = np.floor(place)
        size_of = 0.72 + 0.28 * np.sin(12.9 * trunk + 3 * row)
        across = np.abs(place - trunk - 0.5) * 2
        fir = (1 - across) * (0.9 + 0.1 * np.sin(24 * across))
        crown = np.sqrt(np.clip(1 - across**2, 0, 1)) * 0.8
        round_one = np.sin(7.7 * trunk + row) > 0.2
        rise = RISE * (0.55 + 0.3 * scene.ridge) * (1 - 0.3 * row)
        height = rise * size_of * (0.3 + 0.7 * np.where(round_one, crown, fir))
        _layer(canvas, scene, line - height, color * tone, haze)


def paint_city(canvas: Array, scene: VillageScene, size: int) -> None:
    """Two rows of towers; their windows are lit at night."""
    q, line = quarters(size), horizon(scene)
    for row, (count, tone, haze) in enumerate(
        ((14, (128, 136, 164), 0.4), (10, (96, 100, 130), 0.1))
    ):
        place = q * count + scene.phase * (5 + row)
        block = np.floor(place)
        across = np.abs(place - block - 0.5) * 2
        height = 0.4 + 0.6 * np.abs(np.sin(12.9 * block + 2.1 * row))
        spire = (np.sin(5.3 * block) > 0.5) & (across < 0.16)
        gap = across > 0.93
        rise = RISE * (0.7 + 0.25 * scene.ridge) * (1 - 0.25 * row)
        top = line - rise * np.where(gap, 0.3, height + 0.16 * spire)
        color = array(tone)
        if scene.season == "winter":
            color = color * 0.8 + 44
        _layer(canvas, scene, top, color, haze)
        if row:
            _city_windows(canvas, scene, size, top, place)


def _city_windows(canvas: Array, scene: VillageScene, size: int, top: Array, place: Array) -> None:
    """Rows of windows in the nearer towers."""
    u, line = axis(size)[:, None], horizon(scene)
    column = place.reshape(size, 4).mean(1)[None, :]
    inside = (below(size, top + 0.018) > 0.5) & (u < line - 0.015)
    rows = np.sin(2 * math.pi * u / 0.034) > 0.1
    columns = np.abs(np.sin(3 * math.pi * column)) > 0.55
    lit = np.sin(17.3 * np.floor(3 * column) + 9.1 * np.floor(u / 0.034)) > -0.2
    color = (255, 222, 130) if scene.time == "night" else (206, 218, 236)
    strength = 0.85 if scene.time == "night" else 0.3
    blend(canvas, array(color), strength * (inside & rows & columns & lit))


def paint_sea(canvas: Array, scene: VillageScene, size: int) -> None:
    """A strip of sea to the horizon, with an island."""
    q, line, p = quarters(size), horizon(scene), 6.28 * scene.phase
    far = line - 0.13
    deep, shallow = array((56, 118, 170)), array((120, 186, 204))
    if scene.season == "winter":
        deep, shallow = array((110, 140, 168)), array((190, 210, 222))
    share = np.clip((axis(size) - far) / 0.13, 0, 1)[:, None, None]
    water = (deep + share * (shallow - deep)) * array(AMBIENT[scene.time])
    water = water + (0.5 - 0.3 * share) * (low_sky(scene) - water)
    middle = 0.2 + 0.6 * scene.phase
    island = 0.07 * (0.6 + 0.5 * scene.ridge) * np.exp(-(((q - middle) / 0.12) ** 2))
    _layer(canvas, scene, far + 0.004 - island * (1 + 0.15 * np.sin(30 * q)),
           array(LEAVES[scene.season]) * 0.75, 0.3)  # fmt: skip
    u = axis(size)
    waves = np.sin(260 * np.maximum(u[:, None] - far, 0) ** 0.8 + 0.8 * np.sin(9 * u[None, :] + p))
    tone = 1 + 0.07 * waves[..., None]
    blend(canvas, water * tone, below(size, np.full_like(q, far)))


BACKDROPS = {
    "mountains": paint_mountains,
    "hills": paint_hills,
    "forest": paint_forest,
    "city": paint_city,
    "sea": paint_sea,
}


def ground_alpha(scene: VillageScene, size: int) -> Array:
    """Coverage (size, 1) of the ground, antialiased at the horizon."""
    return np.clip((axis(size)[:, None] - horizon(scene)) * size + 0.5, 0, 1)


def depth_of(scene: VillageScene, size: int) -> Array:
    """0 at the horizon, 1 at the lower edge; (size, 1)."""
    line = horizon(scene)
    return np.clip((axis(size) - line) / (1 - line), 0, 1)[:, None]
