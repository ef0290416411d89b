"""The things of a scene: where they stand, how they look, and their shadows and reflections."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from mdp_lite.eval.landscape import Array, array, axis
from mdp_lite.eval.village import buildings, creatures, vehicles
from mdp_lite.eval.village.materials import apply_material
from mdp_lite.eval.village.pen import FINE, PAINTS, Halo, VillagePen, to_arrays
from mdp_lite.eval.village.record import THINGS, VillageScene

BANDS = {"left": 0.27, "center": 0.5, "right": 0.73}
HEIGHTS = {"one": 0.46, "two": 0.35, "three": 0.3}
# Of each thing of a group: how far from its middle, and where its base is from the top.
GROUPS = {
    "one": ((0.0, 0.88),),
    "two": ((-0.15, 0.87), (0.15, 0.89)),
    "three": ((0.0, 0.83), (-0.17, 0.885), (0.17, 0.9)),
}
FRIEND_HEIGHT, FRIEND_BASE = 0.25, 0.775
AIRBORNE = {"balloon": 0.32}  # height above the ground, in object heights
LIGHT = {  # on things: hues must survive the night
    "dawn": (1.0, 0.92, 0.92),
    "day": (1.0, 1.0, 1.0),
    "sunset": (1.0, 0.9, 0.78),
    "night": (0.68, 0.7, 0.9),
}
RIM = {"dawn": (255, 214, 196), "day": (255, 252, 236), "sunset": (255, 190, 110),
       "night": (150, 170, 230)}  # fmt: skip
SNOW = (246, 249, 255)
PAINTERS = {
    thing: getattr(room, f"draw_{thing}")
    for thing in THINGS
    for room in (buildings, creatures, vehicles)
    if hasattr(room, f"draw_{thing}")
}


class Spot(NamedTuple):
    """Where a thing stands: the middle of its base and its height, as fractions of the picture."""

    x: float
    base: float
    height: float
    lift: float  # height of its lowest point above the ground


class VillageCast(NamedTuple):
    """One thing: colours (size, size, 3), coverage (size, size), and what it adds to the rest."""

    rgb: Array
    alpha: Array
    spot: Spot
    halos: tuple[Halo, ...]


def group_spots(scene: VillageScene) -> tuple[Spot, ...]:
    """Where the named things stand, the farthest first; none is cut by the picture's edge."""
    height = HEIGHTS[scene.count] * (0.88 + 0.18 * scene.size)
    offsets = GROUPS[scene.count]
    half = max(abs(dx) for dx, _ in offsets) + height / 2
    middle = BANDS[scene.position] + 0.05 * (scene.dx - 0.5)
    middle = min(max(middle, half), 1 - half) if half < 0.5 else 0.5
    lift = AIRBORNE.get(scene.object, 0.0) * height
    return tuple(Spot(middle + dx, base, height, lift) for dx, base in offsets)


def friend_spot(scene: VillageScene) -> Spot:
    """Where the second thing stands: farther away, clear of the group's middle."""
    shift = 0.05 * (scene.friend_x % 0.5)
    right = {"left": True, "right": False, "center": scene.friend_x < 0.5}[scene.position]
    x = 0.84 + shift - 0.03 if right else 0.16 - shift + 0.03
    lift = AIRBORNE.get(scene.friend, 0.0) * FRIEND_HEIGHT
    return Spot(x, FRIEND_BASE, FRIEND_HEIGHT, lift)


def cast_group(scene: VillageScene, size: int) -> Iterator[VillageCast]:
    """The named things, the farthest first."""
    for spot in group_spots(scene):
        yield cast_thing(scene, scene.object, scene.color, scene.material, spot, size)


def cast_friend(scene: VillageScene, size: int) -> Iterator[VillageCast]:
    """The second thing, if the scene has one."""
    if scene.friend != "none":
        spot = friend_spot(scene)
        yield cast_thing(scene, scene.friend, scene.friend_color, "plain", spot, size)


def light_side(scene: VillageScene) -> float:
    """Where the light comes from: -1 left, 1 right."""
    return 2 * sun_place(scene)[0] - 1


def sun_place(scene: VillageScene) -> tuple[float, float]:
    """Middle of the sun or moon: away from the branch's corner."""
    x = 0.12 + 0.5 * scene.sun_x
    return (1 - x if scene.branch_left else x), 0.12 + 0.1 * scene.sun_y


