"""The figures of `mdp-lite bench edits` as means with intervals, and those as Markdown tables."""

from collections.abc import Sequence
from typing import Any

from mdp_lite.eval.edit_batches import CASES
from mdp_lite.eval.interval import LEVEL, Interval, difference_interval, mean_interval
from mdp_lite.eval.inversion_tables import format_table, to_plain
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
    "pixels edit": ("pixels changed right", 2),
    "pixels preservation": ("pixels kept right", 2),
    "pixels overlap": ("their overlap", 2),
    "source": ("dB to the source", 1),
    "rows": ("UNet rows", 0),
    "source rows": ("of its source", 0),
}
NO_KINDS = ("all", "ahead", "pairs")  # what a case holds beside its kinds
EQUAL = 100.0  # dB from which on pictures are equal


def summarize(figures: dict[str, Sections]) -> Settings:
    """For each case, over all kinds and for each: means with intervals, by method and measure.

    "ahead" compares our best method over all kinds with the best rival of each kind: the paired
    difference of right and kept.
    """
    cases: Settings = {}
    for case in CASES:
        kinds = {
            name.removeprefix(f"{case} "): section
            for name, section in figures.items()
            if name.startswith(f"{case} ")
        }
        if not kinds:
            continue
        whole = join_kinds(list(kinds.values()))
        parts = {"all": whole, **kinds}
        cases[case] = {name: _methods_to_means(section) for name, section in parts.items()}
        cases[case]["ahead"] = {name: find_lead(section, whole) for name, section in parts.items()}
        cases[case]["pairs"] = compare_pairs(kinds, whole)
    return {"cases": cases}


def compare_pairs(kinds: dict[str, Sections], whole: Sections) -> Settings:
    """Our best method over all kinds against every other, by kind: paired, right and kept.

    The intervals of single kinds hold for all of them at once (Bonferroni): 99.5% each for ten.
    {} if none of the methods is ours.
    """
    ours = _find_best(whole)
    if ours is None:
        return {}
    parts = {"all": (whole, LEVEL)}
    parts |= {kind: (one, 1 - (1 - LEVEL) / len(kinds)) for kind, one in kinds.items()}
    others = [name for name in whole if name != ours and name not in ANCHORS]
    return {"ours": ours} | {
        other: {
            name: to_plain(difference_interval(one[ours]["both"], one[other]["both"], level))
            for name, (one, level) in parts.items()
        }
        for other in others
    }


def _find_best(whole: Sections) -> str | None:
    """The name of our method that is most often right and kept; None without one."""
    ours = [name for name in whole if name.startswith(OURS)]
    return max(ours, key=lambda name: sum(whole[name]["both"]), default=None)


def find_lead(section: Sections, whole: Sections) -> Settings:
    """The lead of our best method of the whole over the best rival of a section.

    It is measured by right and kept; {} if a section lacks either side.
    """
    both = {name: figures["both"] for name, figures in section.items() if name not in ANCHORS}
    best = _find_best(whole)
    rivals = [name for name in both if not name.startswith(OURS)]
    if best not in both or not rivals:
        return {}
    rival = max(rivals, key=lambda name: sum(both[name]))
    apart = to_plain(difference_interval(both[best], both[rival]))
    return {"ours": best, "rival": rival, "apart": apart}


def format_tables(data: Settings) -> list[str]:
    """Markdown: the main table of each case, right and kept by kind, and seconds."""
    count = f"{data['edits']} edits of each kind"
    lines = [
        f"{data['model']}, {data['steps']} steps, guidance {data['guidance']:g}, {data['dtype']} "
        f"on {data['device']}; {count}, split {data['split']} (seeds from "
        f"{data['first_seed']:,}); means with 95% intervals (bootstrap over edits)"
    ]
    for case, parts in data["cases"].items():
        lines += ["", f"{case}, all kinds:", "", *format_main_table(parts["all"])]
        lines += ["", f"{case}, right and kept by kind:", "", *format_kind_table(parts)]
        lines += ["", f"{case}, right and kept, our best against the best rival:", ""]
        lines += format_leads(parts["ahead"])
        lines += ["", *format_pairs(parts["pairs"])]
        lines += ["", f"{case}, seconds of an edit in its batch (they differ from run to run):", ""]
        lines += format_seconds(parts["all"])
    return lines


def format_seconds(means: Settings) -> list[str]:
    """Seconds of the methods that call the UNet."""
    return [
        f"- {name}: {_format_mean(one['seconds'], 2)}"
        for name, one in means.items()
        if one["rows"]["mean"]
    ]


def format_main_table(means: Settings) -> list[str]:
    """A line for each method, a column for each measure that any method has."""
    measures = [name for name in COLUMNS if any(name in one for one in means.values())]
    lines = [["method", *(COLUMNS[name][0] for name in measures)]]
    for method, one in means.items():
        cells = [_format_mean(one.get(name), COLUMNS[name][1]) for name in measures]
        lines.append([method, *cells])
    return format_table(lines)


def format_kind_table(parts: Settings) -> list[str]:
    """A line for each method, a column for each kind: right and kept."""
    kinds = [name for name in parts if name not in NO_KINDS]
    lines = [["method", *kinds]]
    for method in parts["all"]:
        lines.append([method, *(_format_mean(parts[kind][method]["both"], 2) for kind in kinds)])
    return format_table(lines)


def format_leads(leads: Settings) -> list[str]:
    """Our best against the best rival, over all kinds and for each: the paired difference."""
    return [
        f"- {part}: {one['ours']} - {one['rival']} = {_format_mean(one['apart'], 2, sign=True)}"
        for part, one in leads.items()
        if one
    ]


def format_pairs(pairs: Settings) -> list[str]:
    """Our best method minus each other: a line for each, a column for all kinds and for each."""
    rivals = {name: one for name, one in pairs.items() if name != "ours"}
    if not rivals:
        return []
    columns = list(next(iter(rivals.values())))
    lines = [[f"{pairs['ours']} minus", *columns]]
    for name, one in rivals.items():
        lines.append([name, *(_format_mean(one[part], 2, sign=True) for part in columns)])
    return [
        "paired, right and kept; the intervals of the kinds hold for all kinds at once:", "",
        *format_table(lines),
    ]  # fmt: skip


def join_kinds(sections: Sequence[Sections]) -> Sections:
    """The figures of several kinds one after the other."""
    whole: Sections = {}
    for section in sections:
        for method, figures in section.items():
            for name, values in figures.items():
                whole.setdefault(method, {}).setdefault(name, []).extend(values)
    return whole


def _methods_to_means(section: Sections) -> Settings:
    return {method: _figures_to_means(figures) for method, figures in section.items()}


def _figures_to_means(figures: Figures) -> Settings:
    return {name: to_plain(mean_interval(values)) for name, values in figures.items()}


def _format_mean(one: Settings | None, digits: int, sign: bool = False) -> str:
    """A mean with its interval, or "-"."""
    if one is None or one["mean"] is None:
        return "-"
    mean, low, high = (_format_number(one[name], digits, sign) for name in Interval._fields)
    return mean if low == high else f"{mean} [{low}, {high}]"


def _format_number(value: float, digits: int, sign: bool) -> str:
    if digits == 1 and value >= EQUAL:
        return "equal"
    return f"{value:+.{digits}f}" if sign else f"{value:,.{digits}f}"
