"""The folds Explore and Compare: their components, and which function answers which event."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gradio as gr

from mdp_lite.app.components.build import build_component
from mdp_lite.app.form import default_form
from mdp_lite.app.sheet_handlers import COMPARE, EXPLORE, LoadCell, SheetHandlers
from mdp_lite.app.sheet_plans import suggest_windows
from mdp_lite.app.studio import NEEDS_GRADIENTS, Studio
from mdp_lite.app.wiring import MODEL, QUICK, find_session
from mdp_lite.app.wording import say
from mdp_lite.names import VARIANTS

MAX_LETTERS = 200  # of a list of numbers
NARROW = 280  # pixels; narrower fields go below each other


class ExploreFields(NamedTuple):
    """What a sheet of windows or strengths is made from, in the order of its handlers."""

    by: gr.Radio
    variants: gr.CheckboxGroup
    t_max: gr.Textbox
    t_m: gr.Textbox
    count: gr.Slider


class CompareFields(NamedTuple):
    """What stands beside the variants, in the order of its handlers."""

    rivals: gr.CheckboxGroup
    inversions: gr.CheckboxGroup


class SheetFold(NamedTuple):
    """A fold: about says which edit it starts from, status how far it is or what is wrong."""

    fold: gr.Accordion
    about: gr.HTML
    fields: Any  # ExploreFields or CompareFields
    button: gr.Button
    status: gr.HTML
    sheet: gr.HTML

    @property
    def outputs(self) -> list[Any]:
        """What a run updates."""
        return [self.status, self.sheet, self.button]


class CellAction(NamedTuple):
    """What happens with an edit whose settings are to be used, and the components it updates."""

    load: LoadCell
    outputs: Sequence[Any]


def build_explore(studio: Studio) -> SheetFold:
    """The fold of sheets of windows or strengths."""
    with gr.Accordion(say("sheet", "explore_title"), open=False, elem_id="explore-fold") as fold:
        about = gr.HTML(say("sheet", "explore_info"))
        fields = _build_explore_fields(studio)
        button = gr.Button(say("sheet", "make"), variant="primary", elem_id="make-sheet")
        status = gr.HTML("", elem_id="explore-status")
        return SheetFold(fold, about, fields, button, status, _build_sheet(EXPLORE))


def build_compare(studio: Studio) -> SheetFold:
    """The fold that compares variants, inversions, and other methods if there are any."""
    with gr.Accordion(say("sheet", "compare_title"), open=False, elem_id="compare-fold") as fold:
        about = gr.HTML(say("sheet", "compare_info"))
        names = [one.name for one in studio.rivals]
        rivals = gr.CheckboxGroup(
            names, value=names, label=say("sheet", "rivals"), visible=bool(names),
            elem_id="compare-rivals",
        )  # fmt: skip
        quick = [one for one in studio.methods if one != NEEDS_GRADIENTS]
        inversions = gr.CheckboxGroup(
            studio.methods, value=quick, label=say("sheet", "inversions"),
            info=say("sheet", "inversions_hint"), elem_id="compare-inversions",
        )  # fmt: skip
        button = gr.Button(say("sheet", "compare"), variant="primary", elem_id="make-compare")
        status = gr.HTML("", elem_id="compare-status")
        fields = CompareFields(rivals, inversions)
        return SheetFold(fold, about, fields, button, status, _build_sheet(COMPARE))


def build_sheet_endpoints(handlers: SheetHandlers) -> None:
    """The endpoints `/explore` and `/compare` of programs, on components nobody sees."""
    with gr.Column(visible=False):
        outputs = [gr.Gallery(format="png"), gr.DownloadButton(), gr.HTML(), gr.HTML()]
        fields = list(_build_explore_fields(handlers.studio, visible=False))
        explore, compare = gr.Button(EXPLORE), gr.Button(COMPARE)
        explore.click(handlers.explore, fields, outputs, api_name=EXPLORE, **MODEL)
        compare.click(handlers.compare, None, outputs, api_name=COMPARE, **MODEL)


def wire_sheets(
    handlers: SheetHandlers, explore: SheetFold, compare: SheetFold, action: CellAction,
    edits: Sequence[Any],
) -> None:  # fmt: skip
    """Connect both folds; edits are events when the page shows another edit to start from."""
    basis = gr.State(None)
    fields: ExploreFields = explore.fields
    suggested = [fields.variants, fields.t_max, fields.t_m, basis]
    sheets = [explore.sheet, compare.sheet]
    outputs = [explore.about, compare.about, *suggested, *sheets]
    for one in (explore.fold.expand, compare.fold.expand, *edits):
        one(handlers.start, basis, outputs, **QUICK)
    fields.by.change(_show_axis, fields.by, [fields.t_max, fields.t_m, fields.count], **QUICK)
    runs = (explore, EXPLORE, handlers.explore_here), (compare, COMPARE, handlers.compare_here)
    for fold, kind, run in runs:
        _wire_run(fold, run)
        _wire_cells(handlers, fold, kind, action)
        values = _on_like(handlers, kind)
        fold.sheet.like(values, None, sheets, trigger_mode="multiple", **QUICK)


def _build_explore_fields(studio: Studio, visible: bool = True) -> ExploreFields:
    form = default_form(studio.editor, "picture")
    t_max, t_m = suggest_windows(form)
    axes = [(say("sheet", f"by_{one}_choice"), one) for one in ("window", "strength")]
    hint, name = say("sheet", "numbers_hint"), "explore-" if visible else "endpoint-"
    with gr.Row():
        by = gr.Radio(
            axes, value="window", label=say("sheet", "by"), elem_id=f"{name}by", min_width=NARROW
        )  # fmt: skip
        variants = gr.CheckboxGroup(
            list(VARIANTS), value=[form.variant], label=say("sheet", "variants"),
            elem_id=f"{name}variants", min_width=NARROW,
        )  # fmt: skip
    with gr.Row():
        high, wide = [
            gr.Textbox(
                value, label=say("sheet", key), info=hint, max_length=MAX_LETTERS, min_width=NARROW,
                elem_id=f"{name}{key.replace('_', '-')}",
            )
            for key, value in (("t_max", t_max), ("t_m", t_m))
        ]  # fmt: skip
    label = say("sheet", "count")
    count = gr.Slider(2, 8, 5, step=1, label=label, visible=False, elem_id=f"{name}count")
    return ExploreFields(by, variants, high, wide, count)


def _build_sheet(kind: str) -> gr.HTML:
    return build_component("sheet", None, elem_id=f"{kind}-sheet")


def _wire_run(fold: SheetFold, run: Callable[..., Any]) -> None:
    """Make the sheet, or stop it; what was wrong is gone when a field changes."""
    fields = list(fold.fields)
    fold.button.click(
        run, fields, fold.outputs, trigger_mode="multiple", api_visibility="private", **MODEL
    )
    gr.on([one.input for one in fields], lambda: "", None, fold.status, **QUICK)


def _wire_cells(handlers: SheetHandlers, fold: SheetFold, kind: str, action: CellAction) -> None:
    outputs = [fold.status, *action.outputs]

    def select(event: gr.EventData, request: gr.Request) -> list[Any]:
        session = find_session(handlers.studio, request)
        updates = handlers.select(session, kind, getattr(event, "id", None), action.load)
        return [*updates, *(gr.skip() for _ in range(len(outputs) - len(updates)))]

    fold.sheet.select(select, None, outputs, **QUICK)


def _on_like(handlers: SheetHandlers, kind: str) -> Callable[..., list[Any]]:
    def like(event: gr.EventData, request: gr.Request) -> list[Any]:
        session = find_session(handlers.studio, request)
        cell_id, liked = getattr(event, "id", None), getattr(event, "liked", None)
        return handlers.like(session, kind, cell_id, liked)

    return like


def _show_axis(by: str) -> list[Any]:
    """Show the fields of a sheet of windows, or those of a sheet of strengths."""
    window = by == "window"
    return [gr.update(visible=window), gr.update(visible=window), gr.update(visible=not window)]
