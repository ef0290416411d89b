"""The named endpoints that programs call through gradio_client, on components nobody sees.

They have the arguments and answers of mdp_lite's first page; `/edit_picture` is one of them.
"""

from typing import Any, NamedTuple

import gradio as gr

from mdp_lite.app import fields
from mdp_lite.app.form import CASES, EditForm, default_form
from mdp_lite.app.handlers import Canvas, Handlers
from mdp_lite.app.panel import Panel, build_panel
from mdp_lite.app.wiring import MODEL


class CaseInputs(NamedTuple):
    """The components of a case; fields are those of the form, by name."""

    form: EditForm
    path: Any  # gr.File, or gr.State of None
    canvas: gr.ImageEditor
    fields: dict[str, Any]

    @property
    def controls(self) -> list[Any]:
        """The form's components in the order in which handlers take them."""
        return fields.list_components(self.form, self.fields)

    @property
    def inputs(self) -> list[Any]:
        """All components that a run reads."""
        return [self.path, self.canvas, *self.controls]


def build_endpoints(handlers: Handlers) -> None:
    """Build the hidden components and their endpoints at this place of the page."""
    with gr.Column(visible=False):
        cases = [_build_case(handlers, case) for case in CASES]
        panel = build_panel()
        controls = [one for case in cases for one in case.controls]
        for case in cases:
            _name_edit(handlers, case, panel)
            _name_plan(handlers, case)
        stop = gr.Button("stop")
        stop.click(handlers.stop, None, panel.status, queue=False, api_name="stop")
        _name_restore(handlers, cases[0], controls)


def _build_case(handlers: Handlers, name: str) -> CaseInputs:
    studio = handlers.studio
    form = default_form(studio.editor, name)
    path = gr.File(label="Picture", visible=False) if name == "picture" else gr.State(None)
    canvas = gr.ImageEditor(type="pil", format="png", sources=[], transforms=[], visible=False)
    components = fields.build_prompts(form) | fields.build_steering(form)
    components |= fields.build_region(form) | fields.build_sampling(form, studio.methods)
    components |= fields.build_xl_fields(form)
    return CaseInputs(form, path, canvas, components)


def _name_edit(handlers: Handlers, case: CaseInputs, panel: Panel) -> None:
    name = case.form.case
    edit = handlers.edit_picture if name == "picture" else handlers.edit_prompt
    first = [case.path] if name == "picture" else []
    gr.Button(name).click(
        edit, [*first, case.canvas, *case.controls], list(panel), api_name=f"edit_{name}", **MODEL
    )


def _name_plan(handlers: Handlers, case: CaseInputs) -> None:
    name = case.form.case

    def plan(request: gr.Request, path: str | None, canvas: Canvas, *values: Any) -> str:
        return handlers.plan(handlers.session(request), name, path, canvas, values)

    gr.Button(name).click(
        plan, case.inputs, gr.HTML(), api_name=f"plan_{name}", concurrency_id="plan"
    )


def _name_restore(handlers: Handlers, case: CaseInputs, controls: list[Any]) -> None:
    file, notes, tabs = gr.File(label="PNG"), gr.HTML(), gr.Textbox()
    gr.Button("restore").click(
        handlers.restore, [file, *case.controls], [tabs, notes, *controls], api_name="restore"
    )
