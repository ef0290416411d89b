"""A pen for shaded shapes, in units of a thing's height, drawn large and reduced."""

import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw

from mdp_lite.eval.landscape import Array
from mdp_lite.eval.shapes import Color, Point, shade

FINE = 4  # shapes are drawn so many times larger, and reduced

PAINTS: dict[str, Color] = {
    "red": (214, 50, 48),
    "orange": (240, 134, 36),
    "yellow": (246, 208, 62),
    "green": (58, 164, 84),
    "blue": (52, 108, 216),
    "purple": (136, 76, 190),
    "pink": (244, 134, 176),
    "white": (240, 238, 232),
}


@dataclass(frozen=True)
class Halo:
    """Light around a lamp: centre and radius in object units, and its strength in 0..1."""

    x: float
    y: float
    radius: float
    strength: float


@dataclass
class VillagePen:
    """Draws in object units: x to the right from the middle, y up from the base, height 1.

    picture gets the colours, labels three coverages: of all, of what has the paint's material, and
    of what shines by itself. light is -1 (from the left) to 1; dark says that lamps are on.
    """

    picture: Image.Image
    labels: Image.Image
    x: float
    base: float
    unit: float
    mirrored: bool
    light: float
    dark: bool
    turn: float = 0.0
    halos: list[Halo] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.brush, self.label = ImageDraw.Draw(self.picture), ImageDraw.Draw(self.labels)

    def to_pixels(self, point: Point) -> Point:
        """A point in object units -> canvas pixels."""
        side = -point[0] if self.mirrored else point[0]
        return (self.x + side * self.unit, self.base - point[1] * self.unit)

    def side_light(self, side: float) -> float:
        """Brightness of a face that looks to the side, -1 to 1, in object units."""
        return 0.84 + 0.2 * side * (-self.light if self.mirrored else self.light)

    def fill(self, points: tuple[Point, ...], color: Color, paint: bool = False,
             lit: bool = False) -> None:  # fmt: skip
        """A filled polygon."""
        pixels = [self.to_pixels(point) for point in points]
        self.brush.polygon(pixels, fill=_round(color))
        self.label.polygon(pixels, fill=(255, 255 * paint, 255 * lit))

    def fill_box(self, x0: float, y0: float, x1: float, y1: float, color: Color,
                 paint: bool = False, lit: bool = False) -> None:  # fmt: skip
        """A filled rectangle."""
        self.fill(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), color, paint, lit)

    def fill_oval(self, x: float, y: float, rx: float, ry: float, color: Color,
                  paint: bool = False, lit: bool = False) -> None:  # fmt: skip
        """A filled ellipse around (x, y)."""
        cx, cy = self.to_pixels((x, y))
        box = (cx - rx * self.unit, cy - ry * self.unit, cx + rx * self.unit, cy + ry * self.unit)
        self.brush.ellipse(box, fill=_round(color))
        self.label.ellipse(box, fill=(255, 255 * paint, 255 * lit))

    def fill_ball(self, x: float, y: float, rx: float, ry: float, color: Color,
                  paint: bool = False) -> None:  # fmt: skip
        """An ellipsoid: it is brighter towards the light and the sky."""
        lean = -self.light if self.mirrored else self.light
        for i in range(12):
            share = i / 11
            dx, dy = 0.3 * share * rx * lean, 0.34 * share * ry
            rest = 1 - 0.86 * share
            tone = shade(color, 0.68 + 0.56 * share)
            self.fill_oval(x + dx, y + dy, rest * rx, rest * ry, tone, paint)

    def fill_tube(self, low: tuple[float, float, float], high: tuple[float, float, float],
                  color: Color, paint: bool = False) -> None:  # fmt: skip
        """A round tower from low to high, each (x of the middle, half its width, y)."""
        lean = -self.light if self.mirrored else self.light
        edges = [-math.cos(math.pi * i / 8) for i in range(9)]
        for left, right in zip(edges, edges[1:], strict=False):
            tone = 0.64 + 0.5 * math.cos(1.1 * ((left + right) / 2 - 0.5 * lean)) ** 2
            corners = tuple(
                (end[0] + edge * end[1], end[2])
                for end, edge in ((low, left), (low, right), (high, right), (high, left))
            )
            self.fill(corners, shade(color, tone), paint)

    def fill_curve(self, points: tuple[Point, ...], width: float, color: Color,
                   paint: bool = False) -> None:  # fmt: skip
        """A thick line with round joints."""
        pixels = [self.to_pixels(point) for point in points]
        thick = max(1, round(width * self.unit))
        self.brush.line(pixels, fill=_round(color), width=thick, joint="curve")
        self.label.line(pixels, fill=(255, 255 * paint, 0), width=thick, joint="curve")

    def add_halo(self, x: float, y: float, radius: float, strength: float) -> None:
        """Light around a lamp, which shows in the dark only."""
        if self.dark:
            side = -x if self.mirrored else x
            self.halos.append(Halo(side, y, radius, strength))


def _round(color: Color) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, round(c))) for c in color)
    return (red, green, blue)


def to_arrays(pen: VillagePen) -> tuple[Array, Array]:
    """The reduced colours (y, x, 3) in 0..255, premultiplied, and labels (y, x, 3) in 0..1."""
    picture = np.asarray(pen.picture.reduce(FINE), np.float32)
    return picture, np.asarray(pen.labels.reduce(FINE), np.float32) / 255
