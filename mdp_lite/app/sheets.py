"""Many edits of one source: a sheet of windows or strengths to choose from, and the variants."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mdp_lite.app.form import EditForm, build_request, check_form
from mdp_lite.app.results import EditSheet, LastEdit, SheetCell
from mdp_lite.app.rival import Rival
from mdp_lite.app.runs import EDITING, Borrowed, edit_settings, get_or_make_source
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import OnProgress, RunProgress, stream
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from mdp_lite.method.execute import build_tree, tree_cost
from mdp_lite.method.plan import naive_plan
from mdp_lite.names import VARIANTS, BadInput
from mdp_lite.pictures import images
from mdp_lite.pictures.sheets import sheet
from mdp_lite.pipeline.progress import EditState
from mdp_lite.pipeline.provenance import describe_reads, describe_source
from mdp_lite.pipeline.request import picture_of, xl_of
from mdp_lite.pipeline.result import Cost, Source, add_costs

MAX_CELLS, MAX_COLUMNS = 40, 8
REPLAY = "replay"


class SheetJob(NamedTuple):
    """What a sheet is made from: the editor, the visitor, the last edit, and where files go."""

    editor: Editor
    session: Session
    last: LastEdit
    folder: Path
    on_progress: OnProgress


class RivalEdits(NamedTuple):
    """Edits by other methods, the cost of inverting the picture again for them, and notes."""

    cells: list[SheetCell]
    inversion_cost: Cost
    notes: tuple[str, ...]


def window_forms(form: EditForm, variants: Sequence[str], t_max: str, t_m: str) -> list[EditForm]:
    """Every variant with every window whose edges are listed, as "44, 47, 50"."""
    pairs = list(product(read_numbers("t_max", t_max), read_numbers("t_m", t_m)))
    windows = [(high, wide) for high, wide in pairs if wide <= high]
    if not windows:
        raise BadInput("at least one t_m must be at most a t_max, got none")
    return _check_forms([
        replace(form, variant=variant, steer="window", t_max=high, t_m=wide)
        for variant in variants for high, wide in windows
    ])  # fmt: skip


def strength_forms(form: EditForm, variants: Sequence[str], count: int) -> list[EditForm]:
    """Every variant with so many strengths, evenly from 0 (the source) to 1 (the prompt alone)."""
    if not 2 <= count <= MAX_COLUMNS:
        raise BadInput(f"strengths must be 2 to {MAX_COLUMNS}, got {count}")
    return _check_forms([
        replace(form, variant=variant, steer="strength", strength=round(k / (count - 1), 4))
        for variant in variants for k in range(count)
    ])  # fmt: skip


def variant_forms(form: EditForm) -> list[EditForm]:
    """The form with each of the variants."""
    return _check_forms([replace(form, variant=variant) for variant in VARIANTS])


def read_numbers(name: str, text: str) -> list[float]:
    """Numbers between commas, without repeats."""
    try:
        numbers = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BadInput(f"{name} must be numbers like 44, 47, 50, got {text!r:.80}") from None
    if not numbers:
        raise BadInput(f"{name} must be at least one number, got none")
    return list(dict.fromkeys(numbers))


def last_edit(session: Session) -> LastEdit:
    """The visitor's last edit. Raises BadInput if there is none."""
    if session.last is None:
        raise BadInput("edit a picture first: its source is what this page starts from")
    return session.last


def make_sheet(
    studio: Studio, session: Session, forms: Sequence[EditForm], kind: str,
    rivals: Sequence[Rival] = (),
) -> Generator[RunProgress, None, EditSheet]:  # fmt: skip
    """Edit the last edit's source by all forms, and by rivals with the first form's prompt.

    Steps that the edits have in common are computed once.
    """
    last = last_edit(session)

    def work(on_progress: OnProgress) -> EditSheet:
        with studio.take_turn(on_progress, 0, studio.menu.get(last.model)) as editor:
            states = _run_edits(editor, last, forms, on_progress)
            job = SheetJob(editor, session, last, session.make_folder(kind), on_progress)
            cells = _make_cells(job, forms, states)
            return _build_sheet(job, states, cells, _run_rivals(job, rivals, states[0]))

    session.sheets.pop(kind, None)  # its files are about to be deleted
    session.sheets[kind] = result = yield from stream(work, session.start_run())
    return result


def _run_edits(
    editor: Editor, last: LastEdit, forms: Sequence[EditForm], on_progress: OnProgress
) -> tuple[EditState, ...]:
    """Run all edits to their ends, with the mask of the last edit: it is not computed again."""
    where = "painted" if last.mask else "everywhere"
    requests = [build_request(last.source, replace(one, where=where), last.mask) for one in forms]
    states: tuple[EditState, ...] = ()
    for progress in editor.steps(requests):
        on_progress(RunProgress(EDITING, progress.done, progress.total))
        states = progress.states
    return states


