"""The figures of inversions as means with intervals, and those as tables for people."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.eval.interval import Interval, apart, interval
from mdp_lite.eval.inversions import GUIDANCES, VARIANTS, Sections, section
from mdp_lite.eval.metrics import LEAST, PEAK
from mdp_lite.eval.resources import Taken

Settings = dict[str, Any]
Cell = Callable[[Settings], str]  # from a method's summary to what its row says
EQUAL = 10 * math.log10(PEAK**2 / LEAST) - 0.01  # dB of pictures that are equal
REFERENCE = "replay"  # what edits are compared with, picture by picture


class Measured(NamedTuple):
    """A method's figures, the section of its own guidance, and what one picture alone takes."""

    figures: Sections
    own: str
    alone: Taken


def summary(found: dict[str, Measured], share: float) -> Settings:
    """For each method all means with their intervals, as JSON holds them; NaN is None.

    share is what a backward row counts; apart is the paired difference to the reference.
    """
    return {name: _summary(one, found.get(REFERENCE), share) for name, one in found.items()}


def _summary(one: Measured, reference: Measured | None, share: float) -> Settings:
    parts: Settings = {"own": one.own, **one.alone._asdict()}
    for part, figures in one.figures.items():
        parts[part] = {name: _plain(interval(values)) for name, values in figures.items()}
        if "forward" in figures:
            pairs = zip(figures["forward"], figures["backward"], strict=True)
            parts[part]["equivalents"] = _plain(interval([f + share * b for f, b in pairs]))
        elif reference:
            both = reference.figures[part]["both"]
            parts[part]["apart"] = _plain(apart(figures["both"], both))
    return parts


def _plain(one: Interval) -> Settings:
    return {name: None if math.isnan(v) else float(f"{v:.6g}") for name, v in one._asdict().items()}


def tables(data: Settings) -> list[str]:
    """Markdown tables of what the command measured, and a sentence on how to read each."""
    methods, share = data["methods"], data["backward_share"]
    lines = [
        f"{_counted(data['pictures'], 'drawn picture')}, {_counted(data['steps'], 'step')}, "
        f"{data['dtype']} on {data['device']}; means with 95% intervals (bootstrap over pictures); "
        "own: at a method's own guidance, which its edits start from",
        "",
        f"Inverting one picture, own guidance; a backward row is {share:.2f} forward rows (FLOPs); "
        f"seconds ({_counted(data['threads'], 'thread')}) and memory: median of 3 single pictures:",
        *_table(methods, COSTS),
    ]
    for told, columns in (
        ("PSNR in dB of the source to the picture, and to the VAE's own round trip of it:", PSNRS),
        ("Largest error in the latent, of the source's end and of the model's own (anew), which "
         "samples from the source's start:", ERRORS),
    ):  # fmt: skip
        lines += ["", told, *_table(methods, columns)]
    for variant in VARIANTS:
        told = (
            f"{variant} edits at the authors' window and guidance {data['edit_guidance']:g}: "
            "shares that read as they should, and PSNR in dB to the true answer:"
        )
        lines += ["", told, *_table(methods, _scores(variant))]
    return lines


def _table(methods: Settings, columns: dict[str, Cell]) -> list[str]:
    """One row a method, all cells of a column equally wide."""
    rows = [["method", *columns], *([name, *(cell(one) for cell in columns.values())]
                                    for name, one in methods.items())]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]


def _told(form: Callable[[float], str], one: Settings) -> str:
    mean, low, high = (one[name] for name in Interval._fields)
    if mean is None:
        return "-"
    return form(mean) if low == high else f"{form(mean)} [{form(low)}, {form(high)}]"


def _at(part: str | None, name: str, form: Callable[[float], str]) -> Cell:
    """The column of a measure in a section; None is the method's own guidance."""

    def tell(one: Settings) -> str:
        found = one[part or one["own"]].get(name)
        return _told(form, found) if found else "-"

    return tell


def _bytes(one: Settings) -> str:
    return "-" if one["peak_bytes"] is None else format_count(one["peak_bytes"], SIZES)


def _rows(value: float) -> str:
    return f"{value:,.0f}"


def _db(value: float) -> str:
    return "equal" if value >= EQUAL else f"{value:.1f}"


def _error(value: float) -> str:
    return f"{value:.1e}"


def _share(value: float) -> str:
    return f"{value:.2f}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _over(names: Sequence[str], form: Callable[[float], str]) -> dict[str, Cell]:
    """Columns of measures, each at every guidance."""
    at = {f"g = {g:g}": section(g) for g in GUIDANCES} | {"own": None}
    return {f"{name}, {head}": _at(part, name, form) for name in names for head, part in at.items()}


def _scores(variant: str) -> dict[str, Cell]:
    return {
        "right": _at(variant, "right", _share),
        "kept": _at(variant, "kept", _share),
        "both": _at(variant, "both", _share),
        f"both - {REFERENCE}'s": _at(variant, "apart", lambda value: f"{value:+.2f}"),
        "dB inside": _at(variant, "inside", _db),
        "dB outside": _at(variant, "outside", _db),
        "UNet rows": _at(variant, "rows", _rows),
    }


COSTS: dict[str, Cell] = {
    "own guidance": lambda one: one["own"].removeprefix("guidance "),
    "forward rows": _at(None, "forward", _rows),
    "backward rows": _at(None, "backward", _rows),
    "as forward rows": _at(None, "equivalents", _rows),
    "seconds": lambda one: f"{one['seconds']:.2f}",
    "peak memory": _bytes,
}
PSNRS = _over(("picture", "vae"), _db)
ERRORS = _over(("latent", "anew"), _error)
