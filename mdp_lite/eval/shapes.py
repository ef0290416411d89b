"""The objects of the synthetic world: flat, shaded shapes in units of the object's height."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import ImageDraw

Color = tuple[float, float, float]
Point = tuple[float, float]

CREAM: Color = (236, 222, 196)
WOOD: Color = (120, 82, 54)
GLASS: Color = (176, 206, 222)
DARK: Color = (52, 48, 56)
LAMP: Color = (255, 222, 130)


def shade(color: Color, factor: float) -> Color:
    """A darker colour for a factor below 1, a lighter one (towards white) above 1."""
    if factor <= 1:
        return (color[0] * factor, color[1] * factor, color[2] * factor)
    red, green, blue = (c + (255 - c) * (factor - 1) for c in color)
    return (red, green, blue)


@dataclass(frozen=True)
class Pen:
    """Draws in object units: x to the right from the middle, y up from the base, height 1."""

    canvas: ImageDraw.ImageDraw
    x: float
    base: float
    unit: float
    mirrored: bool
    ambient: Color  # light of the hour, multiplied into every colour but lamps

    def to_pixels(self, point: Point) -> Point:
        """A point in object units -> canvas pixels."""
        side = -point[0] if self.mirrored else point[0]
        return (self.x + side * self.unit, self.base - point[1] * self.unit)

    def ink(self, color: Color, lit: bool = False) -> tuple[int, int, int, int]:
        """The colour in the light of the hour, opaque; lit colours shine by themselves."""
        light = (1.0, 1.0, 1.0) if lit else self.ambient
        red, green, blue = (int(c * a) for c, a in zip(color, light, strict=True))
        return (red, green, blue, 255)

    def fill_polygon(self, points: tuple[Point, ...], color: Color, lit: bool = False) -> None:
        """A filled polygon."""
        self.canvas.polygon([self.to_pixels(p) for p in points], fill=self.ink(color, lit))

    def fill_box(
        self, x0: float, y0: float, x1: float, y1: float, color: Color, lit: bool = False
    ) -> None:
        """A filled rectangle."""
        self.fill_polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)), color, lit)

    def fill_oval(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        """A filled ellipse around (x, y)."""
        cx, cy = self.to_pixels((x, y))
        rx, ry = rx * self.unit, ry * self.unit
        self.canvas.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=self.ink(color))

    def fill_dome(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        """The upper half of an ellipse around (x, y)."""
        cx, cy = self.to_pixels((x, y))
        rx, ry = rx * self.unit, ry * self.unit
        self.canvas.pieslice((cx - rx, cy - ry, cx + rx, cy + ry), 180, 360, fill=self.ink(color))


def draw_house(pen: Pen, color: Color, lamps: bool) -> None:
    """A gabled front, a side wall in shade, a darker roof of the same hue."""
    glass = LAMP if lamps else shade(DARK, 1.2)
    pen.fill_box(0.22, 0.62, 0.33, 1.0, shade(color, 0.5))
    pen.fill_polygon(((0.0, 0.0), (0.45, 0.05), (0.45, 0.52), (0.0, 0.55)), shade(color, 0.72))
    pen.fill_polygon(((-0.44, 0.0), (0.02, 0.0), (0.02, 0.54), (-0.23, 0.9), (-0.44, 0.54)), color)
    pen.fill_polygon(((-0.23, 0.95), (0.08, 0.48), (0.5, 0.48), (0.3, 0.92)), shade(color, 0.5))
    pen.fill_polygon(
        ((-0.23, 0.95), (-0.5, 0.48), (-0.43, 0.45), (-0.23, 0.83)), shade(color, 0.42)
    )
    pen.fill_box(-0.33, 0.0, -0.14, 0.34, shade(color, 0.3))
    pen.fill_box(0.16, 0.2, 0.37, 0.39, glass, lamps)


def draw_tree(pen: Pen, color: Color, lamps: bool) -> None:
    """A trunk and a round crown, lighter towards the top."""
    pen.fill_polygon(((-0.1, 0.0), (0.1, 0.0), (0.05, 0.5), (-0.05, 0.5)), WOOD)
    pen.fill_oval(0.2, 0.5, 0.22, 0.18, shade(color, 0.62))
    pen.fill_oval(-0.2, 0.5, 0.22, 0.18, shade(color, 0.72))
    pen.fill_oval(0.02, 0.64, 0.34, 0.3, shade(color, 0.82))
    pen.fill_oval(-0.04, 0.72, 0.28, 0.26, color)
    pen.fill_oval(-0.1, 0.8, 0.15, 0.13, shade(color, 1.22))


def draw_car(pen: Pen, color: Color, lamps: bool) -> None:
    """A small car seen from the side; its front is at +x."""
    glass = LAMP if lamps else GLASS
    pen.fill_polygon(((-0.34, 0.3), (-0.25, 0.58), (0.12, 0.58), (0.27, 0.3)), shade(color, 0.8))
    pen.fill_polygon(((-0.25, 0.33), (-0.19, 0.52), (-0.06, 0.52), (-0.06, 0.33)), glass, lamps)
    pen.fill_polygon(((0.0, 0.33), (0.0, 0.52), (0.1, 0.52), (0.2, 0.33)), glass, lamps)
    pen.fill_polygon(
        ((-0.46, 0.1), (-0.46, 0.3), (-0.38, 0.35), (0.28, 0.35), (0.45, 0.27), (0.47, 0.1)), color
    )
    pen.fill_box(-0.46, 0.08, 0.47, 0.16, shade(color, 0.6))
    for x in (-0.26, 0.26):
        pen.fill_oval(x, 0.11, 0.125, 0.125, DARK)
        pen.fill_oval(x, 0.11, 0.055, 0.055, (190, 190, 194))


def draw_boat(pen: Pen, color: Color, lamps: bool) -> None:
    """A sailing boat: a hull in the dark tone and two sails in the light ones."""
    pen.fill_box(-0.05, 0.18, 0.0, 1.0, WOOD)
    pen.fill_polygon(((0.02, 0.26), (0.02, 0.97), (0.42, 0.26)), color)
    pen.fill_polygon(((-0.08, 0.26), (-0.08, 0.86), (-0.36, 0.26)), shade(color, 1.25))
    pen.fill_polygon(((-0.46, 0.22), (0.48, 0.22), (0.32, 0.0), (-0.34, 0.0)), shade(color, 0.68))
    pen.fill_polygon(
        ((-0.46, 0.22), (0.48, 0.22), (0.445, 0.165), (-0.43, 0.165)), shade(CREAM, 1.0)
    )


def draw_mushroom(pen: Pen, color: Color, lamps: bool) -> None:
    """A cream stem under a round, spotted cap."""
    pen.fill_polygon(((-0.15, 0.0), (0.15, 0.0), (0.1, 0.5), (-0.1, 0.5)), CREAM)
    pen.fill_polygon(((0.03, 0.0), (0.15, 0.0), (0.1, 0.5), (0.03, 0.5)), shade(CREAM, 0.82))
    pen.fill_oval(0.0, 0.46, 0.4, 0.09, shade(color, 0.55))
    pen.fill_dome(0.0, 0.46, 0.42, 0.5, color)
    pen.fill_oval(-0.2, 0.6, 0.075, 0.07, shade(CREAM, 1.3))
    pen.fill_oval(0.06, 0.77, 0.08, 0.07, shade(CREAM, 1.3))
    pen.fill_oval(0.22, 0.57, 0.065, 0.06, shade(CREAM, 1.1))


def draw_tent(pen: Pen, color: Color, lamps: bool) -> None:
    """A ridge tent: open front, long side in shade."""
    inside = LAMP if lamps else shade(color, 0.25)
    pen.fill_polygon(((-0.16, 0.74), (0.3, 0.66), (0.49, 0.06), (0.14, 0.0)), shade(color, 0.7))
    pen.fill_polygon(((-0.48, 0.0), (-0.16, 0.76), (0.16, 0.0)), color)
    pen.fill_polygon(((-0.27, 0.0), (-0.16, 0.46), (-0.03, 0.0)), inside, lamps)


def draw_bush(pen: Pen, tint: float) -> None:
    """A low round shrub."""
    color = (70 + 70 * tint, 122 - 20 * tint, 64.0)
    pen.fill_dome(-0.22, 0.0, 0.26, 0.52, shade(color, 0.8))
    pen.fill_dome(0.22, 0.0, 0.26, 0.48, shade(color, 0.72))
    pen.fill_dome(0.0, 0.0, 0.32, 0.8, color)


def draw_rock(pen: Pen, tint: float) -> None:
    """A boulder with a lit face."""
    color = (128 + 30 * tint, 128 + 10 * tint, 130 - 14 * tint)
    pen.fill_polygon(((-0.46, 0.0), (-0.36, 0.4), (-0.06, 0.66), (0.3, 0.5), (0.46, 0.0)), color)
    pen.fill_polygon(((0.06, 0.0), (-0.06, 0.66), (0.3, 0.5), (0.46, 0.0)), shade(color, 0.72))


def draw_fence(pen: Pen, tint: float) -> None:
    """Three posts and two rails."""
    color = (150 + 80 * tint, 116 + 104 * tint, 84 + 120 * tint)
    pen.fill_box(-0.46, 0.14, 0.46, 0.28, shade(color, 0.86))
    pen.fill_box(-0.46, 0.42, 0.46, 0.56, shade(color, 0.86))
    for x in (-0.36, 0.0, 0.36):
        pen.fill_box(x - 0.08, 0.0, x + 0.08, 0.72, color)


def draw_flag(pen: Pen, tint: float) -> None:
    """A pennant on a pole."""
    color = (226 - 120 * tint, 150 - 20 * tint, 150 + 60 * tint)
    pen.fill_box(-0.3, 0.0, -0.18, 1.2, shade(WOOD, 0.9))
    pen.fill_polygon(((-0.18, 1.2), (0.46, 0.95), (-0.18, 0.66)), color)


OBJECTS: dict[str, Callable[[Pen, Color, bool], None]] = {
    "house": draw_house,
    "tree": draw_tree,
    "car": draw_car,
    "boat": draw_boat,
    "mushroom": draw_mushroom,
    "tent": draw_tent,
}
COMPANION_SHAPES: dict[str, Callable[[Pen, float], None]] = {
    "bush": draw_bush,
    "rock": draw_rock,
    "fence": draw_fence,
    "flag": draw_flag,
}
