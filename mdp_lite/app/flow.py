"""What the page does when a visitor acts: a picture is given, an edit runs, a result comes back."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from mdp_lite.app.components.picture import read_region
from mdp_lite.app.forecast import RunForecast, describe_unknown_words, forecast
from mdp_lite.app.form import CASES, EditForm, default_form, fill_form
from mdp_lite.app.quality import compare_quality
from mdp_lite.app.results import AppResult
from mdp_lite.app.runs import Submission, run_edit, source_key, source_mask
from mdp_lite.app.sessions import Session
from mdp_lite.app.settings import PAGE_FIELDS
from mdp_lite.app.stage import RunClock, format_seconds, show_error, show_running, show_stopped
from mdp_lite.app.streaming import StoppedByVisitor
from mdp_lite.app.studio import Studio
from mdp_lite.app.turns import TooManyWaiting
from mdp_lite.app.views import Change, View, show_item
from mdp_lite.app.wording import say
from mdp_lite.names import BadInput, Stopped

log = logging.getLogger("mdp_lite.app")
PageValues = tuple[Any, ...]  # of the fields of PAGE_FIELDS, in their order


class PageState(NamedTuple):
    """What the browser sends with every action; none of it is trusted."""

    picture: Any  # of the component picture: its mask, where and feather
    strength: Any  # of the component strength
    values: PageValues


class Flow:
    """One function for each action; each answers with the parts of the page that change."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio

    def edit(self, session: Session, state: PageState, name: str = "") -> Iterator[Change]:
        """Edit to the end, with progress and previews; what is wrong is said beside its field.

        name is that of the page: two pages may show one visit.
        """
        page = session.page  # its stage is read at the end: the visitor may have gone on
        session.running_page = name
        try:
            yield from self._run(session, self.read_submission(session, state))
        except StoppedByVisitor:
            # Else a newer run took its place on this page, and shows itself.
            if session.was_stopped or session.running_page != name:
                yield Change(stage=show_stopped(page.stage))
        except (BadInput, TooManyWaiting) as error:
            yield Change(stage=show_error(page.stage, str(error), getattr(error, "names", ())))
        except Stopped:  # the service's batcher was closed
            yield Change(stage=show_error(page.stage, say("page", "closed"), ()))
        except Exception:
            log.exception("a run failed")
            yield Change(stage=show_error(page.stage, say("page", "failed"), ()))

    def edit_again(self, session: Session, state: PageState, name: str = "") -> Iterator[Change]:
        """Edit by the slider that was let go, if the source is already computed."""
        state = state._replace(values=replace_value(state.values, "steer", "strength"))
        try:
            submission = self.read_submission(session, state)
            model = self.studio.find_model(session)
            mask = source_mask(model.dry_editor, submission)
            key = source_key(model.alias, submission.form, submission.picture, mask)
            ready = session.find_source(key) is not None
        except ValueError:  # Edit says what is wrong
            ready = False
        if ready:
            yield from self.edit(session, state, name)

    def _run(self, session: Session, submission: Submission) -> Iterator[Change]:
        expected = forecast(self.studio, session, submission)
        clock, picture = RunClock(expected), session.page.current
        run = run_edit(self.studio, session, submission, expected.rows)
        try:
            while True:
                yield Change(stage=show_running(next(run), clock))
        except StopIteration as end:
            shown = self._show_end(session, submission, end.value)
            is_same = session.page.current == picture  # else its mask is of no use
            yield shown if is_same else shown._replace(picture=None)
        finally:
            run.close()

    def _show_end(self, session: Session, submission: Submission, result: AppResult) -> Change:
        """The result of a run, and what the next one will cost."""
        assert result.item is not None  # the run has just added it
        view = View(self.studio, session)
        if self.studio.find_model(session).alias != result.item.model:  # chosen meanwhile
            return show_item(view, result.item, result)
        lines = compare_quality(self.studio, session, submission, result)
        lines += describe_unknown_words(self.studio.find_editor(session), submission.form)
        shown = show_item(view, result.item, result, lines)
        return shown._replace(plan=describe_plan(forecast(self.studio, session, submission)))

    def plan(self, session: Session, state: PageState) -> str:
        """What an edit will cost, in one line; "" as long as something is missing."""
        try:
            submission = self.read_submission(session, state)
            return describe_plan(forecast(self.studio, session, submission))
        except ValueError:
            return ""

    def read_submission(self, session: Session, state: PageState) -> Submission:
        """The form, picture and mask of what the browser sent."""
        check_filled(state)
        session.page.form = form = self.read_form(session, state)
        picture, name = session.page.open_current() if form.case == "picture" else (None, None)
        if picture is None:  # words make a picture first: nothing can be painted on
            return Submission(form, None, None)
        where, feather, mask = read_region(state.picture, picture.size)
        return Submission(replace(form, where=where, feather=feather), picture, name, mask)

    def read_form(self, session: Session, state: PageState) -> EditForm:
        """The form of what the browser sent; its fields are checked when it runs."""
        fields = dict(zip(PAGE_FIELDS, state.values, strict=True))
        if isinstance(state.strength, dict):
            fields["strength"] = state.strength.get("strength")
        case = fields["case"] if fields["case"] in CASES else "picture"
        return fill_form(default_form(self.studio.find_editor(session), case), fields)


def check_filled(state: PageState) -> None:
    """Raise BadInput for a number that a visitor deleted."""
    for name, value in zip(PAGE_FIELDS, state.values, strict=True):
        if value is None:
            raise BadInput(f"{name.replace('_', ' ')} must be a number, got nothing", name)


def replace_value(values: PageValues, name: str, value: Any) -> PageValues:
    """The values of the fields with another one for a field."""
    index = PAGE_FIELDS.index(name)
    return (*values[:index], value, *values[index + 1 :])


def describe_plan(expected: RunForecast) -> str:
    """A line about what an edit will cost."""
    if expected.seconds is None:
        line = say("page", "forecast_rows", rows=expected.rows)
    else:
        seconds = format_seconds(expected.seconds)
        line = say("page", "forecast", seconds=seconds, rows=expected.rows)
    if expected.source_ready:
        line += " " + say("page", "forecast_ready", rows=expected.source.unet_rows)
    return line