def _make_cells(
    job: SheetJob, forms: Sequence[EditForm], states: Sequence[EditState]
) -> list[SheetCell]:
    """Decode the edits and write them."""
    cells = []
    for k, (form, state) in enumerate(zip(forms, states, strict=True), 1):
        edit = job.editor.result(state)
        settings = edit_settings(job.editor, job.last.source, edit, form)
        file = job.folder / f"edit-{k:02d}.png"
        cells.append(_make_cell(job, caption(form), form, file, edit.picture, settings, edit.cost))
        job.on_progress(RunProgress("Decoding", k, len(forms)))
    return cells


def _run_rivals(job: SheetJob, rivals: Sequence[Rival], state: EditState) -> RivalEdits:
    """Edit by the rivals, with the guidance and the mask of an edit by a variant."""
    if not rivals or state.task.guidance.null is None:
        skipped = [f"{one.name} is left out: it needs guidance other than 1." for one in rivals]
        return RivalEdits([], Cost(0, 0), tuple(skipped))
    source, cost = _rival_source(job)
    cells = [_run_rival(job, one, source, state) for one in rivals]
    rows, names = cost.unet_rows, ", ".join(one.name for one in rivals)
    notes = (f"For {names} the picture was inverted again, by {REPLAY}: {rows} UNet rows.",)
    return RivalEdits(cells, cost, notes if rows else ())


def _rival_source(job: SheetJob) -> tuple[Source, Cost]:
    """A source that every method can follow, and what it cost now.

    A source with noise maps has no DDIM steps to follow, so its picture is inverted again by
    replay, as `mdp-lite bench edits` does for other methods.
    """
    if job.last.source.path.noise is None:
        return job.last.source, Cost(0, 0)
    form, picture = replace(job.last.form, method=REPLAY), job.last.source.picture
    source, reused = get_or_make_source(
        Borrowed(job.editor, job.last.model),
        job.session,
        form,
        picture,
        job.on_progress,
        job.last.source.mask,
    )
    return source, Cost(0, 0) if reused else source.cost


def _run_rival(job: SheetJob, rival: Rival, source: Source, state: EditState) -> SheetCell:
    """Edit by one rival."""
    form, editor = job.last.form, job.editor
    on_call = lambda done, total: job.on_progress(RunProgress(rival.name, done, total))  # noqa: E731
    x, cost = rival.edit(editor, source, form.prompt, state.task.guidance, on_call)
    picture = picture_of(state.request, editor.runner.decode(x))
    settings = describe_source(editor.models.name, source) | {
        "prompt": form.prompt, "source_prompt": source.prompt,
        "guidance_scale": form.guidance_scale, "variant": rival.name, **rival.settings,
        **describe_reads(source.xl, xl_of(state.request)),
    }  # fmt: skip
    file = job.folder / f"{rival.name.lower()}.png"
    return _make_cell(job, rival.name, None, file, picture, settings, cost)


def _make_cell(
    job: SheetJob, name: str, form: EditForm | None, file: Path, picture: Image.Image,
    settings: dict[str, Any], cost: Cost,
) -> SheetCell:  # fmt: skip
    images.save_png(picture, file, settings)
    return SheetCell(name, form, file, images.psnr(picture, job.last.source.picture), cost)


def _build_sheet(
    job: SheetJob, states: Sequence[EditState], cells: list[SheetCell], rivals: RivalEdits
) -> EditSheet:
    source_file, source = job.folder / "source.png", job.last.source
    tasks = [one.task for one in states]
    images.save_png(images.strip_metadata(source.picture), source_file, None)
    every, others = (*cells, *rivals.cells), [one.cost for one in rivals.cells]
    plans = [naive_plan(task.weights, task.guidance.null is not None) for task in tasks]
    naive = add_costs(*others, *(Cost(one.unet_rows, one.unet_calls) for one in plans))
    cost = add_costs(Cost(*tree_cost(build_tree(tasks))), *others, rivals.inversion_cost)
    sheet_file = _write_sheet(job.folder, source, every)
    return EditSheet(source_file, every, sheet_file, cost, naive, job.last.name, rivals.notes)


def _write_sheet(folder: Path, source: Source, cells: Sequence[SheetCell]) -> Path:
    """Write the source and all cells as one labelled picture."""
    pictures = [("source", source.picture)]
    pictures += [(cell.name, images.open_picture(cell.file)) for cell in cells]
    lines = [pictures[k : k + MAX_COLUMNS] for k in range(0, len(pictures), MAX_COLUMNS)]
    file = folder / "sheet.png"
    images.save_png(sheet(lines), file, None)
    return file


def caption(form: EditForm) -> str:
    """The caption of a cell, such as "x, strength 0.5"."""
    if form.steer == "strength":
        return f"{form.variant}, strength {form.strength:g}"
    return f"{form.variant}, t_max {form.t_max:g}, t_m {form.t_m:g}"


def _check_forms(forms: list[EditForm]) -> list[EditForm]:
    if not forms:
        raise BadInput("choose at least one variant")
    if len(forms) > MAX_CELLS:
        raise BadInput(f"a sheet must have at most {MAX_CELLS} cells, got {len(forms)}")
    return [check_form(form) for form in forms]
