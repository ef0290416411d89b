"""Materials: patterns in a thing's own coordinates that change the colour of its painted parts."""

import numpy as np

from mdp_lite.eval.landscape import Array, array

CREAM, SLATE = (250, 244, 226), (92, 98, 118)
TIMBER = (158, 108, 66)
GREY = (150, 148, 150)


def apply_material(
    rgb: Array, paint: Array, x: Array, y: Array, color: str, material: str
) -> Array:
    """The colours rgb (h, w, 3) with a material where paint (h, w) is 1.

    color is the paint's name: stripes and spots are cream, on white slate, or they would not show.
    x (w,) and y (h,) are object coordinates: across from the middle, up from the base.
    """
    if material == "plain":
        return rgb
    across, up = x[None, :], y[:, None]
    if material in TRIMMED:
        changed = TRIMMED[material](rgb, across, up, SLATE if color == "white" else CREAM)
    else:
        changed = PATTERNS[material](rgb, across, up)
    return rgb + paint[..., None] * (changed - rgb)


def add_planks(rgb: Array, x: Array, y: Array) -> Array:
    """Wood: level planks with dark joints and a grain, the colour thin like a glaze."""
    row = y / 0.125
    joint = _soft_step(np.abs(row - np.round(row)), 0.12, 0.2)
    grain = 0.06 * np.sin(16 * x + 7 * np.sin(3.1 * np.round(row + 0.5)) + 5 * y)
    tone = (0.56 + 0.44 * joint) * (1.04 + grain)
    return (rgb + 0.3 * (_lit(rgb, TIMBER) - rgb)) * tone[..., None]


def add_blocks(rgb: Array, x: Array, y: Array) -> Array:
    """Stone: rows of blocks with pale mortar, each block a little lighter or darker."""
    row = np.floor(y / 0.14)
    column = x / 0.26 + 0.5 * (row % 2)
    tone = 0.86 + 0.22 * np.abs(np.sin(12.9 * np.floor(column) + 4.1 * row))
    near = np.minimum(
        np.abs(column - np.round(column)) * 0.26, np.abs(y / 0.14 - np.round(y / 0.14)) * 0.14
    )
    mortar = 1 - _soft_step(near, 0.008, 0.02)
    body = (rgb + 0.38 * (_lit(rgb, GREY) - rgb)) * tone[..., None]
    return body + 0.7 * mortar[..., None] * (_lit(rgb, (216, 210, 204)) - body)


def add_gloss(rgb: Array, x: Array, y: Array) -> Array:
    """Metal: dark and bright bands that mirror ground and sky, and a hard slanted light."""
    mirror = 0.86 + 0.34 * np.tanh(4 * np.sin(9.5 * (y - 0.12 * x)))
    body = (rgb * 0.9 + 0.1 * _lit(rgb, GREY)) * mirror[..., None]
    band = np.exp(-(((x + 0.5 * y - 0.2) / 0.055) ** 2)) + 0.5 * np.exp(
        -(((x + 0.5 * y - 0.38) / 0.03) ** 2)
    )
    return body + 0.75 * band[..., None] * (255 - body)


def add_stripes(rgb: Array, x: Array, y: Array, trim: tuple[int, int, int]) -> Array:
    """Slanted stripes of another colour."""
    wave = np.sin(2 * np.pi * (x + 0.8 * y) / 0.24)
    return rgb + 0.86 * _soft_step(wave, 0.0, 0.4)[..., None] * (_lit(rgb, trim) - rgb)


def add_spots(rgb: Array, x: Array, y: Array, trim: tuple[int, int, int]) -> Array:
    """Dots of another colour in staggered rows."""
    row = np.round(y / 0.17)
    across = (x + 0.1 * (row % 2)) / 0.2
    far = np.hypot((across - np.round(across)) * 0.2, y - 0.17 * row)
    return rgb + 0.92 * (1 - _soft_step(far, 0.045, 0.062))[..., None] * (_lit(rgb, trim) - rgb)


def _lit(rgb: Array, color: tuple[int, int, int]) -> Array:
    """A colour with the light and shade of rgb."""
    tone = rgb.max(axis=-1, keepdims=True) / 235
    return array(color) * np.clip(tone, 0.35, 1.08)


def _soft_step(value: Array, low: float, high: float) -> Array:
    """0 below low, 1 above high, straight between."""
    return np.clip((value - low) / (high - low), 0, 1)


PATTERNS = {
    "wooden": add_planks,
    "stone": add_blocks,
    "metal": add_gloss,
}
TRIMMED = {"striped": add_stripes, "spotted": add_spots}
