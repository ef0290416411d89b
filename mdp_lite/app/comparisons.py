"""Edits of one picture by other methods, and from other inversions, each run by itself."""

import time
from collections.abc import Sequence
from dataclasses import replace

from mdp_lite.app.form import EditForm, build_request
from mdp_lite.app.results import SheetCell
from mdp_lite.app.rival import Rival
from mdp_lite.app.runs import (
    EDITING,
    Borrowed,
    edit_settings,
    get_or_make_source,
    make_source,
    source_key,
)
from mdp_lite.app.sheet_jobs import CellFacts, OtherEdits, SheetJob, make_cell, naive_cost
from mdp_lite.app.streaming import RunProgress
from mdp_lite.app.wording import say
from mdp_lite.names import BadInput
from mdp_lite.pipeline.progress import EditState
from mdp_lite.pipeline.provenance import describe_reads, describe_source
from mdp_lite.pipeline.request import picture_of, xl_of
from mdp_lite.pipeline.result import Cost, Source, add_costs

REPLAY = "replay"
NO_COST = Cost(0, 0)


def run_rivals(job: SheetJob, rivals: Sequence[Rival], state: EditState) -> OtherEdits:
    """Edit by other methods, with the guidance and the mask of an edit by a variant."""
    if not rivals or state.task.guidance.null is None:
        why = say("sheet", "needs_guidance")
        notes = [say("sheet", "left_out", name=one.name, why=why) for one in rivals]
        return OtherEdits([], NO_COST, NO_COST, tuple(notes))
    source, cost = _rival_source(job)
    cells = [_run_rival(job, one, source, state) for one in rivals]
    rows, names = cost.unet_rows, ", ".join(one.name for one in rivals)
    note = say("sheet", "inverted_again", names=names, method=REPLAY, rows=rows)
    naive = add_costs(NO_COST, *(one.cost for one in cells))
    return OtherEdits(cells, add_costs(naive, cost), naive, (note,) if rows else ())


def _rival_source(job: SheetJob) -> tuple[Source, Cost]:
    """A source that every method can follow, and what it cost now.

    A source with noise maps has no DDIM steps to follow, so its picture is inverted again by
    replay, as `mdp-lite bench edits` does for other methods.
    """
    if job.last.source.path.noise is None:
        return job.last.source, NO_COST
    form, picture = replace(job.last.form, method=REPLAY), job.last.source.picture
    model = Borrowed(job.editor, job.last.model)
    source, reused = get_or_make_source(
        model, job.session, form, picture, job.on_progress, job.last.source.mask
    )
    return source, NO_COST if reused else source.cost


def _run_rival(job: SheetJob, rival: Rival, source: Source, state: EditState) -> SheetCell:
    """Edit by one rival."""
    form, editor, started = job.last.form, job.editor, time.monotonic()
    on_call = lambda done, total: job.on_progress(RunProgress(rival.name, done, total))  # noqa: E731
    x, cost = rival.edit(editor, source, form.prompt, state.task.guidance, on_call)
    seconds = time.monotonic() - started
    picture = picture_of(state.request, editor.runner.decode(x))
    settings = describe_source(editor.models.name, source) | {
        "prompt": form.prompt, "source_prompt": source.prompt,
        "guidance_scale": form.guidance_scale, "variant": rival.name, **rival.settings,
        **describe_reads(source.xl, xl_of(state.request)),
    }  # fmt: skip
    facts = CellFacts(rival.name, None, cost, seconds)
    return make_cell(job, rival.name.lower(), picture, settings, facts)


def run_inversions(job: SheetJob, methods: Sequence[str]) -> OtherEdits:
    """The last edit from each of some inversions of its picture; one that can't be is a note."""
    if methods and job.last.form.case != "picture":
        return OtherEdits([], NO_COST, NO_COST, (say("sheet", "no_inversions"),))
    cells, costs, naives, notes = list[SheetCell](), [NO_COST], [NO_COST], list[str]()
    for method in methods:
        try:
            cell, cost, naive = _run_inversion(job, method)
        except BadInput as error:
            notes.append(say("sheet", "left_out", name=method, why=str(error)))
            continue
        cells.append(cell)
        costs.append(cost)
        naives.append(naive)
    return OtherEdits(cells, add_costs(*costs), add_costs(*naives), tuple(notes))


def _run_inversion(job: SheetJob, method: str) -> tuple[SheetCell, Cost, Cost]:
    """The last edit from an inversion: its cell, what it cost now, and what every step costs."""
    last, editor, started = job.last, job.editor, time.monotonic()
    form = replace(last.form, method=method)
    source, reused = _invert(job, form)
    where = "painted" if last.mask else "everywhere"
    request = build_request(source, replace(form, where=where), last.mask)
    state: EditState | None = None
    stage = say("sheet", "editing", method=method, stage=EDITING)
    for progress in editor.steps([request]):
        (state,) = progress.states
        job.on_progress(RunProgress(stage, progress.done, progress.total))
    assert state is not None  # a path has at least one step
    edit = editor.result(state)
    seconds = None if reused else time.monotonic() - started
    settings = edit_settings(editor, source, edit, form)
    facts = CellFacts(method, form, edit.cost, seconds, source_cost=source.cost)
    cell = make_cell(job, f"from-{method}", edit.picture, settings, facts)
    cost = edit.cost if reused else add_costs(source.cost, edit.cost)
    return cell, cost, add_costs(source.cost, naive_cost([state.task]))


def _invert(job: SheetJob, form: EditForm) -> tuple[Source, bool]:
    """The picture's source by the form's method, and whether it was already computed.

    It is not stored: the sources that the visitor's own edits need would make room for it.
    """
    last, method = job.last, form.method
    if method == last.form.method:
        return last.source, True
    picture, mask = last.source.picture, last.source.mask
    stored = job.session.find_source(source_key(job.last.model, form, picture, mask))
    if stored is not None:
        return stored, True
    stage = say("sheet", "inverting", method=method)
    on_step = lambda done, total, x: job.on_progress(RunProgress(stage, done, total))  # noqa: E731
    return make_source(job.editor, form, picture, on_step, mask), False
