"""Painting a scene of the village: the landscape, things from far to near, weather, style."""

import numpy as np

from mdp_lite.eval.landscape import Array, array, axis, blend
from mdp_lite.eval.village.casts import (
    VillageCast,
    cast_friend,
    cast_group,
    halo_light,
    shadow,
)
from mdp_lite.eval.village.grounds import paint_branch, paint_ground
from mdp_lite.eval.village.land import AMBIENT, GRASS, horizon, paint_backdrop
from mdp_lite.eval.village.record import VillageScene
from mdp_lite.eval.village.sky import FOG, paint_falling, paint_fog, paint_sky
from mdp_lite.eval.village.styles import apply_style

FOG_ON_THINGS = {"friend": 0.42, "object": 0.18}
FLOATING = ("boat", "balloon")  # they need no island in a lake
LAMPLIGHT = (255, 214, 128)


def paint(scene: VillageScene, size: int, group: bool = True) -> Array:
    """The whole picture, (size, size, 3) in 0..255; without the named things if group is false."""
    # A generator for each: what one draws does not change the others.
    above, ground, falling = (np.random.default_rng([scene.texture, i]) for i in range(3))
    line = horizon(scene)
    canvas = paint_sky(scene, size, line, above)
    paint_backdrop(canvas, scene, size)
    paint_ground(canvas, scene, ground)
    if scene.weather == "foggy":
        paint_fog(canvas, scene, size, line)
    for cast in cast_friend(scene, size):
        paint_cast(canvas, scene, cast, scene.friend, FOG_ON_THINGS["friend"])
    for cast in cast_group(scene, size) if group else ():
        paint_cast(canvas, scene, cast, scene.object, FOG_ON_THINGS["object"])
    paint_branch(canvas, scene)
    paint_falling(canvas, scene, size, falling)
    return apply_style(canvas, scene.style)


def paint_cast(
    canvas: Array, scene: VillageScene, cast: VillageCast, thing: str, fog: float
) -> None:
    """Blend a thing in, with its shadow or reflection below it and the light of its lamps."""
    size = len(canvas)
    if scene.ground == "lake":
        paint_reflection(canvas, cast)
        if thing not in FLOATING:
            paint_island(canvas, scene, cast)
    blend(canvas, array((28, 30, 58)) * array(AMBIENT[scene.time]), shadow_of(scene, cast, thing))
    rgb = cast.rgb
    if scene.weather == "foggy":
        rgb = rgb + fog * (array(FOG[scene.time]) - rgb)
    blend(canvas, rgb, cast.alpha)
    light = halo_light(cast, size)
    if light.any():
        canvas += light[..., None] * array(LAMPLIGHT) * (1 - canvas / 255)


def shadow_of(scene: VillageScene, cast: VillageCast, thing: str) -> Array:
    """The shadow's coverage; on open water there is next to none."""
    on_water = scene.ground == "lake" and thing in FLOATING
    return shadow(scene, cast.spot, len(cast.alpha)) * (0.25 if on_water else 1.0)


def paint_reflection(canvas: Array, cast: VillageCast) -> None:
    """The thing upside down below its base, wavering and fading with depth."""
    rgb, alpha = reflection(cast)
    blend(canvas, rgb, alpha)


def reflection(cast: VillageCast) -> tuple[Array, Array]:
    """Colours and coverage of the thing's image in the water."""
    size = len(cast.alpha)
    first = round(cast.spot.base * size)
    rows = np.arange(size)
    waver = np.round(0.9 * np.sin(1.1 * (rows - first)) * (rows > first)).astype(int)
    mirror = np.clip(2 * first - 1 - rows, 0, size - 1)
    shifted = (np.arange(size)[None, :] + waver[:, None]).clip(0, size - 1)
    rgb, alpha = cast.rgb[mirror[:, None], shifted], cast.alpha[mirror[:, None], shifted]
    fade = 0.62 * np.clip(1 - (rows - first) / (0.5 * size), 0, 1) * (rows >= first)
    return 0.86 * rgb, alpha * fade[:, None].astype(np.float32)


def paint_island(canvas: Array, scene: VillageScene, cast: VillageCast) -> None:
    """A low island of grass under a thing that does not float, with a sandy rim."""
    light = array(AMBIENT[scene.time])
    grass = array(GRASS[scene.season][1]) * light
    blend(canvas, array((206, 182, 138)) * light, island(cast, 1.0))
    blend(canvas, grass, island(cast, 0.86))


def island(cast: VillageCast, share: float) -> Array:
    """Coverage (size, size) of a thing's island, or of a smaller part of it."""
    size, spot = len(cast.alpha), cast.spot
    u, half = axis(size), 0.5 * spot.height * share
    across = ((u - spot.x) / (1.12 * half)) ** 2
    down = ((u - spot.base - 0.012 + 0.012 * share) / (0.2 * half)) ** 2
    return np.clip((1 - across[None, :] - down[:, None]) * 8, 0, 1)
