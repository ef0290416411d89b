"""Styles of the whole picture: ink, watercolor, pixel, neon. Each looks at near pixels only."""

from functools import lru_cache

import numpy as np

from mdp_lite.eval.landscape import Array, array

PAPER = (250, 245, 232)
GRAY = (0.3, 0.59, 0.11)
BLOCKS = 42  # of the pixel style, along a side
REACH = 0.032  # how far a style spreads a change, as a fraction of the picture


def apply_style(canvas: Array, style: str) -> Array:
    """The picture (size, size, 3) in 0..255 in a style; photo leaves it as it is."""
    return canvas if style == "photo" else STYLES[style](np.clip(canvas, 0, 255))


def soften(image: Array, times: int) -> Array:
    """A blur by [1, 2, 1] / 4 in both directions, several times; edges are repeated."""
    for _ in range(times):
        for axis in (0, 1):
            pad = [(1, 1) if a == axis else (0, 0) for a in range(image.ndim)]
            wide = np.pad(image, pad, mode="edge")
            count = image.shape[axis]
            low, middle, high = (np.take(wide, range(k, k + count), axis) for k in range(3))
            image = 0.25 * (low + 2 * middle + high)
    return image


def edges(image: Array) -> Array:
    """Strength (size, size) in 0..1 of the outlines, the strongest channel's gradient."""
    wide = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = wide[1:-1, 2:] - wide[1:-1, :-2]
    down = wide[2:, 1:-1] - wide[:-2, 1:-1]
    return np.clip(np.sqrt(across**2 + down**2).max(axis=-1) / 110, 0, 1)


def draw_ink(canvas: Array) -> Array:
    """Ink and wash on paper: dark outlines, thin colour."""
    gray = (canvas @ array(GRAY))[..., None] / 255
    thin = gray + 0.9 * (canvas / 255 - gray)
    wash = array(PAPER) * (0.3 + 0.7 * np.clip(thin, 0, 1) ** 0.75)
    line = np.clip(1.7 * edges(soften(canvas, 1)) - 0.16, 0, 1)[..., None]
    return wash + 0.85 * line * (array((34, 32, 44)) - wash)


def draw_watercolor(canvas: Array) -> Array:
    """Soft washes with darker rims, blooms, and a ragged margin of paper."""
    size = len(canvas)
    soft = soften(canvas, 2)
    rims = np.clip(soften(soft, 3) - soft, 0, 60)
    wash = soft - 1.1 * rims
    wash = array(PAPER) + 0.84 * _blooms(size)[..., None] * (wash * 1.04 - array(PAPER))
    return wash + _margin(size)[..., None] * (array(PAPER) - wash)


@lru_cache(maxsize=4)
def _blooms(size: int) -> Array:
    """How much pigment lies where, about 1; (size, size)."""
    u = (np.arange(size) + 0.5) / size
    x, y = u[None, :], u[:, None]
    wave = np.sin(9 * x + 5 * np.sin(4 * y)) * np.sin(8 * y + 4 * np.sin(5 * x + 1))
    return (1 + 0.1 * wave).astype(np.float32)


@lru_cache(maxsize=4)
def _margin(size: int) -> Array:
    """Coverage (size, size) of the bare paper along the edges."""
    u = (np.arange(size) + 0.5) / size
    x, y = u[None, :], u[:, None]
    near = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y))
    ragged = 0.028 + 0.009 * np.sin(31 * x + 7 * y) + 0.008 * np.sin(27 * y - 9 * x)
    return np.clip((ragged - near) / 0.012 + 0.5, 0, 1).astype(np.float32)


def draw_pixel(canvas: Array) -> Array:
    """Square blocks in a reduced palette of strong colours."""
    size = len(canvas)
    block = max(2, round(size / BLOCKS))
    count = -(-size // block)
    pad = count * block - size
    wide = np.pad(canvas, ((0, pad), (0, pad), (0, 0)), mode="edge")
    cells = wide.reshape(count, block, count, block, 3).mean(axis=(1, 3))
    gray = (cells @ array(GRAY))[..., None]
    strong = np.clip(gray + 1.25 * (cells - gray), 0, 255)
    flat = (np.round((strong / 255) ** 0.7 * 8) / 8) ** (1 / 0.7) * 255
    return flat.repeat(block, axis=0).repeat(block, axis=1)[:size, :size].astype(np.float32)


def draw_neon(canvas: Array) -> Array:
    """A dark scene whose outlines glow in the colours of what they enclose."""
    gray = (canvas @ array(GRAY))[..., None]
    vivid = np.clip(gray + 2.1 * (canvas - gray), 0, 255)
    vivid = vivid * (255 / np.maximum(vivid.max(axis=-1, keepdims=True), 60))
    line = soften(np.clip(1.7 * edges(canvas) - 0.25, 0, 1)[..., None] * vivid, 1)
    glow = soften(line, 3)
    dark = canvas * array((0.2, 0.17, 0.3)) + array((10, 4, 26)) + 0.07 * vivid
    return np.clip(dark + 0.95 * glow, 0, 255) + 0.8 * line * (1 - dark / 255)


STYLES = {
    "ink": draw_ink,
    "watercolor": draw_watercolor,
    "pixel": draw_pixel,
    "neon": draw_neon,
}
