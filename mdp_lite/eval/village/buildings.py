"""Buildings of the village: house, windmill, lighthouse, castle, tent, lamp."""

import math

from mdp_lite.eval.shapes import CREAM, WOOD, Color, shade
from mdp_lite.eval.village.pen import VillagePen

SLATE: Color = (92, 84, 98)
PANE: Color = (150, 190, 214)
LAMPLIGHT: Color = (255, 226, 140)
IRON: Color = (58, 56, 66)


def draw_window(pen: VillagePen, x: float, y: float, rx: float, ry: float) -> None:
    """A window with a frame and a cross; lit in the dark."""
    pen.fill_box(x - rx - 0.022, y - ry - 0.022, x + rx + 0.022, y + ry + 0.022, CREAM)
    pen.fill_box(x - rx, y - ry, x + rx, y + ry, LAMPLIGHT if pen.dark else PANE, lit=pen.dark)
    if not pen.dark:
        corners = ((x - rx, y - ry), (x + rx * 0.4, y + ry), (x - rx, y + ry))
        pen.fill(corners, shade(PANE, 1.45))
    pen.fill_box(x - 0.01, y - ry, x + 0.01, y + ry, CREAM)
    pen.fill_box(x - rx, y - 0.01, x + rx, y + 0.01, CREAM)
    pen.add_halo(x, y, 0.22, 0.35)


def draw_house(pen: VillagePen, color: Color) -> None:
    """A gabled front with a door, a side wall with a window, a tiled roof, a chimney."""
    front, wall = pen.side_light(-0.5), pen.side_light(0.7)
    pen.fill_box(0.2, 0.66, 0.32, 0.99, (150, 96, 84))
    pen.fill_box(0.18, 0.96, 0.34, 1.02, (110, 74, 70))
    side = ((0.02, 0.0), (0.46, 0.05), (0.46, 0.52), (0.02, 0.55))
    pen.fill(side, shade(color, 0.86 * wall), paint=True)
    gable = ((-0.44, 0.0), (0.02, 0.0), (0.02, 0.54), (-0.21, 0.9), (-0.44, 0.54))
    pen.fill(gable, shade(color, 1.06 * front), paint=True)
    for i in range(6):  # rows of tiles, brighter towards the ridge
        low, high = 0.46 + 0.082 * i, 0.46 + 0.082 * (i + 1)
        x0, x1, x2, x3 = _roof(low, high)
        tone = (0.8 + 0.06 * i) * wall
        pen.fill(((x0, low), (x1, low), (x2, high), (x3, high)), shade(SLATE, tone))
        pen.fill(((x0, low), (x1, low), (x1, low + 0.018), (x0, low + 0.018)), shade(SLATE, 0.55))
    eaves = ((-0.21, 0.97), (-0.5, 0.5), (-0.44, 0.45), (-0.21, 0.83))
    pen.fill(eaves, shade(SLATE, 0.7 * front))
    pen.fill_box(-0.33, 0.0, -0.12, 0.33, shade(WOOD, 1.1))
    pen.fill_box(-0.3, 0.0, -0.15, 0.3, shade(WOOD, 0.75))
    pen.fill_oval(-0.17, 0.15, 0.014, 0.014, LAMPLIGHT)
    draw_window(pen, 0.25, 0.28, 0.09, 0.1)
    draw_window(pen, -0.21, 0.58, 0.06, 0.07)


def _roof(low: float, high: float) -> tuple[float, float, float, float]:
    """The left and right ends of a row of tiles, below and above."""
    left = [0.07 - (y - 0.46) * 0.55 for y in (low, high)]
    right = [0.53 - (y - 0.46) * 0.38 for y in (low, high)]
    return left[0], right[0], right[1], left[1]


def draw_windmill(pen: VillagePen, color: Color) -> None:
    """A tapered tower with a cap, a door, and four sails of cloth on lattices."""
    pen.fill_tube((0, 0.27, 0.0), (0, 0.15, 0.62), color, paint=True)
    pen.fill_box(-0.08, 0.0, 0.08, 0.2, shade(WOOD, 0.8))
    draw_window(pen, 0.0, 0.38, 0.045, 0.055)
    pen.fill(((-0.19, 0.61), (0.19, 0.61), (0.12, 0.74), (0, 0.79), (-0.12, 0.74)), SLATE)
    for quarter in range(4):
        angle = math.pi / 2 * (quarter + 0.2 + 0.6 * pen.turn)
        ux, uy = math.cos(angle), math.sin(angle)
        corners = ((0.05, 0.0), (0.4, 0.0), (0.4, 0.12), (0.08, 0.12))
        cloth = tuple((ux * r - uy * w, 0.64 + uy * r + ux * w) for r, w in corners)
        pen.fill(cloth, shade(CREAM, 1.0 if quarter % 2 else 1.25))
        pen.fill_curve(((0.0, 0.64), (0.42 * ux, 0.64 + 0.42 * uy)), 0.028, shade(WOOD, 0.75))
    pen.fill_oval(0.0, 0.64, 0.04, 0.04, IRON)


