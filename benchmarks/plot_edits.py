"""Plots the file of `mdp-lite bench edits -o FILE`: success, preservation and cost.

    python -m benchmarks.plot_edits [FILE] [PICTURE]

A row for each case. Left: the share of edits with the changed fields right against the share that
kept all others. Right: the UNet rows of an edit with its source against the share that did both.
Bars are 95% intervals.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

RESULTS = Path(__file__).parent / "results"
COLOURS = {"mdp": "#1f6fb4", "rival": "#d1662a", "anchor": "#777777"}
ANCHORS = ("no edit", "vae", "regenerate", "truth")
FREE = 10  # UNet rows at which methods without the UNet are plotted


def kind_of(name: str) -> str:
    """The group of a method: "mdp", "rival" or "anchor"."""
    return "anchor" if name in ANCHORS else "mdp" if name.startswith("mdp-") else "rival"


def rows_of(one: dict[str, Any]) -> float:
    """UNet rows of an edit and of its source."""
    return max(FREE, one["rows"]["mean"] + one["source rows"]["mean"])


def scatter(axes: Axes, means: dict[str, Any], across: str, up: str) -> None:
    """A point with bars and its name for each method; across "" is the cost."""
    for name, one in means.items():
        colour, y = COLOURS[kind_of(name)], one[up]
        x = {"mean": rows_of(one)} if not across else one[across]
        bars = {"yerr": _bar(y), **({"xerr": _bar(x)} if across else {})}
        axes.errorbar(
            x["mean"], y["mean"], fmt="o", color=colour, markersize=4, elinewidth=0.7, **bars
        )
        axes.annotate(
            name, (x["mean"], y["mean"]), (4, 3), textcoords="offset points", fontsize=7,
            color=colour,
        )  # fmt: skip
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _bar(one: dict[str, float]) -> list[list[float]]:
    return [[one["mean"] - one["low"]], [one["high"] - one["mean"]]]


def main(file: Path, picture: Path) -> None:
    """The plots as one PNG."""
    data = json.loads(file.read_text("utf-8"))["summary"]
    cases = data["cases"]
    figure, grid = plt.subplots(
        len(cases), 2, figsize=(12, 5 * len(cases)), dpi=120, layout="constrained", squeeze=False
    )
    for (case, parts), (left, right) in zip(cases.items(), grid, strict=True):
        scatter(left, parts["all"], "kept", "right")
        left.set(title=f"{case}: success against preservation")
        left.set(xlabel="all else kept, share", ylabel="changed fields right, share")
        scatter(right, parts["all"], "", "both")
        right.set(title=f"{case}: cost against success", xscale="log")
        right.set(xlabel="UNet rows of an edit and its source", ylabel="right and kept, share")
    count, steps = data["edits"], data["steps"]
    figure.suptitle(f"{count} synthetic edits of each kind, {steps} steps, split {data['split']}")
    figure.savefig(picture)


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:]]
    main(*paths, *(RESULTS / "edits.json", RESULTS / "edits_plot.png")[len(paths) :])
