"""What happens when a visitor chooses a model: the component's new value, and the form for it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mdp_lite.app.components.model import model_value, read_id
from mdp_lite.app.form import XL_FIELDS, EditForm, default_form
from mdp_lite.app.models import PageModel
from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio
from mdp_lite.names import BadInput

# What a form keeps when the model changes; steps, guidance and window are the model's own.
WISHES = (
    "source_prompt", "prompt", "variant", "steer", "strength", "schedule", "seed",
    "negative_prompt", "method", "fit", "where", "feather",
)  # fmt: skip


def choose_model(studio: Studio, session: Session, alias: object) -> dict[str, Any]:
    """The component's value after its event select {id}; an error is a part of it."""
    return _answer(studio, session, lambda: studio.choose(session, read_id(alias)))


def fetch_model(studio: Studio, session: Session, hub_id: object) -> dict[str, Any]:
    """The component's value after its event submit {hub}; the model's files are here then."""
    return _answer(studio, session, lambda: studio.fetch(session, read_id(hub_id).strip()))


def offer_model(studio: Studio, session: Session, settings: dict[str, Any]) -> dict[str, Any]:
    """The component's value for a picture with these settings: its model is offered if it is here.

    The settings come from a file of a visitor.
    """
    found = studio.menu.find_by_name(settings.get("model"))
    return model_value(studio, session, offered=found.alias if found else None)


def adapt_form(form: EditForm, model: PageModel) -> EditForm:
    """The form for another model: what the visitor wants, with the model's own defaults."""
    values = {name: getattr(form, name) for name in WISHES}
    if model.reads_xl:
        values |= {name: getattr(form, name) for name in XL_FIELDS}
    return replace(default_form(model.dry_editor, form.case), **values)


def _answer(studio: Studio, session: Session, act: Callable[[], PageModel]) -> dict[str, Any]:
    try:
        act()
    except BadInput as error:
        return model_value(studio, session, str(error))
    return model_value(studio, session)
