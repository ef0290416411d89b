"""The page: where its parts stand. events.py says which function answers which event."""

from pathlib import Path
from typing import Any

import gradio as gr

from mdp_lite.app import settings
from mdp_lite.app.actions import Actions
from mdp_lite.app.components.build import build_component
from mdp_lite.app.components.history import build_history
from mdp_lite.app.components.model import build_model_line
from mdp_lite.app.components.picture import build_picture, empty_value
from mdp_lite.app.components.words import build_words
from mdp_lite.app.endpoints import build_endpoints
from mdp_lite.app.events import wire_page
from mdp_lite.app.examples import EXAMPLE_VALUES
from mdp_lite.app.form import EditForm, default_form
from mdp_lite.app.guard import PageGuard
from mdp_lite.app.handlers import Handlers
from mdp_lite.app.parts import Parts, list_updates
from mdp_lite.app.picture_route import PictureRoute
from mdp_lite.app.resources import call_in_loop
from mdp_lite.app.sheet_handlers import SheetHandlers
from mdp_lite.app.sheet_tabs import (
    CellAction,
    build_compare,
    build_explore,
    build_sheet_endpoints,
    wire_sheets,
)
from mdp_lite.app.studio import Studio
from mdp_lite.app.style import FOOTER, build_theme
from mdp_lite.app.visit_page import EMPTY
from mdp_lite.app.wording import say

MAX_UPLOAD = "20mb"
# How often gradio looks for files that it copied, such as answers to gradio_client; it deletes
# those that are older than the grace time of visits.
SWEEP_SECONDS = 300
MAX_QUEUED = 64  # events in gradio's queue; runs wait in turns.py
CSS, SCRIPT = ((Path(__file__).parent / f"page.{one}").read_text("utf-8") for one in ("css", "js"))
HEAD = f"<style>{CSS}</style>"  # gradio would rewrite rules about <body> in its own argument css


def build_page(studio: Studio) -> gr.Blocks:
    """The whole page; its theme and CSS are passed when it is launched or mounted."""
    form = default_form(studio.editor, "picture")
    delete = (SWEEP_SECONDS, round(studio.sessions.grace_seconds))
    with gr.Blocks(
        title=say("page", "title"), analytics_enabled=False, delete_cache=delete
    ) as blocks:
        with gr.Row(elem_id="top"):
            gr.Markdown(f"# {say('page', 'heading')}\n{say('page', 'intro')}", elem_id="heading")
            model = build_model_line()
        with gr.Row(elem_id="workspace"):
            with gr.Column(scale=5, min_width=320, elem_id="inputs"):
                inputs = _build_inputs(studio, form)
            with gr.Column(scale=6, min_width=320, elem_id="results"):
                stage = build_component("stage", EMPTY)
                history = build_history()
        explore, compare = build_explore(studio), build_compare(studio)
        with gr.Accordion(say("page", "code"), open=False, elem_id="code-fold"):
            code = build_component("code", {})
        parts = Parts(**inputs, stage=stage, history=history, code=code, model=model)
        sheets, actions = SheetHandlers(studio), Actions(studio)
        build_endpoints(Handlers(studio))  # first: gradio gives a name to whoever takes it first
        build_sheet_endpoints(sheets)
        wire_page(blocks, studio, parts)
        use_cell = lambda *cell: list_updates(actions.use_cell(*cell))  # noqa: E731
        cells = CellAction(use_cell, parts.outputs)
        wire_sheets(sheets, explore, compare, cells, [history.change])
    return blocks.queue(max_size=MAX_QUEUED, default_concurrency_limit=None)


def mount_page(app: Any, studio: Studio, path: str, hosts: tuple[str, ...] = ()) -> Any:
    """Mount the page under a path of a FastAPI application; hosts is as in PageGuard."""
    return call_in_loop(lambda: _mount(app, studio, path, hosts))


def _mount(app: Any, studio: Studio, path: str, hosts: tuple[str, ...]) -> Any:
    return gr.mount_gradio_app(
        app, build_page(studio), path, theme=build_theme(), head=HEAD, js=SCRIPT,
        max_file_size=MAX_UPLOAD, footer_links=FOOTER, show_error=False, ssr_mode=False,
        run_history=False, app_kwargs={"middleware": build_middleware(studio, hosts)},
    )  # fmt: skip


def build_middleware(studio: Studio, hosts: tuple[str, ...]) -> list[Any]:
    """What requests pass before gradio, the outer one first; hosts is as in PageGuard."""
    guard = PageGuard, (), {"hosts": hosts}
    return [guard, (PictureRoute, (), {"sessions": studio.sessions})]


def _build_inputs(studio: Studio, form: EditForm) -> dict[str, Any]:
    """What a visitor gives: a picture, words, and how far the edit may go; by names of Parts."""
    fields = settings.build_case(form)
    picture = build_picture(empty_value(EXAMPLE_VALUES))
    file = gr.File(elem_id="picture-file", label="Picture file", file_count="single")
    notes = build_component("note", [])
    fields |= settings.build_prompts(form)
    with gr.Row(elem_id="run"):
        edit = gr.Button(say("page", "edit"), variant="primary", elem_id="edit")
        stop = gr.Button(say("page", "stop"), variant="stop", elem_id="stop")
    plan = gr.HTML("", elem_id="forecast")
    strength = build_component("strength", {"strength": form.strength, "steer": form.steer})
    words = build_words(studio.editor.models)
    fields |= settings.build_settings(studio, form)
    return {
        "picture": picture, "file": file, "notes": notes, "fields": fields, "words": words,
        "edit": edit, "stop": stop, "plan": plan, "strength": strength,
    }  # fmt: skip
