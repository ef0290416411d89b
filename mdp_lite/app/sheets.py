"""Many edits of one source: a sheet of windows or strengths to choose from, and comparisons."""

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mdp_lite.app.comparisons import run_inversions, run_rivals
from mdp_lite.app.form import EditForm, build_request
from mdp_lite.app.history import describe_form
from mdp_lite.app.results import EditSheet, SheetCell, SheetTable
from mdp_lite.app.rival import Rival
from mdp_lite.app.runs import EDITING, edit_settings
from mdp_lite.app.sessions import Session
from mdp_lite.app.sheet_forecast import count_sheet_rows
from mdp_lite.app.sheet_jobs import CellFacts, OtherEdits, SheetJob, make_cell, naive_cost
from mdp_lite.app.sheet_plans import SheetPlan
from mdp_lite.app.sheet_start import find_start, open_start
from mdp_lite.app.sheet_value import describe_facts
from mdp_lite.app.streaming import OnProgress, RunProgress, stream
from mdp_lite.app.studio import Studio
from mdp_lite.app.wording import say
from mdp_lite.method.execute import build_tree, tree_cost
from mdp_lite.pictures import images
from mdp_lite.pictures.sheets import Table, contact, sheet
from mdp_lite.pipeline.progress import EditState
from mdp_lite.pipeline.result import Cost, add_costs


class Others(NamedTuple):
    """What a comparison has beside the variants: other methods, and names of inversions."""

    rivals: Sequence[Rival] = ()
    inversions: Sequence[str] = ()


NO_OTHERS = Others()


class GridRun(NamedTuple):
    """Edits that were run together: their states, their cost together, and the seconds it took."""

    states: tuple[EditState, ...]
    cost: Cost
    seconds: float

    @property
    def seconds_per_row(self) -> float:
        """How long a UNet row took."""
        return self.seconds / max(1, self.cost.unet_rows)


def make_sheet(
    studio: Studio, session: Session, plan: SheetPlan, kind: str, others: Others = NO_OTHERS
) -> Generator[RunProgress, None, EditSheet]:
    """Edit the source of the shown edit by all forms of a plan, and by other methods beside it.

    Steps that the edits of the plan have in common are computed once.
    """
    start = find_start(session)
    model = studio.menu.get(start.model)
    rows = count_sheet_rows(model.dry_editor, start, plan.forms, *others)

    def work(on_progress: OnProgress) -> EditSheet:
        with studio.take_turn(on_progress, rows, model) as editor:
            last, cost = open_start(editor, session, start, on_progress)
            folder = _make_folder(session, kind)
            job = SheetJob(editor, session, last, folder, on_progress)
            return _add_cost(_make_sheet(job, plan, others), cost)

    session.sheets[kind] = result = yield from stream(work, session.start_run(on_stage=False))
    return result


def _make_folder(session: Session, kind: str) -> Path:
    """A folder for the next sheet of a kind, beside that of the one which the page still shows."""
    shown = session.sheets.get(kind)
    other = shown is not None and shown.source_file.parent.name.startswith(f"{kind}-a")
    return session.make_folder(f"{kind}-b" if other else f"{kind}-a")


def _add_cost(sheet: EditSheet, cost: Cost) -> EditSheet:
    """The sheet with the cost of its source, which had to be made again."""
    if not cost.unet_rows:
        return sheet
    note = say("sheet", "source_again", rows=cost.unet_rows)
    total, naive = (add_costs(one, cost) for one in (sheet.cost, sheet.naive))
    return sheet._replace(cost=total, naive=naive, notes=(note, *sheet.notes))


def _make_sheet(job: SheetJob, plan: SheetPlan, others: Others) -> EditSheet:
    started, source = time.monotonic(), job.last.source
    images.save_png(images.strip_metadata(source.picture), job.source_file, None)
    run = _run_edits(job, plan.forms)
    cells = _make_cells(job, plan.forms, run)
    rivals = run_rivals(job, others.rivals, run.states[0])
    inversions = run_inversions(job, others.inversions)
    table = _add_line(plan, say("sheet", "rivals"), len(cells), rivals)
    cells += rivals.cells
    table = _add_line(table, say("sheet", "inversions"), len(cells), inversions)
    cells += inversions.cells
    naive = naive_cost([one.task for one in run.states])
    return EditSheet(
        job.source_file, tuple(cells), _write_sheet(job.folder, source.picture, cells, table),
        add_costs(run.cost, rivals.cost, inversions.cost),
        add_costs(naive, rivals.naive, inversions.naive), job.last.name,
        (*rivals.notes, *inversions.notes), table, time.monotonic() - started,
    )  # fmt: skip


def _run_edits(job: SheetJob, forms: Sequence[EditForm]) -> GridRun:
    """Run all edits to their ends, with the mask of the last edit: it is not computed again."""
    last, started = job.last, time.monotonic()
    where = "painted" if last.mask else "everywhere"
    requests = [build_request(last.source, replace(one, where=where), last.mask) for one in forms]
    states: tuple[EditState, ...] = ()
    for progress in job.editor.steps(requests):
        job.on_progress(RunProgress(EDITING, progress.done, progress.total))
        states = progress.states
    seconds = time.monotonic() - started
    return GridRun(states, Cost(*tree_cost(build_tree([one.task for one in states]))), seconds)


def _make_cells(job: SheetJob, forms: Sequence[EditForm], run: GridRun) -> list[SheetCell]:
    """Decode the edits and write them."""
    cells = []
    for k, (form, state) in enumerate(zip(forms, run.states, strict=True), 1):
        edit = job.editor.result(state)
        settings = edit_settings(job.editor, job.last.source, edit, form)
        seconds = run.seconds_per_row * edit.cost.unet_rows
        facts = CellFacts(describe_form(form), form, edit.cost, seconds, is_measured=False)
        cells.append(make_cell(job, f"edit-{k:02d}", edit.picture, settings, facts))
        job.on_progress(RunProgress(say("sheet", "decoding"), k, len(forms)))
    return cells


def _add_line(
    table: SheetPlan | SheetTable, label: str, start: int, others: OtherEdits
) -> SheetTable:
    """The table with one more row, of edits that start at this index; without any it stays."""
    count = len(others.cells)
    rows = (*table.rows, label) if count else table.rows
    line = tuple(range(start, start + count))
    lines = (*table.lines, line) if count else table.lines
    return SheetTable(table.title, table.columns, rows, lines)


def _write_sheet(
    folder: Path, source: Image.Image, cells: Sequence[SheetCell], table: SheetTable
) -> Path:
    """Write the source and all cells as one labelled picture."""
    file = folder / "sheet.png"
    images.save_png(_draw_sheet(source, cells, table), file, None)
    return file


def _draw_sheet(source: Image.Image, cells: Sequence[SheetCell], table: SheetTable) -> Image.Image:
    """A table with its heads; edits that are known by their names have labels instead."""
    pictures = [images.open_picture(one.file) for one in cells]
    if table.columns:
        lines = [[None if k is None else pictures[k] for k in line] for line in table.lines]
        rows = list(zip(table.rows, lines, strict=True))
        corner = f"{table.title}. {say('sheet', 'before')}", source
        return contact([Table(corner, list(table.columns), rows)])
    labels = [f"{one.name}: {describe_facts(one)}" for one in cells]
    lines = [[(labels[k], pictures[k]) for k in line if k is not None] for line in table.lines]
    return sheet([[(say("sheet", "before"), source)], *lines])
