"""The tables of carry_over.py: both models beside each other, and the second with its own settings.

Figures of a case are those of `mdp-lite bench edits`: by kind, method and measure, one an edit.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from mdp_lite.eval.edit_tables import ANCHORS, find_lead, join_kinds
from mdp_lite.eval.interval import difference_interval, mean_interval
from mdp_lite.eval.inversion_tables import format_table, to_plain
from mdp_lite.eval.inversions import Sections

MEASURES = ("right", "kept", "both")
HEADS = {"right": "right", "kept": "kept", "both": "right and kept"}
Plain = dict[str, Any]
Figures = dict[str, Sections]  # kind -> method -> measure -> one number an edit


class Retuned(NamedTuple):
    """The setting that each method got on the second model, and the figures by setting."""

    settings: dict[str, str]
    figures: Figures


class Carried(NamedTuple):
    """The settings of both runs, the edits of each kind to tune on, and the tables by case.

    known names the methods whose figures on the first model are from an earlier run, and its file.
    """

    settings: list[Plain]
    tuning: int
    known: Plain | None
    cases: dict[str, Plain]


def compare_models(first: Figures, second: Figures, retuned: Retuned | None) -> Plain:
    """One case: means of all methods of both, their order, who leads, and the retuned settings."""
    wholes = [join_kinds(list(one.values())) for one in (first, second)]
    names = [name for name in wholes[0] if name in wholes[1]]
    wholes = [{name: whole[name] for name in names} for whole in wholes]
    both = [[mean(one[name]["both"]) for name in names if name not in ANCHORS] for one in wholes]
    return {
        "methods": {name: [to_means(one[name]) for one in wholes] for name in names},
        "order": round(correlate_ranks(*both), 3) if len(both[0]) > 1 else None,
        "leads": compare_leads(first, second, wholes),
        "retuned": compare_retuned(second, retuned) if retuned else {},
    }


def compare_leads(first: Figures, second: Figures, wholes: list[Sections]) -> Plain:
    """Over all kinds and in each the best of our methods and of the others, on both models.

    wholes have the methods of all kinds together, by which the best are chosen.
    """
    leads = {"all": [find_lead(whole, whole) for whole in wholes]}
    for kind in (kind for kind in first if kind in second):
        pairs = zip((first[kind], second[kind]), wholes, strict=True)
        leads[kind] = [
            find_lead({name: one[name] for name in whole}, whole) for one, whole in pairs
        ]
    return leads


def compare_retuned(second: Figures, retuned: Retuned) -> Plain:
    """Each method at the first model's setting and at its own: right and kept, and the gain."""
    carried, own = (join_kinds(list(one.values())) for one in (second, retuned.figures))
    return {
        name: {
            "setting": label,
            "carried": to_plain(mean_interval(carried[name]["both"])),
            "retuned": to_plain(mean_interval(own[label]["both"])),
            "gain": to_plain(difference_interval(own[label]["both"], carried[name]["both"])),
        }
        for name, label in retuned.settings.items()
    }


def to_means(figures: dict[str, list[float]]) -> Plain:
    """Means with intervals; rows are those of an edit's UNet calls."""
    names = (*MEASURES, "psnr outside", "rows")
    return {name: to_plain(mean_interval(figures[name])) for name in names if name in figures}


def mean(values: Sequence[float]) -> float:
    """The mean of some numbers."""
    return sum(values) / len(values)


def correlate_ranks(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation of pairs; equal values share the mean of their ranks."""
    ranks = torch.tensor([rank(first), rank(second)], dtype=torch.float64)
    return float(torch.corrcoef(ranks)[0, 1].nan_to_num(0))


def rank(values: Sequence[float]) -> list[float]:
    """The rank of each value, from 0 for the smallest."""
    return [
        sum(other < value for other in values) + (sum(o == value for o in values) - 1) / 2
        for value in values
    ]


def format_page(carried: Carried) -> list[str]:
    """The whole page in Markdown."""
    first, second = carried.settings
    lines = ["# Settings of one model on another", "", *describe_runs(first, second)]
    lines += describe_known(carried.known, first)
    for case, table in carried.cases.items():
        lines += ["", f"## {case}", "", *format_methods(table, first, second)]
        lines += ["", *describe_order(table), "", *format_leads(table, first, second)]
        if table["retuned"]:
            lines += ["", f"Settings chosen anew for {second['model']}, on {carried.tuning} other "
                      "edits of each kind, right and kept:", ""]  # fmt: skip
            lines += format_retuned(table["retuned"])
    return lines


def describe_runs(first: Plain, second: Plain) -> list[str]:
    """What was measured, and on which models."""
    models = f"{first['model']} and, unchanged, on {second['model']}"
    return [
        f"Every method at the settings that were chosen on {first['model']}, on {models}: "
        f"{first['edits']} edits of each kind, {first['steps']} steps, guidance "
        f"{first['guidance']:g} and {second['guidance']:g}, {first['dtype']} and "
        f"{second['dtype']} on {first['device']}, split {first['split']}; means with 95% "
        "intervals (bootstrap over edits).",
        "",
        *(f"- {one['model']}: {one['sha256']}" for one in (first, second)),
    ]


def format_methods(table: Plain, first: Plain, second: Plain) -> list[str]:
    """A line for each method; each measure of both models side by side."""
    models = (first["model"], second["model"])
    heads = [f"{HEADS[name]}, {model}" for name in MEASURES for model in models]
    lines = [["method", *heads]]
    for name, pair in table["methods"].items():
        lines.append([name, *(format_mean(one[m]) for m in MEASURES for one in pair)])
    return format_table(lines)


def describe_order(table: Plain) -> list[str]:
    """How alike both models order the methods by right and kept."""
    if table["order"] is None:
        return []
    return [f"Rank correlation of the methods' shares of right and kept: {table['order']:.2f}."]


def describe_known(known: Plain | None, first: Plain) -> list[str]:
    """Which figures of the first model were not measured in this run."""
    if known is None:
        return []
    names = ", ".join(known["methods"])
    return [f"- {first['model']}: the figures of {names} are those of {known['file']}"]


def format_leads(table: Plain, first: Plain, second: Plain) -> list[str]:
    """Our best method over all kinds against the best rival of each, on both models."""
    lines = [["kind", first["model"], "difference", second["model"], "difference"]]
    for kind, leads in table["leads"].items():
        lines.append([kind, *(text for one in leads for text in format_lead(one))])
    return format_table(lines)


def format_lead(lead: Plain | None) -> tuple[str, str]:
    """Whom a lead compares, and by how much the first is ahead."""
    if not lead:
        return "-", "-"
    return f"{lead['ours']} - {lead['rival']}", format_mean(lead["apart"], sign=True)


def format_retuned(retuned: Plain) -> list[str]:
    """A line for each method that has settings to choose."""
    lines = [["method", "carried over", "its own setting", "retuned", "gain"]]
    for name, one in retuned.items():
        means = [format_mean(one["carried"]), one["setting"], format_mean(one["retuned"])]
        lines.append([name, *means, format_mean(one["gain"], sign=True)])
    return format_table(lines)


def format_mean(one: Plain, sign: bool = False) -> str:
    """A mean with its interval, in two digits."""
    form = "{:+.2f}" if sign else "{:.2f}"
    middle, low, high = (form.format(one[name]) for name in ("mean", "low", "high"))
    return middle if low == high else f"{middle} [{low}, {high}]"
