"""The figures of inversions as means with intervals, and those as tables for people."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.eval.interval import Interval, difference_interval, mean_interval
from mdp_lite.eval.inversions import GUIDANCES, VARIANTS, Sections, section_name
from mdp_lite.eval.metrics import MIN_ERROR, PEAK
from mdp_lite.eval.resources import ResourceUse

Settings = dict[str, Any]
FormatCell = Callable[[Settings], str]  # from a method's summary to the text of a table's cell
EQUAL = 10 * math.log10(PEAK**2 / MIN_ERROR) - 0.01  # dB of pictures that are equal
REFERENCE = "replay"  # edits are compared with its edits, picture by picture


class InversionFigures(NamedTuple):
    """A method's figures, the section of its default guidance, and the cost of one picture."""

    figures: Sections
    own: str
    one_picture: ResourceUse


def summarize(methods: dict[str, InversionFigures], share: float) -> Settings:
    """For each method all means with their intervals, ready for JSON: NaN is None.

    share is the cost of a backward row in forward rows. "apart" is the paired difference to the
    reference.
    """
    reference = methods.get(REFERENCE)
    return {name: _summarize(one, reference, share) for name, one in methods.items()}


def _summarize(one: InversionFigures, reference: InversionFigures | None, share: float) -> Settings:
    parts: Settings = {"own": one.own, **one.one_picture._asdict()}
    for section, figures in one.figures.items():
        means = {name: to_plain(mean_interval(values)) for name, values in figures.items()}
        if "forward" in figures:
            pairs = zip(figures["forward"], figures["backward"], strict=True)
            means["equivalents"] = to_plain(mean_interval([f + share * b for f, b in pairs]))
        elif reference:
            both = reference.figures[section]["both"]
            means["apart"] = to_plain(difference_interval(figures["both"], both))
        parts[section] = means
    return parts


def to_plain(one: Interval) -> Settings:
    """An interval for JSON, in six digits."""
    return {name: None if math.isnan(v) else float(f"{v:.6g}") for name, v in one._asdict().items()}


def format_tables(data: Settings) -> list[str]:
    """Markdown tables of the command's summary, each after a sentence that explains it."""
    methods, share = data["methods"], data["backward_share"]
    lines = [
        f"{_count(data['pictures'], 'synthetic picture')}, {_count(data['steps'], 'step')}, "
        f"{data['dtype']} on {data['device']}; means with 95% intervals (bootstrap over pictures); "
        "own: at a method's default guidance, from which its edits start",
        "",
        f"Inverting one picture, own guidance; a backward row is {share:.2f} forward rows (FLOPs); "
        f"seconds ({_count(data['threads'], 'thread')}) and memory: median of 3 single pictures:",
        *_format_table(methods, COSTS),
    ]
    for title, columns in (
        ("PSNR in dB of the source to the picture, and to the VAE's own round trip of it:", PSNRS),
        ("Largest error in the latent, of the source's end and of sampling again from the source's "
         "start (anew):", ERRORS),
    ):  # fmt: skip
        lines += ["", title, *_format_table(methods, columns)]
    for variant in VARIANTS:
        title = (
            f"{variant} edits at the authors' window and guidance {data['edit_guidance']:g}: "
            "shares that read as they should, and PSNR in dB to the true answer:"
        )
        lines += ["", title, *_format_table(methods, _score_columns(variant))]
    return lines


def _format_table(methods: Settings, columns: dict[str, FormatCell]) -> list[str]:
    """A line for each method."""
    head = ["method", *columns]
    body = [[name, *(cell(one) for cell in columns.values())] for name, one in methods.items()]
    return format_table([head, *body])


def format_table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Markdown of lines of cells, the first of which is the head; columns are aligned."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(one, widths, strict=True)) + " |"
        for one in ruled
    ]


def _format_mean(form: Callable[[float], str], one: Settings) -> str:
    mean, low, high = (one[name] for name in Interval._fields)
    if mean is None:
        return "-"
    return form(mean) if low == high else f"{form(mean)} [{form(low)}, {form(high)}]"


def _column(section: str | None, name: str, form: Callable[[float], str]) -> FormatCell:
    """The column of a measure in a section; None is the method's default guidance."""

    def format_cell(one: Settings) -> str:
        mean = one[section or one["own"]].get(name)
        return _format_mean(form, mean) if mean else "-"

    return format_cell


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


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _guidance_columns(names: Sequence[str], form: Callable[[float], str]) -> dict[str, FormatCell]:
    """Columns of measures, each at every guidance."""
    sections = {f"g = {g:g}": section_name(g) for g in GUIDANCES} | {"own": None}
    return {
        f"{name}, {head}": _column(section, name, form)
        for name in names
        for head, section in sections.items()
    }


def _score_columns(variant: str) -> dict[str, FormatCell]:
    return {
        "right": _column(variant, "right", _share),
        "kept": _column(variant, "kept", _share),
        "both": _column(variant, "both", _share),
        f"both - {REFERENCE}'s": _column(variant, "apart", lambda value: f"{value:+.2f}"),
        "dB inside": _column(variant, "inside", _db),
        "dB outside": _column(variant, "outside", _db),
        "UNet rows": _column(variant, "rows", _rows),
    }


COSTS: dict[str, FormatCell] = {
    "own guidance": lambda one: one["own"].removeprefix("guidance "),
    "forward rows": _column(None, "forward", _rows),
    "backward rows": _column(None, "backward", _rows),
    "as forward rows": _column(None, "equivalents", _rows),
    "seconds": lambda one: f"{one['seconds']:.2f}",
    "peak memory": _bytes,
}
PSNRS = _guidance_columns(("picture", "vae"), _db)
ERRORS = _guidance_columns(("latent", "anew"), _error)
