"""The figures of `mdp-lite bench edits` as means with intervals, and those as Markdown tables."""

import math
from collections.abc import Sequence
from typing import Any

from mdp_lite.eval.edits import KINDS
from mdp_lite.eval.given import CASES
from mdp_lite.eval.interval import Interval, apart, interval
from mdp_lite.eval.inversions import Sections
from mdp_lite.eval.score import Figures

Settings = dict[str, Any]
OURS, ANCHORS = "mdp-", ("no edit", "vae", "regenerate", "truth")
COLUMNS = {  # of the main table: measure -> (head, digits)
    "right": ("right", 2),
    "fields": ("other fields kept", 2),
    "overlap": ("object's overlap", 2),
    "kept": ("kept", 2),
    "both": ("right and kept", 2),
    "psnr inside": ("dB inside", 1),
    "psnr outside": ("dB outside", 1),
    "ssim inside": ("SSIM inside", 3),
    "ssim outside": ("SSIM outside", 3),
    "source": ("dB to the source", 1),
    "rows": ("UNet rows", 0),
    "source rows": ("of its source", 0),
}
EQUAL = 100.0  # dB from which on pictures are equal


def summary(found: dict[str, Sections]) -> Settings:
    """For each case, over all kinds and for each: means with intervals, by method and measure.

    ahead: of our best method over all kinds, and of the best rival of each, the paired difference
    of right and kept.
    """
    told: Settings = {}
    for case in CASES:
        kinds = {kind: found[f"{case} {kind}"] for kind in KINDS if f"{case} {kind}" in found}
        if not kinds:
            continue
        whole = _joined(list(kinds.values()))
        parts = {"all": whole, **kinds}
        told[case] = {name: _means(section) for name, section in parts.items()}
        told[case]["ahead"] = {name: ahead(section, whole) for name, section in parts.items()}
    return {"cases": told}


def ahead(section: Sections, whole: Sections) -> Settings:
    """How far our best of the whole is from the best rival here, by right and kept."""
    both = {name: figures["both"] for name, figures in section.items() if name not in ANCHORS}
    ours = [name for name in both if name.startswith(OURS)]
    rivals = [name for name in both if name not in ours]
    if not ours or not rivals:
        return {}
    best = max(ours, key=lambda name: sum(whole[name]["both"]))
    rival = max(rivals, key=lambda name: sum(both[name]))
    return {"ours": best, "rival": rival, "apart": _plain(apart(both[best], both[rival]))}


def tables(data: Settings) -> list[str]:
    """Markdown: the main table of each case, right and kept by kind, and seconds."""
    count = f"{data['edits']} edits of each kind"
    lines = [
        f"{data['model']}, {data['steps']} steps, guidance {data['guidance']:g}, {data['dtype']} "
        f"on {data['device']}; {count}, split {data['split']} (seeds from "
        f"{data['first_seed']:,}); means with 95% intervals (bootstrap over edits)"
    ]
    for case, parts in data["cases"].items():
        lines += ["", f"{case}, all kinds:", "", *main_table(parts["all"])]
        lines += ["", f"{case}, right and kept by kind:", "", *kind_table(parts)]
        lines += ["", f"{case}, right and kept, our best against the best rival:", ""]
        lines += leads(parts["ahead"])
        lines += ["", f"{case}, seconds of an edit in its batch (no two runs are alike here):", ""]
        lines += clock(parts["all"])
    return lines


def clock(means: Settings) -> list[str]:
    """Seconds of the methods that call the UNet."""
    return [
        f"- {name}: {_form(one['seconds'], 2)}"
        for name, one in means.items()
        if one["rows"]["mean"]
    ]


def main_table(means: Settings) -> list[str]:
    """One row a method, one column a measure that any has."""
    measures = [name for name in COLUMNS if any(name in one for one in means.values())]
    rows = [["method", *(COLUMNS[name][0] for name in measures)]]
    for method, one in means.items():
        cells = [_form(one.get(name), COLUMNS[name][1]) for name in measures]
        rows.append([method, *cells])
    return table(rows)


def kind_table(parts: Settings) -> list[str]:
    """One row a method, one column a kind: right and kept."""
    kinds = [kind for kind in KINDS if kind in parts]
    rows = [["method", *kinds]]
    for method in parts["all"]:
        rows.append([method, *(_form(parts[kind][method]["both"], 2) for kind in kinds)])
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown of rows of which the first is the head, all cells of a column equally wide."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lined = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in lined
    ]


def leads(found: Settings) -> list[str]:
    """Our best against the best rival, over all kinds and for each: the paired difference."""
    return [
        f"- {part}: {one['ours']} - {one['rival']} = {_form(one['apart'], 2, sign=True)}"
        for part, one in found.items()
        if one
    ]


def _joined(sections: Sequence[Sections]) -> Sections:
    """The figures of several kinds one after the other."""
    every: Sections = {}
    for section in sections:
        for method, figures in section.items():
            for name, values in figures.items():
                every.setdefault(method, {}).setdefault(name, []).extend(values)
    return every


def _means(section: Sections) -> Settings:
    return {method: _figures(figures) for method, figures in section.items()}


def _figures(figures: Figures) -> Settings:
    return {name: _plain(interval(values)) for name, values in figures.items()}


def _plain(one: Interval) -> Settings:
    return {name: None if math.isnan(v) else float(f"{v:.6g}") for name, v in one._asdict().items()}


def _form(one: Settings | None, digits: int, sign: bool = False) -> str:
    """A mean with its interval; "-" where there is none."""
    if one is None or one["mean"] is None:
        return "-"
    shown = [_number(one[name], digits, sign) for name in Interval._fields]
    return shown[0] if shown[1] == shown[2] else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _number(value: float, digits: int, sign: bool) -> str:
    if digits == 1 and value >= EQUAL:
        return "equal"
    return f"{value:+.{digits}f}" if sign else f"{value:,.{digits}f}"
