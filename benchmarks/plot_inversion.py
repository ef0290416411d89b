"""Plots the file of `mdp-lite bench inversion -o FILE`: cost against reconstruction and edits.

    python -m benchmarks.plot_inversion [FILE] [PICTURE]

Left: PSNR of the rebuilt picture; methods that repeat the edit's guidance are at 7.5 there, the
others at their own. Right: the share of edits that are right and keep the rest. Bars are 95%
intervals; a backward row counts by its FLOPs; equal costs are plotted a little apart.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.patheffects import withStroke  # noqa: E402
from matplotlib.text import Annotation  # noqa: E402
from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: E402
from matplotlib.transforms import Bbox  # noqa: E402

RESULTS = Path(__file__).parent / "results"
TICKS = (50, 100, 200, 500, 1000, 2000)
NEAR = 7
LINE = {"arrowstyle": "-", "linewidth": 0.6, "color": "#999999", "shrinkA": 0, "shrinkB": 4}
Offset = tuple[float, float, str, str]
# Where a label may go: offset in points from its point, and how it is aligned there.
OFFSETS: list[Offset] = [
    (dx, dy, ha, va)
    for far in (NEAR, 14, 24, 34)
    for dx, dy, ha, va in (
        (far, 0, "left", "center"), (0, far, "center", "bottom"), (0, -far, "center", "top"),
        (-far, 0, "right", "center"), (far, far, "left", "bottom"), (far, -far, "left", "top"),
        (-far, far, "right", "bottom"), (-far, -far, "right", "top"),
    )
]  # fmt: skip


class Point(NamedTuple):
    """A method: its cost in forward rows, and its mean with the ends of the interval."""

    name: str
    cost: float
    mean: float
    low: float
    high: float


def reconstruction_points(data: dict[str, Any]) -> list[Point]:
    """PSNR to the picture; methods that repeat the edit's guidance are at the papers' 7.5."""
    repeated = f"guidance {data['edit_guidance']:g}"
    parts = {
        name: one["guidance 7.5"] if one["own"] == repeated else one[one["own"]]
        for name, one in data["methods"].items()
    }
    return [_point(name, part, part["picture"]) for name, part in parts.items()]


def edit_points(data: dict[str, Any], variant: str = "epsilon") -> list[Point]:
    """Edits that are right and keep the rest."""
    every = data["methods"].items()
    return [_point(name, one[one["own"]], one[variant]["both"]) for name, one in every]


def _point(name: str, part: dict[str, Any], y: dict[str, float]) -> Point:
    return Point(name, part["equivalents"]["mean"], y["mean"], y["low"], y["high"])


def draw(axes: Axes, points: list[Point], title: str, label: str) -> None:
    """Points with bars and names, cost on a logarithmic axis."""
    axes.set_title(title, fontsize=11)
    axes.set(
        xscale="log", xlabel="cost of the inversion, in forward rows of the UNet", ylabel=label
    )
    axes.set_xlim(min(p.cost for p in points) / 1.6, max(p.cost for p in points) * 2.4)
    lowest, highest = min(p.low for p in points), max(p.high for p in points)
    margin = 0.18 * (highest - lowest)
    axes.set_ylim(lowest - margin, highest + margin)
    axes.set_xticks([tick for tick in TICKS if axes.get_xlim()[0] < tick < axes.get_xlim()[1]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    colours = plt.get_cmap("tab10")
    for k, p in enumerate(points):
        bar = [[p.mean - p.low], [p.high - p.mean]]
        axes.errorbar(p.cost, p.mean, bar, fmt="o", color=colours(k), markersize=6, capsize=2.5)
    _write_names(axes, points)


def _write_names(axes: Axes, points: list[Point]) -> None:
    """Write each name where it covers no point, bar or name, or else no point and no name."""
    figure = axes.figure
    figure.canvas.draw()
    inside = axes.get_window_extent()
    names: list[Bbox] = []
    bars, dots = ([_mark(axes, p, whole) for p in points] for whole in (True, False))
    tries = [(offset, marks) for marks in (bars, dots) for offset in OFFSETS]
    for k, p in sorted(enumerate(points), key=lambda pair: pair[1].cost):
        for offset, marks in tries:
            text = _write_name(axes, p, k, offset)
            box = text.get_window_extent().padded(1.5)
            text.remove()
            free = not any(box.overlaps(other) for other in (*names, *marks))
            if free and inside.contains(*box.min) and inside.contains(*box.max):
                names.append(box)
                _write_name(axes, p, k, offset, LINE if max(map(abs, offset[:2])) > NEAR else None)
                break


def _write_name(axes: Axes, p: Point, k: int, offset: Offset, line: Any = None) -> Annotation:
    """Write a name at an offset from its point, with a line to the point if it is not near."""
    dx, dy, ha, va = offset
    return axes.annotate(
        p.name, (p.cost, p.mean), (dx, dy), textcoords="offset points", ha=ha, va=va,
        fontsize=8.5, color=plt.get_cmap("tab10")(k), arrowprops=line,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )  # fmt: skip


def _mark(axes: Axes, p: Point, whole: bool) -> Bbox:
    """What a point covers, with its bar as a whole."""
    ends = (p.low, p.high) if whole else (p.mean, p.mean)
    (x, low), (_, high) = axes.transData.transform([(p.cost, y) for y in ends])
    return Bbox([[x - 5, low - 5], [x + 5, high + 5]])


def spread_out(points: list[Point]) -> list[Point]:
    """The same points; those of equal cost are moved a little apart."""
    costs = [p.cost for p in points]
    before = [costs[:k].count(cost) for k, cost in enumerate(costs)]
    return [p._replace(cost=p.cost * 1.06**k) for p, k in zip(points, before, strict=True)]


def main(file: Path, picture: Path) -> None:
    """The plot as a PNG."""
    data = json.loads(file.read_text("utf-8"))["summary"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), dpi=120, layout="constrained")
    count, g = data["pictures"], data["edit_guidance"]
    title = "Reconstruction (methods that share the edit's guidance: at 7.5)"
    draw(left, spread_out(reconstruction_points(data)), title, "PSNR to the picture, dB")
    title = f"Epsilon edits at guidance {g:g}"
    draw(right, spread_out(edit_points(data)), title, "right and all else kept, share")
    figure.suptitle(f"Inversions on {count} synthetic pictures, {data['steps']} steps", fontsize=12)
    figure.savefig(picture)


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:]]
    main(*paths, *(RESULTS / "inversion.json", RESULTS / "inversion.png")[len(paths) :])