def draw_lighthouse(pen: VillagePen, color: Color) -> None:
    """A slender tower on a rock, a gallery, a lantern that shines, a dome."""
    rock = ((-0.4, 0.0), (-0.3, 0.1), (-0.12, 0.14), (0.16, 0.13), (0.3, 0.07), (0.4, 0.0))
    pen.fill(rock, (118, 112, 114))
    pen.fill(((-0.3, 0.1), (-0.12, 0.14), (0.0, 0.09), (-0.16, 0.05)), (150, 144, 142))
    pen.fill_tube((0, 0.2, 0.08), (0, 0.125, 0.74), color, paint=True)
    pen.fill_box(-0.055, 0.1, 0.055, 0.24, shade(WOOD, 0.8))
    draw_window(pen, 0.0, 0.42, 0.035, 0.045)
    pen.fill_box(-0.18, 0.73, 0.18, 0.765, IRON)
    glass: Color = LAMPLIGHT if pen.dark else (206, 226, 232)
    pen.fill_box(-0.095, 0.765, 0.095, 0.88, glass, lit=pen.dark)
    for x in (-0.095, -0.032, 0.032, 0.095):
        pen.fill_box(x - 0.01, 0.765, x + 0.01, 0.88, IRON)
    pen.fill(((-0.13, 0.875), (0.13, 0.875), (0.06, 0.96), (-0.06, 0.96)), shade(color, 0.7))
    pen.fill_oval(0.0, 0.975, 0.028, 0.028, IRON)
    pen.add_halo(0.0, 0.82, 0.5, 0.75)


def draw_castle(pen: VillagePen, color: Color) -> None:
    """A wall with battlements and a gate between two towers; a keep with a flag behind."""
    pen.fill_tube((0, 0.16, 0.3), (0, 0.16, 0.78), shade(color, 0.86), paint=True)
    pen.fill(((-0.2, 0.77), (0.2, 0.77), (0.0, 0.98)), shade(SLATE, 1.05))
    pen.fill_curve(((0.0, 0.96), (0.0, 1.1)), 0.016, IRON)
    pen.fill(((0.0, 1.1), (0.15, 1.06), (0.0, 1.01)), (222, 66, 58))
    pen.fill_box(-0.3, 0.0, 0.3, 0.42, shade(color, 0.95), paint=True)
    for x in (-0.24, -0.08, 0.08, 0.24):
        pen.fill_box(x - 0.045, 0.41, x + 0.045, 0.48, shade(color, 0.98), paint=True)
    for x in (-0.36, 0.36):
        pen.fill_tube((x, 0.13, 0.0), (x, 0.125, 0.56), color, paint=True)
        pen.fill_box(x - 0.15, 0.55, x + 0.15, 0.6, shade(color, 1.1), paint=True)
        pen.fill(((x - 0.17, 0.6), (x + 0.17, 0.6), (x, 0.86)), SLATE)
        pen.fill(((x - 0.17, 0.6), (x - 0.02, 0.6), (x, 0.86)), shade(SLATE, 1.18))
        draw_window(pen, x, 0.36, 0.025, 0.055)
    draw_window(pen, 0.0, 0.62, 0.03, 0.055)
    pen.fill_oval(0.0, 0.16, 0.115, 0.13, shade(WOOD, 0.6))
    pen.fill_box(-0.115, 0.0, 0.115, 0.16, shade(WOOD, 0.6))
    for x in (-0.06, 0.0, 0.06):
        pen.fill_box(x - 0.008, 0.0, x + 0.008, 0.26, IRON)


def draw_tent(pen: VillagePen, color: Color) -> None:
    """A ridge tent with an open front and ropes."""
    for ends in (((-0.18, 0.74), (-0.5, 0.0)), ((0.3, 0.66), (0.5, 0.02))):
        pen.fill_curve(ends, 0.014, CREAM)
    far = ((-0.16, 0.76), (0.3, 0.68), (0.48, 0.06), (0.16, 0.0))
    pen.fill(far, shade(color, 0.82 * pen.side_light(0.8)), paint=True)
    pen.fill(((-0.16, 0.76), (0.3, 0.68), (0.32, 0.6), (-0.12, 0.66)), shade(color, 1.1), True)
    pen.fill(((-0.48, 0.0), (-0.16, 0.78), (0.16, 0.0)), shade(color, 1.02), paint=True)
    inside = LAMPLIGHT if pen.dark else shade(color, 0.28)
    pen.fill(((-0.29, 0.0), (-0.16, 0.5), (-0.03, 0.0)), inside, lit=pen.dark)
    pen.fill(((-0.29, 0.0), (-0.16, 0.5), (-0.2, 0.0)), shade(color, 1.2), paint=True)
    pen.fill_curve(((-0.16, 0.7), (-0.16, 0.84)), 0.022, WOOD)
    pen.add_halo(-0.16, 0.2, 0.35, 0.5)


def draw_lamp(pen: VillagePen, color: Color) -> None:
    """A standing lamp: a pedestal, a slim post, a wide shade that glows in the dark."""
    pen.fill_tube((0, 0.26, 0.0), (0, 0.2, 0.09), color, paint=True)
    pen.fill_tube((0, 0.14, 0.09), (0, 0.1, 0.16), color, paint=True)
    pen.fill_tube((0, 0.04, 0.16), (0, 0.04, 0.6), (196, 164, 96))
    pen.fill_oval(0.0, 0.3, 0.065, 0.06, (214, 182, 110))
    if pen.dark:
        pen.fill_oval(0.0, 0.55, 0.2, 0.06, LAMPLIGHT, lit=True)
    pen.fill_tube((0, 0.4, 0.56), (0, 0.22, 0.95), shade(color, 1.15), paint=True)
    pen.fill(((-0.4, 0.56), (0.4, 0.56), (0.385, 0.6), (-0.385, 0.6)), CREAM)
    pen.fill(((-0.235, 0.92), (0.235, 0.92), (0.22, 0.96), (-0.22, 0.96)), CREAM)
    pen.add_halo(0.0, 0.6, 0.6, 0.7)
