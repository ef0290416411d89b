"""Vehicles of the village: car, boat, balloon."""

import math

from mdp_lite.eval.shapes import CREAM, WOOD, Color, shade
from mdp_lite.eval.village.buildings import IRON, LAMPLIGHT, PANE
from mdp_lite.eval.village.pen import VillagePen


def draw_car(pen: VillagePen, color: Color) -> None:
    """A round little car seen from the side; its front is at +x."""
    roof = ((-0.36, 0.32), (-0.3, 0.52), (-0.2, 0.63), (0.08, 0.63), (0.2, 0.54), (0.3, 0.33))
    pen.fill(roof, shade(color, 1.08), paint=True)
    glass = LAMPLIGHT if pen.dark else PANE
    for pane in (
        ((-0.29, 0.36), (-0.24, 0.51), (-0.17, 0.57), (-0.06, 0.57), (-0.06, 0.36)),
        ((-0.01, 0.36), (-0.01, 0.57), (0.07, 0.57), (0.15, 0.5), (0.23, 0.36)),
    ):
        pen.fill(pane, glass, lit=pen.dark)
        pen.fill((pane[0], pane[1], pane[2]), shade(glass, 1.5), lit=pen.dark)
    body = ((-0.48, 0.12), (-0.49, 0.28), (-0.43, 0.37), (0.3, 0.38), (0.44, 0.33), (0.49, 0.24),
            (0.48, 0.12))  # fmt: skip
    pen.fill(body, color, paint=True)
    pen.fill(((-0.44, 0.34), (0.32, 0.35), (0.3, 0.38), (-0.42, 0.37)), shade(color, 1.45), True)
    pen.fill_box(-0.48, 0.11, 0.48, 0.17, shade(color, 0.55))
    pen.fill_box(-0.06, 0.27, 0.02, 0.29, CREAM)
    for x in (-0.27, 0.27):
        pen.fill_oval(x, 0.14, 0.15, 0.15, shade(color, 0.4))
        pen.fill_oval(x, 0.12, 0.125, 0.12, (44, 42, 50))
        pen.fill_oval(x, 0.12, 0.065, 0.062, (206, 206, 212))
        pen.fill_oval(x, 0.12, 0.025, 0.025, IRON)
    pen.fill_oval(0.455, 0.275, 0.034, 0.045, (255, 246, 196), lit=pen.dark)
    pen.fill_box(-0.49, 0.24, -0.45, 0.31, (220, 50, 50))
    pen.add_halo(0.48, 0.27, 0.3, 0.6)


def draw_boat(pen: VillagePen, color: Color) -> None:
    """A sailing boat: a painted hull and two sails that the wind fills."""
    pen.fill_curve(((-0.03, 0.2), (-0.03, 1.02)), 0.035, shade(WOOD, 1.1))
    pen.fill(((-0.03, 1.06), (0.11, 1.02), (-0.03, 0.98)), (222, 66, 58))
    main = _sail(0.01, 0.3, 0.46, 0.66)
    jib = _sail(-0.07, 0.28, -0.37, 0.56)
    pen.fill(main, shade(color, 1.12 * pen.side_light(0.4)), paint=True)
    pen.fill(jib, shade(CREAM, 1.3 * pen.side_light(-0.4)))
    hull = ((-0.46, 0.24), (0.49, 0.26), (0.36, 0.05), (0.24, 0.0), (-0.28, 0.0), (-0.38, 0.06))
    pen.fill(hull, shade(color, 0.86), paint=True)
    pen.fill(((-0.38, 0.06), (0.365, 0.06), (0.24, 0.0), (-0.28, 0.0)), shade(color, 0.5), True)
    pen.fill(((-0.47, 0.26), (0.5, 0.28), (0.48, 0.22), (-0.455, 0.2)), shade(WOOD, 1.3))
    for x in (-0.2, 0.0, 0.2):
        pen.fill_oval(x, 0.14, 0.03, 0.03, LAMPLIGHT if pen.dark else CREAM, lit=pen.dark)


def _sail(foot: float, low: float, clew: float, height: float) -> tuple[tuple[float, float], ...]:
    """A triangle along the mast whose free edge is bent outwards."""
    edge = []
    for i in range(9):
        share = i / 8
        bulge = 0.1 * math.sin(math.pi * share) * (1 if clew > foot else -1)
        edge.append((foot + (clew - foot) * share + bulge, low + height * (1 - share)))
    return ((foot, low), *edge)


def draw_balloon(pen: VillagePen, color: Color) -> None:
    """A hot-air balloon in the air: an envelope with seams, ropes and a basket."""
    for x in (-0.09, -0.03, 0.03, 0.09):
        pen.fill_curve(((x, 0.1), (2.4 * x, 0.38)), 0.014, shade(WOOD, 0.9))
    skirt = ((-0.12, 0.28), (0.12, 0.28), (0.3, 0.5), (-0.3, 0.5))
    pen.fill(skirt, shade(color, 0.8), paint=True)
    pen.fill_ball(0.0, 0.68, 0.39, 0.35, color, paint=True)
    for rx in (0.13, 0.27):
        for side in (-1, 1):
            turns = [math.pi * i / 12 for i in range(10)]
            seam = tuple((side * rx * math.sin(a), 0.68 + 0.35 * math.cos(a)) for a in turns)
            pen.fill_curve(seam, 0.012, shade(color, 0.6), paint=True)
    pen.fill_box(-0.12, 0.26, 0.12, 0.3, CREAM)
    if pen.dark:
        pen.fill_oval(0.0, 0.23, 0.03, 0.05, LAMPLIGHT, lit=True)
    pen.add_halo(0.0, 0.3, 0.4, 0.6)
    pen.fill(((-0.1, 0.14), (0.1, 0.14), (0.08, 0.0), (-0.08, 0.0)), shade(WOOD, 1.25))
    pen.fill_box(-0.11, 0.12, 0.11, 0.15, shade(WOOD, 0.8))
    pen.fill_box(-0.09, 0.06, 0.09, 0.075, shade(WOOD, 0.9))
