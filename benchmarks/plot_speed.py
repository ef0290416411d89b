"""Plots the results of the suites: `python -m benchmarks.plot_speed [speed.json [speed.png]]`.

Ratios with their intervals, the fraction of the device's limit that steps reach, and how cost grows
with the number of edits. Sections that are not in the file are left out.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

RESULTS = Path(__file__).resolve().parent / "results"
OURS, PEER, NAIVE = "tab:blue", "tab:gray", "tab:orange"
Sections = dict[str, dict[str, Any]]
# The kinds of a comparison, with their colours.
IDENTICAL, DELIVERED = ("same work", "tab:blue"), ("as delivered", "tab:green")


def ratios(data: Sections) -> list[tuple[str, dict[str, float], tuple[str, str]]]:
    """(label, ratio with its interval, kind) of every peer in every section."""
    rows = []
    for section, figures in data.items():
        for name, one in figures.get("ratios", {}).items():
            peer = name.partition(" / ")[0]
            if peer.startswith("mdp_lite") or section.startswith("growth"):
                continue
            rows.append((f"{section}: {peer}", one, kind_of(section, peer)))
    return rows


def kind_of(section: str, peer: str) -> tuple[str, str]:
    """The kind of a comparison: whether both sides did the same work."""
    delivered = section.startswith(("source", "edit", "cold", "warm", "null", "inversion sd"))
    same = "same plan" in peer or section.startswith("cold generate")
    return IDENTICAL if same or (not delivered and "against float32" not in section) else DELIVERED


def draw_ratios(axes: Axes, data: Sections) -> None:
    """Bars: how many times longer each peer takes than mdp_lite's fastest mode."""
    rows = ratios(data)[::-1]
    for y, (_, one, (_, color)) in enumerate(rows):
        ends = [[one["value"] - one["low"]], [one["high"] - one["value"]]]
        axes.barh(y, one["value"], color=color, height=0.7)
        axes.errorbar(one["value"], y, xerr=ends, color="black", capsize=2, lw=1)
        axes.text(one["high"] + 0.06, y, f"{one['value']:.2f}", va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=7)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, max(one["high"] for _, one, _ in rows) * 1.12 if rows else 1)
    axes.set_xlabel("peer's seconds / mdp_lite's (medians, 95% interval)", fontsize=8)
    for name, color in (IDENTICAL, DELIVERED):
        axes.bar(0, 0, color=color, label=name)
    axes.legend(fontsize=7, loc="center right")
    axes.set_title("How many times faster than diffusers", fontsize=10)


def draw_fractions(axes: Axes, data: Sections) -> None:
    """Bars: FLOP/s of a call over the device's limit."""
    rows = [
        (f"{section}: {name}", side["fraction_of_limit"], name)
        for section, figures in data.items()
        for name, side in figures.get("sides", {}).items()
        if "fraction_of_limit" in side
    ][::-1]
    for y, (_, share, name) in enumerate(rows):
        axes.barh(y, share, color=OURS if name.startswith("mdp_lite") else PEER, height=0.7)
        axes.text(share + 0.01, y, f"{share:.0%}", va="center", fontsize=6.5)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=6.5)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, max([1.0, *(share + 0.1 for _, share, _ in rows)]))
    axes.axvline(1, color="black", lw=0.8, ls="--")
    names = {one["name"].partition(",")[0].partition(" in ")[0]
             for f in data.values() for one in f.get("limits", {}).values()}  # fmt: skip
    axes.set_xlabel(f"FLOP/s over the limit ({', '.join(sorted(names))})", fontsize=8)
    axes.set_title("Fraction of the arithmetic limit", fontsize=10)


def draw_growth(axes: Axes, figures: dict[str, Any], title: str) -> None:
    """Lines: median seconds against the number of edits, and the slope of each."""
    for name, rows in figures["seconds"].items():
        points = [sorted(column)[len(column) // 2] for column in zip(*rows, strict=True)]
        slopes = sorted(figures["slopes"][name])
        label = f"{name}: {slopes[len(slopes) // 2]:.2g} s for one more"
        color = OURS if name.startswith("mdp_lite") else NAIVE
        axes.plot(figures["counts"], points, "o-", color=color, ms=4, label=label)
    one = next(ratio for name, ratio in figures["ratios"].items() if name.startswith("slope"))
    spread = (
        f" [{one['low']:.1f}, {one['high']:.1f}]" if one["low"] < one["high"] else ", one round"
    )
    axes.set_title(f"{title}\nslope, naive / mdp_lite: {one['value']:.1f}{spread}", fontsize=10)
    axes.set_xlabel("edits", fontsize=8)
    axes.set_ylabel("seconds", fontsize=8)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8, loc="upper left")


def main(file: Path, picture: Path) -> None:
    """The plot as a PNG; the bars are left out where there is nothing but growth."""
    data: Sections = json.loads(file.read_text("utf-8"))
    bars = max(len(ratios(data)), sum(len(f.get("sides", {})) for f in data.values()
                                      if "limits" in f))  # fmt: skip
    heights = [1.2 + 0.17 * max(bars, 4), 4.0] if bars else [4.0]
    figure = plt.figure(figsize=(15, sum(heights)), dpi=110, layout="constrained")
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    if bars:
        draw_ratios(figure.add_subplot(grid[0, 0]), data)
        draw_fractions(figure.add_subplot(grid[0, 1]), data)
    for column, name in enumerate(("edits", "sweeps")):
        section = next((k for k in data if k.startswith(f"growth of {name}")), None)
        if section:
            title = "Edits of one source, source included" if name == "edits" else "Sweeps, windows"
            draw_growth(figure.add_subplot(grid[-1, column]), data[section], title)
    on = next(iter(data.values()))["machine"]
    where = on.get("gpu", f"{on['cores']} cores of {on['cpu']}")
    figure.suptitle(f"{where}, {on['threads']} threads, torch {on['torch']}", fontsize=11)
    figure.savefig(picture)


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:]]
    main(*paths, *(RESULTS / "speed.json", RESULTS / "speed.png")[len(paths) :])
