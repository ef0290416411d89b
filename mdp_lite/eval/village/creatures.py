"""Creatures and plants of the village: cat, dog, bird, snowman, tree, flower, mushroom."""

import math

from mdp_lite.eval.shapes import CREAM, WOOD, Color, shade
from mdp_lite.eval.village.pen import VillagePen

EYE: Color = (34, 30, 40)
LEAF: Color = (74, 150, 66)
BEAK: Color = (244, 160, 50)
NOSE: Color = (226, 120, 128)
CROWN = (  # of a tree: middle, radius and tone of each ball
    (0.24, 0.54, 0.22, 0.72),
    (-0.25, 0.53, 0.22, 0.78),
    (0.0, 0.5, 0.22, 0.7),
    (0.17, 0.72, 0.24, 0.88),
    (-0.17, 0.73, 0.24, 0.95),
    (0.0, 0.84, 0.2, 1.06),
)


def draw_eyes(pen: VillagePen, x: float, y: float, apart: float, radius: float) -> None:
    """Two eyes with a white spark."""
    for side in (-1, 1):
        pen.fill_oval(x + side * apart, y, radius, 1.25 * radius, EYE)
        pen.fill_oval(x + side * apart - 0.3 * radius, y + 0.45 * radius,
                      0.36 * radius, 0.36 * radius, (255, 255, 255))  # fmt: skip


def draw_cat(pen: VillagePen, color: Color) -> None:
    """A sitting cat with a raised tail, pointed ears and whiskers."""
    tail = ((0.18, 0.08), (0.36, 0.1), (0.42, 0.24), (0.36, 0.4), (0.42, 0.52))
    pen.fill_curve(tail, 0.09, shade(color, 0.8), paint=True)
    pen.fill_ball(0.0, 0.26, 0.27, 0.28, color, paint=True)
    pen.fill_ball(-0.1, 0.13, 0.1, 0.15, shade(color, 1.05), paint=True)
    pen.fill_ball(0.1, 0.13, 0.1, 0.15, shade(color, 1.05), paint=True)
    for side in (-1, 1):
        ear = ((side * 0.26, 0.68), (side * 0.24, 1.0), (side * 0.05, 0.84))
        pen.fill(ear, shade(color, 0.9), paint=True)
        pen.fill(((side * 0.22, 0.74), (side * 0.215, 0.92), (side * 0.1, 0.83)), NOSE)
    pen.fill_ball(0.0, 0.66, 0.28, 0.23, color, paint=True)
    pen.fill_oval(0.0, 0.585, 0.11, 0.075, shade(CREAM, 1.4))
    pen.fill(((-0.03, 0.62), (0.03, 0.62), (0.0, 0.585)), NOSE)
    draw_eyes(pen, 0.0, 0.7, 0.12, 0.04)
    for side in (-1, 1):
        for rise in (-0.02, 0.04):
            ends = ((side * 0.1, 0.6), (side * 0.34, 0.6 + rise))
            pen.fill_curve(ends, 0.012, shade(CREAM, 1.3))


def draw_dog(pen: VillagePen, color: Color) -> None:
    """A sitting dog in half profile: hanging ears, a long snout, a collar."""
    pen.fill_curve(((0.22, 0.1), (0.4, 0.2), (0.46, 0.36)), 0.07, shade(color, 0.85), paint=True)
    pen.fill_ball(0.06, 0.24, 0.28, 0.27, color, paint=True)
    pen.fill_ball(-0.08, 0.36, 0.19, 0.3, color, paint=True)
    for x in (-0.19, 0.0):
        pen.fill_tube((x, 0.065, 0.03), (x, 0.075, 0.34), shade(color, 1.06), paint=True)
        pen.fill_oval(x - 0.02, 0.04, 0.09, 0.045, shade(color, 1.25), paint=True)
    pen.fill_box(-0.24, 0.5, 0.08, 0.57, (196, 44, 52))
    pen.fill_oval(-0.1, 0.5, 0.03, 0.035, (250, 214, 90))
    pen.fill_ball(-0.06, 0.74, 0.24, 0.22, color, paint=True)
    pen.fill_ball(-0.26, 0.68, 0.17, 0.11, shade(CREAM, 1.2))
    pen.fill_oval(-0.4, 0.72, 0.05, 0.042, EYE)
    pen.fill_oval(-0.16, 0.81, 0.036, 0.046, EYE)
    pen.fill_oval(-0.172, 0.825, 0.012, 0.014, (255, 255, 255))
    pen.fill_oval(0.13, 0.68, 0.09, 0.2, shade(color, 0.6), paint=True)


def draw_bird(pen: VillagePen, color: Color) -> None:
    """A round bird on thin legs, with a wing, a tail and a crest."""
    for x in (-0.06, 0.08):
        pen.fill_curve(((x, 0.2), (x, 0.02), (x - 0.08, 0.0)), 0.028, BEAK)
    pen.fill(((0.2, 0.42), (0.5, 0.64), (0.46, 0.46), (0.3, 0.3)), shade(color, 0.62), paint=True)
    pen.fill_ball(0.02, 0.44, 0.31, 0.29, color, paint=True)
    pen.fill_oval(-0.08, 0.33, 0.17, 0.14, shade(CREAM, 1.3))
    for x in (-0.2, -0.13, -0.06):
        pen.fill_curve(((-0.12, 0.86), (x, 1.0)), 0.03, shade(color, 0.7), paint=True)
    pen.fill_ball(-0.14, 0.74, 0.19, 0.17, color, paint=True)
    pen.fill(((-0.3, 0.79), (-0.49, 0.71), (-0.3, 0.67)), BEAK)
    pen.fill(((-0.3, 0.725), (-0.49, 0.71), (-0.3, 0.67)), shade(BEAK, 0.8))
    pen.fill_oval(-0.19, 0.78, 0.05, 0.055, (255, 255, 255))
    pen.fill_oval(-0.2, 0.78, 0.032, 0.038, EYE)
    pen.fill_ball(0.12, 0.44, 0.19, 0.13, shade(color, 0.8), paint=True)


