"""The table as a picture: bars of every peer's seconds over those of mdp_lite eager."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.peers.peers import Peer
from benchmarks.peers.table import WORKS, Sections, sections_of

OURS, EXACT, LOSSY = "tab:blue", "tab:gray", "tab:orange"


def draw_work(axes: Axes, figures: Mapping[str, Any], peers: Sequence[Peer], title: str) -> None:
    """Bars of one piece of work, the first peer at the top; whiskers are 95% intervals."""
    rows = [peer for peer in peers if peer.name in figures["sides"]][::-1]
    for y, peer in enumerate(rows):
        side = figures["sides"][peer.name]
        one = side.get("ratio", {"value": 1.0, "low": 1.0, "high": 1.0})
        ends = [[one["value"] - one["low"]], [one["high"] - one["value"]]]
        apart = peer.lossy or not side.get("within", True)
        color = OURS if peer.ours else LOSSY if apart else EXACT
        axes.barh(y, one["value"], color=color, height=0.7)
        axes.errorbar(one["value"], y, xerr=ends, color="black", capsize=2, lw=1)
        axes.text(one["high"], y, f"  {side['p50']:.2f} s", va="center", fontsize=7)
    axes.set_yticks(range(len(rows)), [peer.name for peer in rows], fontsize=7)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_xlim(0, max([1.0, *(_high(figures, peer) for peer in rows)]) * 1.25)
    axes.set_title(title, fontsize=9)
    axes.tick_params("x", labelsize=7)


def _high(figures: Mapping[str, Any], peer: Peer) -> float:
    return figures["sides"][peer.name].get("ratio", {}).get("high", 1.0)


def draw(data: Sections, size: str, peers: Sequence[Peer], title: str, picture: Path) -> None:
    """Write the plot as a PNG."""
    sections = sections_of(data, size)
    columns = 2
    rows = -(-len(sections) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(11, 0.8 + 2.4 * rows), squeeze=False, layout="constrained", dpi=110
    )
    for axes in grid.flat[len(sections) :]:
        axes.set_visible(False)
    for axes, (work, figures) in zip(grid.flat, sections.items(), strict=False):
        draw_work(axes, figures, peers, WORKS[work])
    for name, color in (("mdp_lite", OURS), ("the same work", EXACT), ("not the same work", LOSSY)):
        figure.legends or grid.flat[0].bar(0, 0, color=color, label=name)
    grid.flat[0].legend(fontsize=7)
    figure.suptitle(f"Seconds over those of {peers[0].name}\n{title}", fontsize=10)
    figure.savefig(picture)
    plt.close(figure)