def cast_thing(
    scene: VillageScene, thing: str, color: str, material: str, spot: Spot, size: int
) -> VillageCast:
    """Paint one thing into an otherwise empty picture."""
    left, top, right, bottom = _tile(spot, size)
    shape = (FINE * (right - left), FINE * (bottom - top))
    foot = (spot.base - spot.lift) * size
    pen = VillagePen(
        Image.new("RGB", shape), Image.new("RGB", shape),
        FINE * (spot.x * size - left), FINE * (foot - top), FINE * spot.height * size,
        scene.mirrored, light_side(scene), scene.time == "night" or scene.lamps, scene.turn,
    )  # fmt: skip
    PAINTERS[thing](pen, PAINTS[color])
    colors, labels = to_arrays(pen)
    rows, columns = np.arange(top, bottom) + 0.5, np.arange(left, right) + 0.5
    x = (columns - spot.x * size) / (spot.height * size)
    y = (foot - rows) / (spot.height * size)
    tile = _light_tile(scene, colors, labels, -x if scene.mirrored else x, y, material)
    rgb, alpha = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    rgb[top:bottom, left:right], alpha[top:bottom, left:right] = tile, labels[..., 0]
    return VillageCast(rgb, alpha, spot, tuple(pen.halos) if scene.time == "night" else ())


def _tile(spot: Spot, size: int) -> tuple[int, int, int, int]:
    """The box of pixels that a thing may cover: left, top, right, bottom."""
    foot = spot.base - spot.lift
    left = max(math.floor((spot.x - 0.54 * spot.height) * size), 0)
    right = min(math.ceil((spot.x + 0.54 * spot.height) * size), size)
    return (
        left,
        max(math.floor((foot - 1.14 * spot.height) * size), 0),
        right,
        min(math.ceil((foot + 0.02) * size), size),
    )


def _light_tile(
    scene: VillageScene, colors: Array, labels: Array, x: Array, y: Array, material: str
) -> Array:
    """Material, volume, the light of the hour, and snow on what looks up."""
    alpha = labels[..., :1]
    rgb = colors / np.maximum(alpha, 1e-3)
    paint = labels[..., 1] / np.maximum(labels[..., 0], 1e-3)
    rgb = apply_material(rgb, paint, x, y, scene.color, material)
    low = np.clip(1.1 - 0.34 * np.exp(-np.maximum(y, 0) / 0.16), 0, 1)[:, None, None]
    shining = labels[..., 2:]
    lit = rgb * (array(LIGHT[scene.time]) * low)
    side = 1 if light_side(scene) > 0 else -1
    edge = np.clip(alpha[..., 0] - _shift(alpha[..., 0], 0, -side), 0, 1)[..., None]
    lit = lit + 0.5 * edge * (array(RIM[scene.time]) - lit)
    if scene.season == "winter":
        cap = np.clip(alpha[..., 0] - _shift(alpha[..., 0], len(y) // 20 + 1, 0), 0, 1)
        snow = array(SNOW) * (0.25 + 0.75 * array(LIGHT[scene.time]))
        lit = lit + 0.92 * cap[..., None] * (snow - lit)
    return lit + shining * (rgb - lit)


def _shift(alpha: Array, down: int, right: int) -> Array:
    """The coverage moved by whole pixels, nothing coming in at the edges."""
    moved = np.zeros_like(alpha)
    height, width = alpha.shape
    source = alpha[: height - down, max(0, -right) : width - max(0, right)]
    moved[down:, max(0, right) : width - max(0, -right)] = source
    return moved


def shadow(scene: VillageScene, spot: Spot, size: int) -> Array:
    """Coverage (size, size) of a soft shadow on the ground, leaning away from the light."""
    u, half = axis(size), spot.height / 2
    lean = -0.4 * half * light_side(scene)
    across = ((u - spot.x - lean) / (1.1 * half)) ** 2
    down = ((u - spot.base - 0.002) / (0.17 * half + 0.012)) ** 2
    soft = np.clip(1 - across[None, :] - down[:, None], 0, 1)
    return 0.52 / (1 + 4 * spot.lift) * soft


def halo_light(cast: VillageCast, size: int) -> Array:
    """Light (size, size) in 0..1 around the lamps of a thing."""
    u, spot = axis(size), cast.spot
    total = np.zeros((size, size), np.float32)
    for halo in cast.halos:
        x = spot.x + halo.x * spot.height
        y = spot.base - spot.lift - halo.y * spot.height
        far = ((u[None, :] - x) ** 2 + (u[:, None] - y) ** 2) / (halo.radius * spot.height) ** 2
        total = np.maximum(total, halo.strength * np.clip(np.exp(-2.2 * far) - 0.02, 0, 1))
    return total
