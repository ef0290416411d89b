"""The sky of the village: hours, clouds, stars, sun and moon, and what falls from it."""

import math

import numpy as np

from mdp_lite.eval.landscape import Array, array, axis, blend, soft_dots
from mdp_lite.eval.shapes import Color
from mdp_lite.eval.village.casts import sun_place
from mdp_lite.eval.village.record import VillageScene

SKY: dict[str, tuple[Color, Color, Color]] = {  # top, middle, horizon
    "dawn": ((136, 158, 214), (232, 184, 200), (255, 224, 190)),
    "day": ((62, 134, 216), (136, 194, 240), (222, 240, 250)),
    "sunset": ((78, 66, 140), (222, 106, 110), (255, 190, 96)),
    "night": ((10, 14, 44), (26, 36, 88), (62, 76, 134)),
}
CLOUD: dict[str, tuple[Color, Color]] = {  # lit tops, shaded bases
    "dawn": ((255, 226, 216), (176, 158, 190)),
    "day": ((255, 255, 255), (170, 188, 210)),
    "sunset": ((255, 198, 150), (128, 84, 122)),
    "night": ((96, 106, 148), (34, 40, 74)),
}
DULL: dict[str, Color] = {  # the grey that the sky turns to
    "dawn": (178, 166, 178),
    "day": (158, 172, 188),
    "sunset": (140, 108, 122),
    "night": (30, 35, 58),
}
DULLNESS = {"clear": 0.0, "cloudy": 0.3, "foggy": 0.35, "rainy": 0.75, "snowy": 0.55}
DISCS: dict[str, tuple[Color, Color]] = {  # disc, glow
    "dawn": ((255, 238, 204), (255, 206, 164)),
    "day": ((255, 252, 224), (255, 246, 196)),
    "sunset": ((255, 236, 160), (255, 166, 70)),
    "night": ((246, 244, 226), (150, 168, 230)),
}
FOG: dict[str, Color] = {
    "dawn": (236, 216, 214),
    "day": (228, 234, 238),
    "sunset": (238, 190, 160),
    "night": (84, 94, 130),
}
DISC, GLOW = 0.062, 0.17  # radius of sun and moon; of their glow


def paint_sky(scene: VillageScene, size: int, line: float, rng: np.random.Generator) -> Array:
    """The sky above the horizon line, as the first (size, size, 3) canvas."""
    dull = DULLNESS[scene.weather]
    top, middle, low = (array(c) + dull * (array(DULL[scene.time]) - array(c))
                        for c in SKY[scene.time])  # fmt: skip
    depth = np.clip(axis(size) / line, 0, 1)[:, None]
    upper = top + np.clip(depth / 0.6, 0, 1) * (middle - top)
    column = upper + np.clip((depth - 0.55) / 0.45, 0, 1) ** 1.3 * (low - upper)
    canvas = np.repeat(column[:, None, :], size, axis=1).astype(np.float32)
    draws = rng.random((4, 10), np.float32)
    if scene.time == "night" and scene.weather == "clear":
        wide = 0.006 + 0.005 * draws[2]
        stars = soft_dots(size, draws[0], 0.04 + 0.36 * draws[1], wide, wide)
        blend(canvas, array((236, 238, 255)), np.minimum(stars, 1))
    if scene.light == "shown":
        paint_disc(canvas, scene, size)
    if scene.weather != "foggy":
        paint_clouds(canvas, scene, size, rng)
    return canvas


def disc_distance(scene: VillageScene, size: int) -> Array:
    """Distance (size, size) of every pixel from the middle of the sun or moon."""
    u, (x, y) = axis(size), sun_place(scene)
    return np.hypot(u[None, :] - x, u[:, None] - y)


def paint_disc(canvas: Array, scene: VillageScene, size: int) -> None:
    """The sun with its glow, or a moon with two seas; dimmer in bad weather."""
    far = disc_distance(scene, size)
    disc, glow = (array(c) for c in DISCS[scene.time])
    veil = 1 - 0.4 * DULLNESS[scene.weather]
    halo = np.clip(np.exp(-((far / (0.62 * GLOW)) ** 2)) - 0.02, 0, 1)
    blend(canvas, glow, 0.6 * veil * halo)
    inside = np.clip((DISC - far) * size + 0.5, 0, 1)
    blend(canvas, disc, veil * inside)
    if scene.time == "night":
        x, y = sun_place(scene)
        u = axis(size)
        sea = np.hypot(u[None, :] - x - 0.018, u[:, None] - y + 0.012) < 0.02
        sea |= np.hypot(u[None, :] - x + 0.02, u[:, None] - y - 0.02) < 0.015
        blend(canvas, array((206, 208, 206)), 0.6 * veil * inside * sea)


