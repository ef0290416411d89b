"""The tabs Explore and Compare: their components, and which function answers which event."""

from collections.abc import Callable
from typing import Any, NamedTuple

import gradio as gr

from mdp_lite.app.fields import STEER_CHOICES
from mdp_lite.app.form import EditForm
from mdp_lite.app.panel import Panel
from mdp_lite.app.sheet_handlers import SheetHandlers, suggest_windows
from mdp_lite.app.studio import Studio
from mdp_lite.app.wiring import MODEL, QUICK
from mdp_lite.names import VARIANTS


class ExploreTab(NamedTuple):
    """The components of Explore; about says which source it starts from."""

    tab: gr.Tab
    about: gr.HTML
    by: gr.Radio
    variants: gr.CheckboxGroup
    t_max: gr.Textbox
    t_m: gr.Textbox
    count: gr.Slider
    button: gr.Button
    gallery: gr.Gallery
    download: gr.DownloadButton
    table: gr.HTML


class CompareTab(NamedTuple):
    """The components of Compare; about says which source it starts from."""

    tab: gr.Tab
    about: gr.HTML
    button: gr.Button
    gallery: gr.Gallery
    table: gr.HTML
    download: gr.DownloadButton


def build_explore_tab() -> ExploreTab:
    """The tab of sheets of windows or strengths."""
    t_max, t_m = suggest_windows(50)
    with gr.Tab("Explore", id="explore") as tab:
        return ExploreTab(
            tab,
            gr.HTML(""),
            gr.Radio(STEER_CHOICES[::-1], value="window", label="Explore by"),
            gr.CheckboxGroup(list(VARIANTS), value=[EditForm.variant], label="Variants"),
            gr.Textbox(t_max, label="t_max, in steps, between commas", elem_id="explore-t-max"),
            gr.Textbox(t_m, label="t_m, in steps, between commas"),
            gr.Slider(2, 8, 5, step=1, label="Strengths, from 0 to 1", visible=False),
            gr.Button("Make the sheet", variant="primary", elem_id="make-sheet"),
            _build_gallery("Click an edit to load its settings", "explore-grid"),
            gr.DownloadButton("Download the sheet", interactive=False),
            gr.HTML("", visible=False),
        )


def build_compare_tab(studio: Studio) -> CompareTab:
    """The tab that compares the variants, and other methods if there are any."""
    names = ", ".join(one.name for one in studio.rivals)
    label = "Compare the four variants" + (f" and {names}" if names else "")
    with gr.Tab("Compare", id="compare") as tab:
        return CompareTab(
            tab,
            gr.HTML(""),
            gr.Button(label, variant="primary", elem_id="make-compare"),
            _build_gallery("The source and its edits", "compare-grid"),
            gr.HTML(""),
            gr.DownloadButton("Download the comparison", interactive=False),
        )


def _build_gallery(label: str, name: str) -> gr.Gallery:
    return gr.Gallery(
        label=label, format="png", columns=3, allow_preview=False, interactive=False,
        elem_id=name, height="auto", object_fit="contain",
    )  # fmt: skip


def wire_sheets(
    handlers: SheetHandlers, explore: ExploreTab, compare: CompareTab, panel: Panel,
    controls: list[Any],
) -> list[Any]:  # fmt: skip
    """Connect the components of both tabs; return the events that Stop cancels."""
    window = [explore.t_max, explore.t_m]
    explore.tab.select(handlers.open_tab, None, [explore.about, *window], **QUICK)
    compare.tab.select(handlers.open_tab, None, [compare.about, *window], **QUICK)
    explore.by.change(_show_axis, explore.by, [*window, explore.count], **QUICK)
    for kind, tab in (("explore", explore), ("compare", compare)):
        tab.gallery.select(_on_select(handlers, kind), None, [*panel, *controls], **QUICK)
    inputs = [explore.by, explore.variants, *window, explore.count]
    return [
        explore.button.click(
            handlers.explore, inputs,
            [explore.gallery, explore.download, explore.table, panel.status],
            api_name="explore", **MODEL,
        ),
        compare.button.click(
            handlers.compare, None,
            [compare.gallery, compare.download, compare.table, panel.status],
            api_name="compare", **MODEL,
        ),
    ]  # fmt: skip


def _show_axis(by: str) -> list[Any]:
    """Show the fields of a sheet of windows, or those of a sheet of strengths."""
    window = by == "window"
    return [gr.update(visible=window), gr.update(visible=window), gr.update(visible=not window)]


def _on_select(handlers: SheetHandlers, kind: str) -> Callable[..., list[Any]]:
    def load_cell(event: gr.SelectData, request: gr.Request) -> list[Any]:
        return handlers.load_cell(kind, event.index, handlers.handlers.session(request))

    return load_cell
