"""Fast edits: fewer steps by one click, and their cost against the default."""

from dataclasses import replace

from mdp_lite.app.fields import Update
from mdp_lite.app.forecast import forecast
from mdp_lite.app.form import default_form
from mdp_lite.app.results import AppResult
from mdp_lite.app.runs import Submission
from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio
from mdp_lite.app.wording import say
from mdp_lite.cli.units import pluralize
from mdp_lite.editor import Editor


def count_fast_steps(editor: Editor) -> int | None:
    """The steps of a fast edit; None if the model's default has no more of them."""
    few = editor.models.defaults.fast_steps
    return few if few < default_form(editor, "picture").steps else None


def choose_steps(editor: Editor, case: str, fast: bool) -> list[Update]:
    """Values of the steps and of the window (t_max, t_m), which is the default one for them."""
    form = default_form(editor, case, count_fast_steps(editor) if fast else None)
    return [form.steps, form.t_max, form.t_m]


def describe_fast(
    studio: Studio, session: Session, submission: Submission, result: AppResult
) -> list[str]:
    """A sentence that compares a fast edit with the default one, source included; else none."""
    form, model = submission.form, studio.find_model(session)
    usual = default_form(model.dry_editor, form.case)
    if form.steps != count_fast_steps(model.dry_editor):
        return []
    window = {} if form.steer == "strength" else {"t_max": usual.t_max, "t_m": usual.t_m}
    slow = forecast(
        studio, session, submission._replace(form=replace(form, steps=usual.steps, **window))
    )
    fast = result.last.source.cost.unet_rows + result.edit.cost.unet_rows
    rows = slow.source.unet_rows + slow.edit.unet_rows
    here, there = (model.expected_seconds(one) for one in (fast, rows))
    took, takes = (
        say("forecast", "about", seconds=f"{one:.1f}") if one else "" for one in (here, there)
    )
    return [say(
        "forecast", "fast", rows=pluralize(fast, "UNet row"), time=took, steps=usual.steps,
        usual_rows=pluralize(rows, "row"), usual_time=takes,
    )]  # fmt: skip
