"""The parts of the page that actions change, and gradio's updates for a change."""

from typing import Any, NamedTuple

import gradio as gr

from mdp_lite.app.fields import Update
from mdp_lite.app.settings import PAGE_FIELDS, skip_fields, update_fields
from mdp_lite.app.views import Change, ModelView


class Parts(NamedTuple):
    """The components; fields are those of the form, by name."""

    picture: gr.HTML
    file: gr.File
    notes: gr.HTML
    fields: dict[str, Any]
    words: gr.HTML
    edit: gr.Button
    stop: gr.Button
    plan: gr.HTML
    strength: gr.HTML
    stage: gr.HTML
    history: gr.HTML
    code: gr.HTML
    model: gr.HTML

    @property
    def controls(self) -> list[Any]:
        """The fields in the order in which handlers take them."""
        return [self.fields[name] for name in PAGE_FIELDS]

    @property
    def state(self) -> list[Any]:
        """What every action reads of the page."""
        return [self.picture, self.strength, *self.controls]

    @property
    def outputs(self) -> list[Any]:
        """What an action may change, in the order of list_updates."""
        lasting = [self.stage, self.history, self.picture, self.notes, self.code, self.plan]
        facts = [self.model, self.words, self.fields["xl"], self.fields["quality"]]
        return [*lasting, *facts, self.strength, *self.controls]


def list_updates(change: Change) -> list[Update]:
    """Gradio's updates for a change, in the order of Parts.outputs."""
    parts = change.stage, change.history, change.picture, change.notes, change.code, change.plan
    values = [gr.skip() if one is None else one for one in (*parts, change.model)]
    values += show_facts(change.facts)
    if change.form is None:
        return [*values, gr.skip(), *skip_fields()]
    strength = {"strength": change.form.strength, "steer": change.form.steer}
    return [*values, strength, *update_fields(change.form)]


def show_facts(facts: ModelView | None) -> list[Update]:
    """Updates of the words, of SDXL's fields and of of the qualities."""
    if facts is None:
        return [gr.skip(), gr.skip(), gr.skip()]
    qualities = gr.update(**facts.qualities)
    return [facts.words, gr.update(visible=facts.reads_xl), qualities]