def draw_snowman(pen: VillagePen, color: Color) -> None:
    """Three balls with a hat, a scarf, buttons, stick arms and a carrot."""
    for side in (-1, 1):
        arm = ((side * 0.2, 0.5), (side * 0.44, 0.62), (side * 0.48, 0.72))
        pen.fill_curve(arm, 0.028, shade(WOOD, 0.8))
    pen.fill_ball(0.0, 0.21, 0.3, 0.22, shade(color, 1.12), paint=True)
    pen.fill_ball(0.0, 0.49, 0.22, 0.18, shade(color, 1.12), paint=True)
    pen.fill_ball(0.0, 0.72, 0.165, 0.145, shade(color, 1.12), paint=True)
    scarf: Color = (58, 140, 130)
    pen.fill_box(-0.15, 0.585, 0.15, 0.645, scarf)
    pen.fill(((0.05, 0.6), (0.14, 0.6), (0.2, 0.4), (0.1, 0.41)), shade(scarf, 0.8))
    for y in (0.5, 0.42, 0.26):
        pen.fill_oval(0.0, y, 0.022, 0.022, EYE)
    draw_eyes(pen, -0.01, 0.76, 0.06, 0.022)
    pen.fill(((-0.02, 0.74), (-0.02, 0.69), (-0.2, 0.7)), BEAK)
    pen.fill_box(-0.2, 0.83, 0.2, 0.87, (54, 48, 62))
    pen.fill_tube((0, 0.13, 0.86), (0, 0.125, 1.04), (74, 66, 84))
    pen.fill_box(-0.13, 0.87, 0.13, 0.91, (196, 44, 52))


def draw_tree(pen: VillagePen, color: Color) -> None:
    """A trunk with two boughs under a crown of shaded balls."""
    pen.fill_tube((0, 0.11, 0.0), (0, 0.06, 0.5), shade(WOOD, 1.05))
    pen.fill_curve(((0.0, 0.34), (0.2, 0.52)), 0.05, WOOD)
    pen.fill_curve(((0.0, 0.3), (-0.18, 0.48)), 0.05, WOOD)
    for x, y, radius, tone in CROWN:
        pen.fill_ball(x, y, radius, 0.86 * radius, shade(color, tone), paint=True)


def draw_flower(pen: VillagePen, color: Color) -> None:
    """A bloom of eight petals on a stem with two leaves."""
    pen.fill_curve(((0.03, 0.0), (0.0, 0.3), (0.0, 0.6)), 0.055, shade(LEAF, 0.85))
    for side, y in ((-1, 0.12), (1, 0.22)):
        leaf = ((0.0, y), (side * 0.16, y + 0.14), (side * 0.4, y + 0.16), (side * 0.2, y + 0.01))
        pen.fill(leaf, shade(LEAF, 0.9 + 0.15 * side))
    for i in range(8):
        angle = math.pi * (i + 0.5) / 4
        x, y = 0.2 * math.cos(angle), 0.68 + 0.2 * math.sin(angle)
        pen.fill_ball(x, y, 0.115, 0.115, shade(color, 1.0 if i % 2 else 0.86), paint=True)
    pen.fill_ball(0.0, 0.68, 0.125, 0.125, (206, 140, 44))


def draw_mushroom(pen: VillagePen, color: Color) -> None:
    """A bulging stem with a ring, gills, and a wide cap."""
    pen.fill_tube((0, 0.2, 0.04), (0, 0.115, 0.5), CREAM)
    pen.fill_oval(0.0, 0.05, 0.2, 0.05, shade(CREAM, 0.85))
    pen.fill(((-0.16, 0.36), (0.16, 0.36), (0.115, 0.43), (-0.115, 0.43)), shade(CREAM, 1.35))
    pen.fill_oval(0.0, 0.5, 0.42, 0.085, shade(color, 0.42))
    pen.fill_oval(0.0, 0.49, 0.3, 0.05, shade(CREAM, 0.72))
    for i in range(7):
        share = i / 6
        lean = -pen.light if pen.mirrored else pen.light
        _fill_cap(pen, 0.12 * share * lean, 0.46 - 0.34 * share, 0.45 - 0.36 * share,
                  0.5 + 0.13 * share, shade(color, 0.7 + 0.55 * share))  # fmt: skip


def _fill_cap(pen: VillagePen, x: float, rx: float, ry: float, y: float, color: Color) -> None:
    """Half of an ellipse, painted: the cap of a mushroom."""
    steps = [math.pi * i / 20 for i in range(21)]
    points = tuple((x + rx * math.cos(a), y + ry * math.sin(a) - 0.02) for a in steps)
    pen.fill(points, color, paint=True)
