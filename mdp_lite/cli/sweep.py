"""`mdp-lite sweep`: every combination of settings, on one contact sheet."""

import json
from itertools import groupby, product

from PIL import Image

from mdp_lite.cli.commands.sweep import SweepOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.reports import Pictures, Report, build_report
from mdp_lite.cli.requests import read_xl_options
from mdp_lite.cli.sources import choose_source, log_truncation
from mdp_lite.cli.units import pluralize
from mdp_lite.editor import Editor, Source
from mdp_lite.pictures.sheets import Table, contact
from mdp_lite.pipeline.provenance import Settings, describe_edit, describe_reuse
from mdp_lite.pipeline.request import Request, format_prompt
from mdp_lite.pipeline.result import Cost, add_costs
from mdp_lite.pipeline.sweep import Sweep


def make_sweep(args: SweepOptions, editor: Editor, console: Console) -> Report:
    """A contact sheet, the picture of every cell, and a line of JSON for every cell."""
    sources = choose_sources(args, editor, console)
    log_truncation(editor, console, *args.prompt)
    grid = args.grid
    windows = list(product(grid.t_max or (None,), grid.t_m or (None,)))
    with console.progress("sweep") as on_step:
        sweep = editor.sweep(
            sources, args.prompt, grid.variants or (None,), windows, grid.schedules or (None,),
            args.sampling.guidance_scale, args.rows, on_step,
            read_xl_options(args.sampling.xl, args.sampling.xl.prompt_2), grid.guidance_every,
        )  # fmt: skip
    records = describe_cells(editor.models.name, sweep)
    page = args.output / "sheet.png"
    sheet = contact(build_tables(sweep))
    pictures: Pictures = {page: (sheet, {**records[0], "cells": len(records)})}
    for record, one in zip(records, sweep.edits, strict=True):
        pictures[args.output / record["file"]] = (one.picture, record)
    truncated = any(one.truncated for one in (*sources, *sweep.edits))
    spent = add_costs(*(one.cost for one in sources))
    report = build_report(pictures, add_costs(spent, sweep.cost), truncated)
    report = _add_costs(report, spent, sweep)
    content = to_json_lines(records)
    return report._replace(
        lines=[*report.lines, f"all on one sheet: {page}"],
        others=((args.output / "sweep.jsonl", content),),
    )


def choose_sources(args: SweepOptions, editor: Editor, console: Console) -> list[Source]:
    """The source of PICTURE, or one for each seed."""
    seeds: tuple[int | None, ...] = args.seed or (None,)
    return [choose_source(args, editor, console, seed) for seed in seeds]


def describe_cells(model: str, sweep: Sweep) -> list[Settings]:
    """For each cell its settings, what it would cost without the others, and its file."""
    records = []
    for i, (cell, one) in enumerate(zip(sweep.cells, sweep.edits, strict=True), 1):
        window = {"t_max": cell.t_max, "t_m": cell.t_m, "schedule": cell.schedule}
        window |= describe_reuse(cell.guidance_every)
        settings = describe_edit(model, cell.source, one, window)
        records.append({**settings, "cost_alone": one.cost._asdict(), "file": f"cell-{i:04d}.png"})
    return records


def to_json_lines(records: list[Settings]) -> bytes:
    """One JSON object a line."""
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def build_tables(sweep: Sweep) -> list[Table]:
    """One table for each source; the settings that change fastest are the columns."""
    pairs = zip(sweep.cells, sweep.edits, strict=True)
    return [
        _build_table([cell for cell, _ in group], [one.picture for _, one in group])
        for group in (list(g) for _, g in groupby(pairs, lambda pair: id(pair[0].source)))
    ]


def _add_costs(report: Report, spent: Cost, sweep: Sweep) -> Report:
    """The report with the cost of the sources, of the sweep, and of each cell by itself."""
    cost, naive, count = sweep.cost, sweep.naive, len(sweep.cells)
    costs = {"source": spent._asdict(), "sweep": cost._asdict(), "naive": naive._asdict()}
    line = (
        f"{pluralize(count, 'edit')}: {pluralize(cost.unet_rows, 'UNet row')} in "
        f"{pluralize(cost.unet_calls, 'call')}; each step of each edit by itself: "
        f"{naive.unet_rows:,} in {naive.unet_calls:,}"
    )
    data = report.data | {"cells": count, "costs": costs}
    return report._replace(data=data, lines=[*report.lines, line])


def _build_table(cells: list[Request], pictures: list[Image.Image]) -> Table:
    labels = [_label_settings(cell) for cell in cells]
    counts = [len({label[k] for label in labels}) for k in range(len(labels[0]))]
    down = [k for k, count in enumerate(counts) if count > 1]
    across: list[int] = []
    width = 1
    while down and width**2 < len(cells):  # about as wide as high
        across.insert(0, down.pop())
        width *= counts[across[0]]
    heads, columns = (
        [", ".join(label[k] for k in part) for label in some]
        for part, some in ((down, labels[::width]), (across, labels[:width]))
    )
    rows = [pictures[i : i + width] for i in range(0, len(pictures), width)]
    common = [text for text, count in zip(labels[0], counts, strict=True) if text and count == 1]
    source = cells[0].source
    kind = f"seed {source.seed}" if source.generated else "picture"
    corner = " | ".join([f"{kind}: {source.prompt}".removesuffix(": "), *common])
    return Table((corner, source.picture), columns, list(zip(heads, rows, strict=True)))


def _label_settings(cell: Request) -> tuple[str, ...]:
    """The settings of a cell for people, in the order in which a sweep changes them."""
    t_max, t_m = ("" if steps is None else f"{steps:g}" for steps in (cell.t_max, cell.t_m))
    window = (f"t_max {t_max}" if t_max else "", f"t_m {t_m}" if t_m else "")
    return (format_prompt(cell.prompt), cell.variant or "", *window, cell.schedule or "")
