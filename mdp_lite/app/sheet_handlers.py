"""What happens in the folds Explore and Compare, which make many edits of one source."""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import gradio as gr

from mdp_lite.app import markup
from mdp_lite.app.fields import Update
from mdp_lite.app.form import EditForm
from mdp_lite.app.handlers import show_errors
from mdp_lite.app.history import describe_form
from mdp_lite.app.results import EditSheet, SheetCell
from mdp_lite.app.sessions import Session
from mdp_lite.app.sheet_plans import (
    SheetPlan,
    plan_strengths,
    plan_variants,
    plan_windows,
    suggest_windows,
)
from mdp_lite.app.sheet_start import find_start
from mdp_lite.app.sheet_value import find_cell, sheet_value
from mdp_lite.app.sheets import NO_OTHERS, Others, make_sheet
from mdp_lite.app.streaming import WAITING, RunProgress, StoppedByVisitor
from mdp_lite.app.studio import Studio
from mdp_lite.app.turns import TooManyWaiting
from mdp_lite.app.wiring import find_session
from mdp_lite.app.wording import say
from mdp_lite.cli.units import pluralize
from mdp_lite.names import BadInput, Stopped

EXPLORE, COMPARE = KINDS = "explore", "compare"
LoadCell = Callable[[Session, SheetCell], list[Update]]  # sets the page to the settings of an edit
Choose = Callable[[EditForm], tuple[SheetPlan, Others]]
log = logging.getLogger("mdp_lite.app")


