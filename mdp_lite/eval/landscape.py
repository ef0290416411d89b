"""Sky, mountains, ground, fog and light: smooth numpy layers at the size of the picture."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mdp_lite.eval.scene import Scene
from mdp_lite.eval.shapes import Color

Array = NDArray[np.floating]

DISC, GLOW = 0.055, 0.12  # radius of sun and moon; width of their glow

AMBIENT: dict[str, Color] = {  # light on the land
    "day": (1, 1, 1),
    "sunset": (1, 0.89, 0.85),
    "night": (0.57, 0.59, 0.72),
}
SKY: dict[str, tuple[Color, Color]] = {  # top, horizon
    "day": ((84, 152, 220), (208, 232, 246)),
    "sunset": ((104, 90, 160), (254, 178, 108)),
    "night": ((14, 20, 56), (60, 76, 126)),
}
CLOUD: dict[str, tuple[Color, Color]] = {  # the cloud, the grey its sky turns to
    "day": ((250, 250, 250), (150, 162, 176)),
    "sunset": ((252, 190, 160), (140, 116, 130)),
    "night": ((98, 106, 134), (38, 42, 58)),
}
FOG: dict[str, Color] = {"day": (226, 230, 232), "sunset": (230, 202, 190), "night": (92, 100, 124)}
RIDGES: dict[str, tuple[Color, Color]] = {  # far, near
    "day": ((142, 166, 198), (96, 128, 138)),
    "sunset": ((160, 112, 144), (104, 72, 108)),
    "night": ((42, 54, 94), (26, 34, 64)),
}
GROUND: dict[str, tuple[Color, Color]] = {  # far, near
    "grass": ((164, 186, 104), (98, 140, 62)),
    "snow": ((224, 232, 242), (246, 248, 252)),
    "sand": ((232, 212, 168), (216, 178, 120)),
    "water": ((138, 188, 208), (46, 108, 152)),
}
STROKES: dict[str, tuple[float, float, float]] = {  # cycles across, cycles in depth, contrast
    "grass": (3.0, 4.0, 9.0),
    "snow": (1.0, 2.0, 7.0),
    "sand": (0.8, 5.0, 9.0),
    "water": (0.7, 8.0, 13.0),
}
DISCS: dict[str, Color] = {
    "day": (255, 246, 190),
    "sunset": (255, 226, 130),
    "night": (244, 244, 226),
}


@lru_cache(maxsize=8)
def axis(size: int) -> Array:
    """Pixel centres (size,) as fractions of the picture, for rows and for columns."""
    centres = ((np.arange(size) + 0.5) / size).astype(np.float32)
    centres.setflags(write=False)
    return centres


def array(color: Color) -> Array:
    """A colour as a (3,) array."""
    return np.array(color, np.float32)


def blend(canvas: Array, color: Array, alpha: Array) -> None:
    """canvas += alpha (color - canvas), in place; alpha (size, size) or (size, 1)."""
    rows = np.flatnonzero(alpha.max(axis=1))
    if rows.size:
        here = slice(rows[0], rows[-1] + 1)  # most layers cover only some rows
        part = canvas[here]
        part += alpha[here, :, None] * (np.broadcast_to(color, canvas.shape)[here] - part)


def horizon(scene: Scene) -> float:
    """Height of the horizon, from the top."""
    return 0.5 + 0.1 * scene.horizon


def disc_distance(scene: Scene, size: int) -> Array:
    """Distance (size, size) of every pixel from the middle of the sun or moon."""
    u = axis(size)
    x, y = 0.1 + 0.8 * scene.sun_x, 0.1 + 0.09 * scene.sun_y
    return np.sqrt((u[None, :] - x) ** 2 + (u[:, None] - y) ** 2)


def soft_dots(size: int, x: Array, y: Array, wide: Array, high: Array) -> Array:
    """Sum (size, size) of n soft ellipses, each the product of two Gaussians."""
    u = axis(size)
    across = np.exp(-0.5 * ((u[None, :] - x[:, None]) / wide[:, None]) ** 2)
    down = np.exp(-0.5 * ((u[None, :] - y[:, None]) / high[:, None]) ** 2)
    return down.T @ across


def paint_sky(scene: Scene, size: int, rng: np.random.Generator) -> Array:
    """The sky with its stars or clouds, as the first (size, size, 3) canvas."""
    top, low = (array(c) for c in SKY[scene.time])
    cloud, grey = (array(c) for c in CLOUD[scene.time])
    draws = rng.random((4, 12), np.float32)
    if scene.weather == "cloudy":
        top, low = top + 0.75 * (grey - top), low + 0.5 * (grey - low)
    depth = np.minimum(axis(size) / horizon(scene), 1)[:, None]
    column = top + depth * (low - top)
    canvas = np.repeat(column[:, None, :], size, axis=1)
    if scene.weather == "cloudy":
        blend(canvas, cloud, cloud_cover(size, draws))
    if scene.weather == "clear" and scene.time == "night":
        width = np.full(9, 0.011, np.float32)
        stars = soft_dots(size, draws[0, :9], 0.03 + 0.27 * draws[1, :9], width, width)
        blend(canvas, array((226, 230, 250)), np.minimum(0.8 * stars, 1))
    return canvas


def cloud_cover(size: int, draws: Array) -> Array:
    """Coverage (size, size) of four clouds, each a long base and two puffs; draws (4, 12)."""
    x = np.array([0.12, 0.38, 0.64, 0.9], np.float32) + 0.16 * (draws[0, :4] - 0.5)
    y = 0.07 + 0.22 * draws[1, :4]
    wide = 0.075 + 0.03 * draws[2, :4]
    shift = 0.05 * (draws[3, :4] - 0.5)
    soft = soft_dots(
        size,
        np.concatenate([x, x - 0.04 + shift, x + 0.05 + shift]),
        np.concatenate([y, y - 0.025, y - 0.015]),
        np.concatenate([wide, 0.45 * wide, 0.4 * wide]),
        np.repeat(np.array([0.018, 0.022, 0.02], np.float32), 4),
    )
    return np.clip(1.9 * soft - 0.35, 0, 0.92)


def paint_light(canvas: Array, scene: Scene, size: int) -> None:
    """The sun or moon: a glow and a disc, dimmer in cloud and fog but always visible."""
    far = disc_distance(scene, size)
    color = array(DISCS[scene.time])
    veil = {"clear": 1.0, "cloudy": 0.85, "foggy": 0.75}[scene.weather]
    glow = (0.28 if scene.time == "night" else 0.45) * veil
    blend(canvas, color, glow * np.clip(np.exp(-((far / (0.7 * GLOW)) ** 2)) - 0.02, 0, 1))
    blend(canvas, color, veil * np.clip((DISC - far) * size + 0.5, 0, 1))


def paint_ridges(canvas: Array, scene: Scene, size: int) -> None:
    """Two ridges of mountains, paler with distance and nearly gone in fog."""
    u, line = axis(size), horizon(scene)
    phase = 2 * math.pi * scene.ridge_phase
    far, near = (array(c) for c in RIDGES[scene.time])
    wave = np.abs(((2.1 * u + scene.ridge_phase) % 1) - 0.5) * 2
    peaks = 0.6 * wave + 0.4 * np.abs(((3.7 * u + 2.3 * scene.ridge_phase) % 1) - 0.5) * 2
    hills = 0.5 + 0.32 * np.sin(7.3 * u + phase) + 0.18 * np.sin(13.1 * u + 2 * phase)
    far_top = line - (0.05 + (0.1 + 0.1 * scene.ridge_far) * peaks)
    near_top = line - (0.02 + (0.04 + 0.07 * scene.ridge_near) * hills)
    low = array(SKY[scene.time][1])
    for top, color in ((far_top, far), (near_top, near)):
        below = np.clip((u[:, None] - top[None, :]) * size + 0.5, 0, 1)
        haze = 0.35 * np.clip(1 - (line - u[:, None]) / 0.2, 0, 1)[..., None]
        blend(canvas, color + haze * (low - color), below)


def ground_alpha(scene: Scene, size: int) -> Array:
    """Coverage (size, 1) of the ground, antialiased at the horizon."""
    return np.clip((axis(size)[:, None] - horizon(scene)) * size + 0.5, 0, 1)


def paint_ground(canvas: Array, scene: Scene, size: int, rng: np.random.Generator) -> None:
    """The ground, from its far colour to its near one, under broad soft strokes."""
    u, light = axis(size), array(AMBIENT[scene.time])
    far, near = (array(c) * light for c in GROUND[scene.ground])
    if scene.ground == "water":
        far = far + 0.55 * (array(SKY[scene.time][1]) - far)
    depth = np.clip((u - horizon(scene)) / (1 - horizon(scene)), 0, 1)[:, None]
    color = (far + np.sqrt(depth) * (near - far))[:, None, :]
    across, down, contrast = STROKES[scene.ground]
    p = 2 * math.pi * rng.random(4, np.float32)
    bend = 0.9 * np.sin(2 * math.pi * across * u + p[0]) + 0.6 * np.sin(9.0 * u + p[1])
    rows = 2 * math.pi * down * np.sqrt(depth)
    strokes = np.sin(rows + bend[None, :] + p[2]) * np.sin(0.6 * rows - 1.7 * bend[None, :] + p[3])
    shade = 1 + (contrast / 100) * strokes * (0.3 + 0.7 * depth)
    blend(canvas, color * shade[..., None], ground_alpha(scene, size))


def paint_fog(canvas: Array, scene: Scene, size: int) -> None:
    """Fog: thick at the horizon, thinner overhead and towards the viewer."""
    u, line = axis(size)[:, None], horizon(scene)
    above = 0.62 + 0.28 * np.clip(u / (line - 0.14), 0, 1)
    below = 0.86 - 0.74 * np.clip((u - line) / (1 - line), 0, 1)
    blend(canvas, array(FOG[scene.time]), np.where(u < line, above, below))
