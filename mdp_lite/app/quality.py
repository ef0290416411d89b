"""The qualities of an edit: numbers of steps to choose by name, and their cost against the best."""

from dataclasses import replace
from typing import Any

import gradio as gr

from mdp_lite.app.fields import Update
from mdp_lite.app.forecast import forecast
from mdp_lite.app.form import default_form
from mdp_lite.app.results import AppResult
from mdp_lite.app.runs import Submission
from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio
from mdp_lite.app.wording import say
from mdp_lite.checkpoint.defaults import BEST
from mdp_lite.cli.units import pluralize
from mdp_lite.editor import Editor
from mdp_lite.names import QUALITIES


def list_qualities(editor: Editor) -> dict[str, int]:
    """The qualities of a model with their steps; those with the steps of the best are left out."""
    defaults, usual = editor.models.defaults, default_form(editor, "picture").steps
    steps = {name: min(usual, defaults.steps_of(name)) for name in QUALITIES}
    return {name: n for name, n in steps.items() if name == BEST or n < usual}


def build_qualities(editor: Editor) -> dict[str, Any]:
    """Properties of the field: a choice of qualities, hidden for a model that has one alone."""
    steps = list_qualities(editor)
    choices = [(say("settings", f"quality_{name}", steps=n), name) for name, n in steps.items()]
    return {"choices": choices, "value": BEST, "visible": len(steps) > 1}


def name_quality(editor: Editor, steps: Any) -> Update:
    """The quality of a number of steps; none is chosen if it is another's."""
    found = (name for name, n in list_qualities(editor).items() if n == steps)
    return gr.update(value=next(found, None))


def choose_steps(editor: Editor, case: str, quality: str | None) -> list[Update]:
    """Values of the steps and of the window (t_max, t_m), which is the default one for them."""
    form = default_form(editor, case, list_qualities(editor).get(quality or BEST))
    return [form.steps, form.t_max, form.t_m]


def compare_quality(
    studio: Studio, session: Session, submission: Submission, result: AppResult
) -> list[str]:
    """A sentence that compares an edit of a lower quality with the best, source included."""
    form, model = submission.form, studio.find_model(session)
    usual = default_form(model.dry_editor, form.case)
    qualities = {n: name for name, n in list_qualities(model.dry_editor).items()}
    quality = qualities.get(form.steps, BEST)
    if quality == BEST:
        return []
    window = {} if form.steer == "strength" else {"t_max": usual.t_max, "t_m": usual.t_m}
    slow = forecast(
        studio, session, submission._replace(form=replace(form, steps=usual.steps, **window))
    )
    few = result.last.source.cost.unet_rows + result.edit.cost.unet_rows
    rows = slow.source.unet_rows + slow.edit.unet_rows
    here, there = (model.expected_seconds(one) for one in (few, rows))
    took, takes = (
        say("forecast", "about", seconds=f"{one:.1f}") if one else "" for one in (here, there)
    )
    return [say(
        "forecast", quality, rows=pluralize(few, "UNet row"), time=took, steps=usual.steps,
        usual_rows=pluralize(rows, "row"), usual_time=takes,
    )]  # fmt: skip
