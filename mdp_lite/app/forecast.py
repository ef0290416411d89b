"""The forecast of a run's cost, and sentences for the visitor: before the run and after it."""

from dataclasses import replace
from typing import NamedTuple

from PIL import Image

from mdp_lite.app.form import EditForm, build_form_xl, build_request, check_form, check_model
from mdp_lite.app.results import AppResult
from mdp_lite.app.runs import Submission, make_source, source_key, source_mask
from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio
from mdp_lite.app.wording import say
from mdp_lite.cli.units import pluralize
from mdp_lite.editor import Editor
from mdp_lite.method.plan import naive_plan
from mdp_lite.pipeline.inversion_methods import NEVER
from mdp_lite.pipeline.masks import MASK_STEPS
from mdp_lite.pipeline.plan_text import describe_plan
from mdp_lite.pipeline.result import Cost, Source, add_costs


class RunForecast(NamedTuple):
    """The costs of a form's source, of its edit, and of an edit that calls the UNet at every step.

    source_ready says that the source is already computed, so that it costs nothing now. lines
    describe the plan's steps. seconds is None before the first run.
    """

    source: Cost
    edit: Cost
    naive: Cost
    source_ready: bool
    lines: tuple[str, ...]
    seconds: float | None

    @property
    def rows(self) -> int:
        """UNet rows that a run computes now."""
        return self.edit.unet_rows + (0 if self.source_ready else self.source.unet_rows)


def forecast(studio: Studio, session: Session, submission: Submission) -> RunForecast:
    """The forecast of a form; of the models only the text encoder runs."""
    form, model = check_form(submission.form), studio.find_model(session)
    check_model(model.dry_editor, form)
    own = source_mask(model.dry_editor, submission)
    stored = session.find_source(source_key(model.alias, form, submission.picture, own))
    source = stored or dry_run_source(model.dry_editor, form, submission.picture)
    (task,) = model.dry_editor.tasks([build_request(source, form, submission.mask)])
    mask = Cost(2 * MASK_STEPS, MASK_STEPS) if form.where == "found" else Cost(0, 0)
    edit = add_costs(Cost(task.plan.unet_rows, task.plan.unet_calls), mask)
    naive = naive_plan(task.weights, task.guidance.null is not None)
    result = RunForecast(
        source.cost, edit, Cost(naive.unet_rows, naive.unet_calls), stored is not None,
        tuple(describe_plan(task.plan)[:-1]), None,
    )  # fmt: skip
    return result._replace(seconds=model.expected_seconds(result.rows))


def dry_run_source(dry_editor: Editor, form: EditForm, picture: Image.Image | None) -> Source:
    """The form's source by models that answer zeros; null-text inversion at its highest cost."""
    source = make_source(dry_editor, form, picture)
    if source.inversion is None or source.method != "null-text":
        return source
    inversion = replace(source.inversion, early_stop=NEVER)
    assert picture is not None
    return dry_editor.invert(
        picture, form.source_prompt, inversion, form.steps, form.guidance_scale,
        form.negative_prompt, fit=form.fit, xl=build_form_xl(form, "source_prompt_2"),
    )  # fmt: skip


def describe_forecast(result: RunForecast, form: EditForm) -> list[str]:
    """Sentences about what a run will cost."""
    name, back = _name_source(form), result.source.backward_rows
    rows = pluralize(result.source.unet_rows, "UNet row")
    if result.source_ready:
        first = say("forecast", "ready", name=name, rows=rows)
    elif back:
        first = say("forecast", "first_backward", name=name, rows=rows, backward=back)
    else:
        first = say("forecast", "first", name=name, rows=rows)
    edit, naive = pluralize(result.edit.unet_rows, "UNet row"), result.naive.unet_rows
    calls = pluralize(result.edit.unet_calls, "call")
    lines = [first, say("forecast", "edit", rows=edit, calls=calls, naive=naive)]
    if result.seconds is not None:
        lines.append(say("forecast", "seconds", seconds=f"{result.seconds:.1f}"))
    return lines


def describe_result(result: AppResult) -> list[str]:
    """Sentences about what a run cost."""
    source, form, *_ = result.last
    name, rows = _name_source(form), pluralize(source.cost.unet_rows, "UNet row")
    cost, seconds = result.edit.cost, {k: f"{s:.2f}" for k, s in result.seconds.items()}
    if result.reused:
        first = say("forecast", "reused", name=name, rows=rows)
    else:
        first = say("forecast", "took", name=name, rows=rows, seconds=seconds["source"])
    edit, calls = pluralize(cost.unet_rows, "UNet row"), pluralize(cost.unet_calls, "call")
    second = say("forecast", "edit_took", rows=edit, calls=calls, seconds=seconds["edit"])
    return [first, second, *notes(source, result.edit.truncated)]


def _name_source(form: EditForm) -> str:
    return say("forecast", "inversion" if form.case == "picture" else "source")


def notes(source: Source, truncated: bool) -> list[str]:
    """Sentences about a picture that was fitted, and about a prompt that was cut."""
    lines = []
    if done := source.fit.describe():
        size, shape = ("x".join(map(str, one.size)) for one in (source.picture, source.image))
        lines.append(say("forecast", "fitted", size=size, how=done, shape=shape))
    if source.truncated or truncated:
        lines.append(say("forecast", "truncated"))
    return lines


def describe_unknown_words(editor: Editor, form: EditForm) -> list[str]:
    """A sentence that names the words of a form's prompts that a model does not know, or none."""
    both = ", ".join((form.source_prompt, form.prompt, form.source_prompt_2, form.prompt_2))
    found = editor.runner.describe_unknown_words(both)
    return [f"{one[0].upper()}{one[1:]}." for one in found]