class SheetHandlers:
    """The functions of both folds, and of the named endpoints that do the same."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def explore(
        self, by: str, variants: list[str], t_max: str, t_m: str, count: int, request: gr.Request
    ) -> Iterator[list[Update]]:
        """A sheet of the last edit's source by windows ("window") or by strengths ("strength")."""
        session = find_session(self.studio, request)
        with show_errors():
            plan = plan_explore(find_start(session).form, by, variants, t_max, t_m, count)
            yield from self._answer(session, plan, EXPLORE, NO_OTHERS)

    def compare(self, request: gr.Request) -> Iterator[list[Update]]:
        """The four variants on the last edit's source, and the edits by other methods."""
        session, rivals = find_session(self.studio, request), self.studio.rivals
        with show_errors():
            plan = plan_variants(find_start(session).form)
            yield from self._answer(session, plan, COMPARE, Others(rivals))

    def _answer(
        self, session: Session, plan: SheetPlan, kind: str, others: Others
    ) -> Iterator[list[Update]]:
        """Run a sheet for an endpoint, which answers a gallery, a file, a table and the status."""
        run = make_sheet(self.studio, session, plan, kind, others)
        try:
            while True:
                yield [gr.skip(), gr.skip(), gr.skip(), markup.progress_bar(next(run))]
        except StopIteration as end:
            sheet: EditSheet = end.value
        except StoppedByVisitor:
            yield [gr.skip(), gr.skip(), gr.skip(), markup.status([say("sheet", "stopped")])]
            return
        finally:
            run.close()
        pictures = [(str(sheet.source_file), "source")]
        pictures += [(str(cell.file), cell.name) for cell in sheet.cells]
        table = markup.comparison(sheet) if kind == COMPARE else ""
        download = gr.update(value=str(sheet.sheet_file), interactive=True)
        yield [pictures, download, table, markup.status(markup.sheet_cost(sheet))]

    def explore_here(
        self, by: str, variants: list[str], t_max: str, t_m: str, count: int, request: gr.Request
    ) -> Iterator[list[Update]]:
        """Make the sheet of the fold Explore, or stop it if it is being made."""
        session = find_session(self.studio, request)
        yield from self._toggle(session, EXPLORE, lambda form: (
            plan_explore(form, by, variants, t_max, t_m, count), NO_OTHERS
        ))  # fmt: skip

    def compare_here(
        self, rivals: list[str], inversions: list[str], request: gr.Request
    ) -> Iterator[list[Update]]:
        """Make the comparison of the fold Compare, or stop it if it is being made."""
        session, studio = find_session(self.studio, request), self.studio
        chosen = [one for one in studio.rivals if one.name in rivals]
        methods = [one for one in studio.methods if one in inversions]
        yield from self._toggle(session, COMPARE, lambda form: (
            plan_variants(form), Others(chosen, methods)
        ))  # fmt: skip

    def _toggle(self, session: Session, kind: str, choose: Choose) -> Iterator[list[Update]]:
        """Updates of a fold's status, sheet and button."""
        if session.running_sheet == kind:
            session.stop()
            return
        session.running_sheet = kind
        done = _show_button(kind, running=False)
        try:
            status = yield from self._run(session, kind, choose)
            yield [status, sheet_value(session, kind), done]
        except StoppedByVisitor:
            yield [markup.status([say("sheet", "stopped")]), gr.skip(), done]
        except (ValueError, TooManyWaiting) as error:
            yield [markup.problem(str(error)), gr.skip(), done]
        except Stopped:  # the service's batcher was closed
            yield [markup.problem(say("page", "closed")), gr.skip(), done]
        except Exception:
            log.exception("a sheet failed")
            yield [markup.problem(say("page", "failed")), gr.skip(), done]
        finally:
            if session.running_sheet == kind:  # else another sheet took its place
                session.running_sheet = None

    def _run(
        self, session: Session, kind: str, choose: Choose
    ) -> Generator[list[Update], None, str]:
        """Run a sheet with updates of its progress; the status at the end."""
        plan, others = choose(find_start(session).form)
        start = markup.status([say("sheet", "starting")])
        yield [start, gr.skip(), _show_button(kind, running=True)]
        run = make_sheet(self.studio, session, plan, kind, others)
        try:
            while True:
                yield [show_progress(next(run)), gr.skip(), gr.skip()]
        except StopIteration as end:
            edits = pluralize(len(end.value.cells), "edit")
            return markup.status([say("sheet", "done", edits=edits)])
        finally:
            run.close()

    def start(self, basis: list[Any] | None, request: gr.Request) -> list[Update]:
        """Say which edit both folds start from, and suggest its variant and windows around its own.

        basis is what the last suggestions were for: what a visitor has chosen since stays if the
        edit has the same variant, steps and window. The sheets of the visit come last: a page that
        is loaded again shows them too.
        """
        session = find_session(self.studio, request)
        sheets = [sheet_value(session, kind) for kind in KINDS]
        try:
            form = find_start(session).form
        except BadInput as error:
            return [*[markup.status([_to_sentence(str(error))])] * 2, *_skip(4), *sheets]
        how = describe_form(form)
        line = markup.status([say("sheet", "starts", prompt=form.prompt, how=how)])
        new = [form.variant, form.steps, form.t_max, form.t_m]
        suggested = [[form.variant], *suggest_windows(form), new]
        return [line, line, *(_skip(4) if new == basis else suggested), *sheets]

    def select(self, session: Session, kind: str, cell_id: object, load: LoadCell) -> list[Update]:
        """Use the settings of an edit; what comes first is the status of the fold."""
        cell = find_cell(session, kind, cell_id)
        if cell is None or cell.form is None:
            return [markup.problem(say("sheet", "gone"))]
        return [markup.status([say("sheet", "loaded", name=cell.name)]), *load(session, cell)]

    def like(self, session: Session, kind: str, cell_id: object, liked: object) -> list[Update]:
        """Like an edit, or no longer; both folds show the favourites."""
        cell = find_cell(session, kind, cell_id)
        if cell is None:
            return _skip(2)
        if liked is True:
            session.favourites.add(cell)
        else:
            session.favourites.remove(cell.id)
        return [sheet_value(session, one) for one in KINDS]


def plan_explore(
    form: EditForm, by: str, variants: Sequence[str], t_max: str, t_m: str, count: int
) -> SheetPlan:
    """The sheet of an edit by windows or by strengths."""
    if by == "window":
        return plan_windows(form, variants, t_max, t_m)
    return plan_strengths(form, variants, int(count))


def show_progress(progress: RunProgress) -> str:
    """The progress of a sheet, or how long it waits for its turn."""
    if progress.stage != WAITING:
        return markup.progress_bar(progress)
    key = "waiting" if progress.done > 1 else "waiting_one"
    line = say("sheet", key, count=progress.done)
    if progress.seconds is not None:
        line += " " + say("sheet", "waiting_time", seconds=f"{progress.seconds:.0f}")
    return markup.status([line])


def _show_button(kind: str, running: bool) -> Update:
    """The button of a fold: it stops what it started."""
    name = say("sheet", "make" if kind == EXPLORE else "compare")
    if running:
        return gr.update(value=say("sheet", "stop"), variant="stop")
    return gr.update(value=name, variant="primary")


def _skip(count: int) -> list[Update]:
    return [gr.skip() for _ in range(count)]


def _to_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