def paint_clouds(canvas: Array, scene: VillageScene, size: int, rng: np.random.Generator) -> None:
    """Banks of cloud with lit tops: two wisps in clear weather, else many."""
    count = 2 if scene.weather == "clear" else 6
    x, y, wide = rng.random((3, 6), np.float32)[:, :count]
    x = (np.arange(count) + 0.15 + 0.7 * x) / count
    y, wide = 0.09 + 0.24 * y, 0.07 + 0.05 * wide
    lit, base = (array(c) for c in CLOUD[scene.time])
    if scene.weather in ("rainy", "snowy"):
        lit, base = 0.62 * lit + 0.38 * array(DULL[scene.time]), 0.8 * base
    shape = cloud_cover(size, x, y, wide)
    above = cloud_cover(size, x + 0.004, y + 0.02, wide)
    tone = np.clip(1.25 - 0.8 * above, 0, 1)[..., None]
    if scene.light == "shown":  # clouds pass behind sun and moon, or nobody could see them
        shape = shape * (1 - 0.8 * np.exp(-((disc_distance(scene, size) / (1.2 * DISC)) ** 4)))
    blend(canvas, base + tone * (lit - base), 0.9 * shape)


def cloud_cover(size: int, x: Array, y: Array, wide: Array) -> Array:
    """Coverage (size, size) of clouds, each a long base and three puffs."""
    parts = ((0.0, 0.0, 1.0, 0.016), (-0.75, -0.016, 0.3, 0.02), (-0.1, -0.032, 0.36, 0.026),
             (0.6, -0.018, 0.3, 0.02))  # fmt: skip
    soft = soft_dots(
        size,
        np.concatenate([x + dx * wide for dx, _, _, _ in parts]),
        np.concatenate([y + dy for _, dy, _, _ in parts]),
        np.concatenate([share * wide for _, _, share, _ in parts]),
        np.concatenate([np.full_like(x, high) for _, _, _, high in parts]),
    )
    return np.clip(2.2 * soft - 0.6, 0, 1)


def paint_falling(canvas: Array, scene: VillageScene, size: int, rng: np.random.Generator) -> None:
    """Rain as slanted streaks, or flakes of snow; nothing in other weather."""
    u = axis(size)
    x, y, kind = rng.random((3, 22), np.float32)
    if scene.weather == "snowy":
        wide = 0.006 + 0.007 * kind
        flakes = soft_dots(size, x, y, wide, wide)
        blend(canvas, array((250, 252, 255)), 0.9 * np.clip(1.5 * flakes - 0.2, 0, 1))
    if scene.weather == "rainy":
        slant = u[None, :] + 0.3 * u[:, None]
        across = np.exp(-0.5 * ((slant[..., None] - 1.35 * x) / 0.0042) ** 2)
        along = np.exp(-0.5 * ((u[:, None] - y) / (0.05 + 0.03 * kind)) ** 2)
        streaks = (across * along[:, None, :]).sum(-1)
        blend(canvas, array((222, 232, 248)), 0.42 * np.clip(streaks, 0, 1))


def paint_fog(canvas: Array, scene: VillageScene, size: int, line: float) -> None:
    """Fog: thick at the horizon, thinner overhead and towards the viewer, in soft layers."""
    u = axis(size)[:, None]
    above = 0.2 + 0.34 * np.clip(u / (line - 0.06), 0, 1) ** 2
    below = 0.54 - 0.42 * np.clip((u - line) / (1 - line), 0, 1) ** 0.8
    wave = 0.07 * np.sin(2 * math.pi * (axis(size)[None, :] + scene.phase) + 18 * u)
    blend(canvas, array(FOG[scene.time]), np.clip(np.where(u < line, above, below) + wave, 0, 1))
