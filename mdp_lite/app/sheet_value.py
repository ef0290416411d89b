"""What the component `sheet` shows of a visitor's sheet, as JSON, and its sentences."""

import math

from PIL import Image

from mdp_lite.app.form import EditForm
from mdp_lite.app.results import EditSheet, SheetCell
from mdp_lite.app.sessions import Session
from mdp_lite.app.visit_page import DOWNLOAD, Json
from mdp_lite.app.wording import say
from mdp_lite.cli.units import pluralize


def sheet_value(session: Session, kind: str) -> Json | None:
    """The visitor's sheet of a kind, with the favourites of the visit; None if there is none."""
    sheet = session.sheets.get(kind)
    if sheet is None:
        return None
    table, cells = sheet.table, [_cell_value(session, one) for one in sheet.cells]
    with Image.open(sheet.source_file) as picture:
        ratio = picture.width / picture.height
    return {
        "number": sheet.source_file.parent.name, "title": table.title, "ratio": ratio,
        "columns": [{"label": one} for one in table.columns],
        "rows": [{"label": one} for one in table.rows],
        "cells": [[None if k is None else cells[k] for k in line] for line in table.lines],
        "notes": describe_sheet(sheet), "download": session.url_of(sheet.sheet_file) + DOWNLOAD,
        "favourites": [_cell_value(session, one) for one in session.favourites.list()],
    }  # fmt: skip


def find_cell(session: Session, kind: str, cell_id: object) -> SheetCell | None:
    """A cell of the visitor's sheet, or a favourite; None if it is gone. The id is not trusted."""
    sheet = session.sheets.get(kind)
    cells = sheet.cells if sheet else ()
    found = next((one for one in cells if one.id == cell_id), None)
    return found or session.favourites.find(cell_id)


def describe_sheet(sheet: EditSheet) -> list[str]:
    """What the edits cost together and one by one, and the sheet's notes."""
    rows, seconds = sum(map(count_rows, sheet.cells)), [one.seconds for one in sheet.cells]
    line = say(
        "sheet", "cost", edits=pluralize(len(sheet.cells), "edit"), seconds=f"{sheet.seconds:.1f}",
        rows=pluralize(sheet.cost.unet_rows, "UNet row"),
    )  # fmt: skip
    known = [one for one in seconds if one is not None]
    if len(known) == len(seconds):
        by_one = say("sheet", "cost_each", rows=rows, seconds=f"{sum(known):.1f}")
    else:
        by_one = say("sheet", "cost_each_rows", rows=rows)
    return [f"{line} {by_one}", *sheet.notes]


def describe_facts(cell: SheetCell) -> str:
    """The cost of an edit and how far it is from its source: "70 rows, 0.9 s, 21.3 dB"."""
    facts = [say("sheet", "rows", rows=count_rows(cell))]
    if cell.seconds is not None:
        key = "seconds" if cell.is_measured else "about"
        facts.append(say("sheet", key, seconds=f"{cell.seconds:.1f}"))
    same = math.isinf(cell.psnr)
    distance = say("sheet", "same") if same else say("sheet", "psnr", psnr=f"{cell.psnr:.1f}")
    return ", ".join([*facts, distance])


def count_rows(cell: SheetCell) -> int:
    """The UNet rows of an edit by itself, with those of an inversion that was made for it."""
    return cell.cost.unet_rows + (cell.source_cost.unet_rows if cell.source_cost else 0)


def _cell_value(session: Session, cell: SheetCell) -> Json:
    psnr = None if math.isinf(cell.psnr) else cell.psnr
    return {
        "id": cell.id, "url": session.url_of(cell.file), "label": cell.name,
        "source_url": session.url_of(cell.source_file), "details": _list_details(cell),
        "rows": count_rows(cell), "seconds": cell.seconds, "about": not cell.is_measured,
        "psnr": psnr, "liked": cell.id in session.favourites,
        "loads": cell.form is not None,
    }  # fmt: skip


def _list_details(cell: SheetCell) -> list[str]:
    """Sentences about an edit: its settings, and what it costs by itself."""
    lines = _describe_settings(cell.form) if cell.form else [say("sheet", "other_method")]
    if cell.source_cost:
        key = "cost_source" if cell.seconds is not None else "cost_old_source"
        rows = cell.source_cost.unet_rows
        lines.append(say("sheet", key, source=rows, edit=cell.cost.unet_rows))
        if cell.source_cost.backward_rows:
            lines.append(say("sheet", "backward", rows=cell.source_cost.backward_rows))
    elif not cell.is_measured:
        lines.append(say("sheet", "by_itself"))
    return lines


def _describe_settings(form: EditForm) -> list[str]:
    steering = "by_strength" if form.steer == "strength" else "by_window"
    numbers = {name: f"{getattr(form, name):g}" for name in ("strength", "t_max", "t_m")}
    source = "from_picture" if form.case == "picture" else "from_prompt"
    return [
        say("sheet", "towards", prompt=form.prompt),
        say("sheet", steering, variant=form.variant, schedule=form.schedule, **numbers),
        say("sheet", source, method=form.method, seed=form.seed, steps=form.steps,
            guidance=f"{form.guidance_scale:g}"),
    ]  # fmt: skip
