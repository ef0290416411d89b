"""What `mdp-lite sweep` does: every combination of settings, on one contact sheet."""

import json
from argparse import Namespace
from itertools import groupby, product
from typing import Any

from PIL import Image

from mdp_lite.cli.console import Console, note_cut, source_of
from mdp_lite.cli.reports import describe_edit, report, total
from mdp_lite.editor import Editor, Source
from mdp_lite.pictures.sheets import Table, contact
from mdp_lite.pipeline.request import Request, named
from mdp_lite.pipeline.sweep import Sweep

Settings = dict[str, Any]


def sweep(args: Namespace, editor: Editor, console: Console) -> Made:
    """A contact sheet, every cell's picture, and a line of JSON for every cell."""
    sources = sources_of(args, editor, console)
    note_cut(editor, console, *args.prompt)
    windows = list(product(args.t_max, args.t_m))
    with console.progress("sweep") as on_step:
        made = editor.sweep(
            sources, args.prompt, args.variants, windows, args.schedules, args.guidance_scale,
            args.rows, on_step,
        )  # fmt: skip
    rows = list(told(args, editor, made))
    page = args.output / "sheet.png"
    pictures = {page: (contact(tables(made)), {**rows[0], "cells": len(rows)})}
    for row, one in zip(rows, made.edits, strict=True):
        pictures[args.output / row["file"]] = (one.picture, row)
    truncated = any(one.truncated for one in (*sources, *made.edits))
    spent, naive = total(*(one.cost for one in sources)), made.naive
    done = report(pictures, total(spent, made.cost), truncated)
    costs = {"source": spent._asdict(), "sweep": made.cost._asdict(), "naive": naive._asdict()}
    return done._replace(
        data=done.data | {"cells": len(rows), "costs": costs},
        lines=[
            *done.lines,
            f"{len(rows)} edits: {made.cost.unet_rows} UNet rows in {made.cost.unet_calls} calls; "
            f"each step of each alone: {naive.unet_rows} in {naive.unet_calls}",
            f"all on one sheet: {page}",
        ],
        others=((args.output / "sweep.jsonl", lines_of(rows)),),
    )


def lines_of(rows: list[Settings]) -> bytes:
    """One JSON object a line."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def sources_of(args: Namespace, editor: Editor, console: Console) -> list[Source]:
    """PICTURE's path, or one for each seed."""
    seeds = args.seed or [None]
    return [source_of(Namespace(**vars(args) | {"seed": seed}), editor, console) for seed in seeds]


def told(args: Namespace, editor: Editor, made: Sweep) -> list[Settings]:
    """For each cell its settings, its cost if it were made alone, and its file."""
    rows = []
    for i, (cell, one) in enumerate(zip(made.cells, made.edits, strict=True), 1):
        asked = {"t_max": cell.t_max, "t_m": cell.t_m, "schedule": cell.schedule}
        settings = describe_edit(editor.models.name, cell.source, one, asked)
        rows.append({**settings, "cost_alone": one.cost._asdict(), "file": f"cell-{i:04d}.png"})
    return rows


def tables(made: Sweep) -> list[Table]:
    """One table for each source; the settings that change fastest have the columns."""
    pairs = zip(made.cells, made.edits, strict=True)
    return [
        _table([cell for cell, _ in group], [one.picture for _, one in group])
        for group in (list(g) for _, g in groupby(pairs, lambda pair: id(pair[0].source)))
    ]


def _table(cells: list[Request], pictures: list[Image.Image]) -> Table:
    labels = [_labels(cell) for cell in cells]
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
    fixed = [text for text, count in zip(labels[0], counts, strict=True) if text and count == 1]
    source = cells[0].source
    kind = f"seed {source.seed}" if source.method == "generate" else "picture"
    corner = " | ".join([f"{kind}: {source.prompt}".removesuffix(": "), *fixed])
    return Table((corner, source.picture), columns, list(zip(heads, rows, strict=True)))


def _labels(cell: Request) -> tuple[str, ...]:
    """The settings of a cell for people, in the order in which a sweep changes them."""
    t_max, t_m = ("" if steps is None else f"{steps:g}" for steps in (cell.t_max, cell.t_m))
    window = (f"t_max {t_max}" if t_max else "", f"t_m {t_m}" if t_m else "")
    return (named(cell.prompt), cell.variant or "", *window, cell.schedule or "")
