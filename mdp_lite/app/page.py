"""The page: its layout, and which function answers which event."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr

from mdp_lite.app import fields, markup
from mdp_lite.app.examples import EXAMPLES
from mdp_lite.app.fast import build_fast, choose_steps, count_fast_steps
from mdp_lite.app.form import CASES, EditForm, default_form
from mdp_lite.app.guard import PageGuard
from mdp_lite.app.handlers import Canvas, Handlers
from mdp_lite.app.loops import call_in_loop
from mdp_lite.app.panel import Panel, build_panel
from mdp_lite.app.sheet_handlers import SheetHandlers
from mdp_lite.app.sheet_tabs import build_compare_tab, build_explore_tab, wire_sheets
from mdp_lite.app.studio import Studio
from mdp_lite.app.style import CSS, FOOTER, LABEL_SCRIPT, build_theme
from mdp_lite.app.wiring import MODEL, QUICK

MAX_UPLOAD = "20mb"
FILE_SECONDS = 3600  # after which gradio deletes files of pictures, if the server still runs
MAX_WAITING = 8  # runs in the queue
TITLES = {"picture": "Edit a picture", "prompt": "Make and edit"}
STEERING = ("strength", "t_max", "t_m")


class CaseTab(NamedTuple):
    """The components of a case's tab; fields are those of the form, by name."""

    form: EditForm
    path: Any  # gr.File, or gr.State of None
    picture: gr.Image | None
    canvas: gr.ImageEditor
    fields: dict[str, Any]
    live: gr.Checkbox
    fast: gr.Checkbox
    plan: gr.HTML
    button: gr.Button

    @property
    def controls(self) -> list[Any]:
        """The form's components in the order in which handlers take them."""
        return fields.list_components(self.form, self.fields)

    @property
    def inputs(self) -> list[Any]:
        """All components that a run reads."""
        return [self.path, self.canvas, *self.controls]


def build_page(studio: Studio) -> gr.Blocks:
    """The whole page; its theme and CSS are passed when it is launched or mounted."""
    handlers = Handlers(studio)
    sheets, delete = SheetHandlers(handlers), (FILE_SECONDS, FILE_SECONDS)
    with gr.Blocks(title=markup.TITLE, analytics_enabled=False, delete_cache=delete) as blocks:
        gr.Markdown(markup.INTRO)
        with gr.Row():
            with gr.Column(scale=6, min_width=320):
                restore, notes = _build_restore()
                with gr.Tabs() as tabs:
                    cases = [_build_case(studio, case) for case in CASES]
                    explore, compare = build_explore_tab(), build_compare_tab(studio)
            with gr.Column(scale=5, min_width=320):
                stop = gr.Button("Stop", variant="stop", elem_id="stop")
                panel = build_panel()
        controls = [one for case in cases for one in case.controls]
        runs = [event for case in cases for event in _wire_case(handlers, case, panel)]
        runs += wire_sheets(sheets, explore, compare, panel, controls)
        stop.click(handlers.stop, None, panel.status, cancels=runs, queue=False, api_name="stop")
        restore.change(
            handlers.restore, [restore, *cases[0].controls], [tabs, notes, *controls],
            show_progress="hidden", api_name="restore",
        )  # fmt: skip
        blocks.unload(handlers.drop_visitor)
    return blocks.queue(max_size=MAX_WAITING, default_concurrency_limit=4)


def mount_page(app: Any, studio: Studio, path: str, hosts: tuple[str, ...] = ()) -> Any:
    """Mount the page under a path of a FastAPI application; hosts is as in PageGuard."""
    return call_in_loop(lambda: _mount(app, studio, path, hosts))


def _mount(app: Any, studio: Studio, path: str, hosts: tuple[str, ...]) -> Any:
    return gr.mount_gradio_app(
        app, build_page(studio), path, theme=build_theme(), css=CSS, js=LABEL_SCRIPT,
        max_file_size=MAX_UPLOAD, footer_links=FOOTER, show_error=False, ssr_mode=False,
        run_history=False, app_kwargs={"middleware": [(PageGuard, (), {"hosts": hosts})]},
    )  # fmt: skip


def _build_restore() -> tuple[gr.File, gr.HTML]:
    with gr.Accordion("Settings of a picture made by mdp_lite", open=False):
        file = gr.File(
            label="Drop a PNG: its settings come back", file_types=[".png"], elem_id="restore",
            height=120,
        )  # fmt: skip
        return file, gr.HTML("")


def _build_case(studio: Studio, name: str) -> CaseTab:
    """The tab of a case."""
    form = default_form(studio.editor, name)
    with gr.Tab(TITLES[name], id=name):
        path, picture = _build_upload() if name == "picture" else (gr.State(None), None)
        components = fields.build_prompts(form)
        if name == "picture":
            examples = [[str(one.file), one.source_prompt, one.prompt] for one in EXAMPLES]
            gr.Examples(
                examples, [path, *components.values()], label="Examples", cache_examples=False,
                example_labels=[one.label for one in EXAMPLES],
            )  # fmt: skip
        plan = gr.HTML("", elem_id=f"{name}-plan")
        button = gr.Button("Edit", variant="primary", elem_id=f"{name}-edit")
        components |= fields.build_steering(form)
        live = gr.Checkbox(True, label="Edit again as I let go of a slider", elem_id=f"{name}-live")
        fast = build_fast(studio.editor, name)
        with gr.Accordion("Where", open=False):
            components |= fields.build_region(form)
            canvas = gr.ImageEditor(
                label="Paint where the edit may happen", type="pil", format="png", visible=False,
                sources=[], transforms=[], layers=False, elem_id=f"{name}-canvas",
                brush=gr.Brush(colors=["#ffffff"], color_mode="fixed"),
            )  # fmt: skip
        with gr.Accordion("Sampling", open=False):
            components |= fields.build_sampling(form, studio.methods)
        with gr.Accordion("Stable Diffusion XL", open=False, visible=studio.reads_xl):
            components |= fields.build_xl_fields(form)
    return CaseTab(form, path, picture, canvas, components, live, fast, plan, button)


def _build_upload() -> tuple[gr.File, gr.Image]:
    """The upload and its picture. The upload is a file, so that only images.py decodes it."""
    file = gr.File(
        label="Picture (PNG, JPEG or WebP)", file_types=[".png", ".jpg", ".jpeg", ".webp"],
        elem_id="picture", height=140,
    )  # fmt: skip
    picture = gr.Image(
        label="The picture", format="png", interactive=False, visible=False, height=260,
        buttons=["fullscreen"], elem_id="uploaded",
    )  # fmt: skip
    return file, picture


def _wire_case(handlers: Handlers, case: CaseTab, panel: Panel) -> list[Any]:
    """Connect a case's components; return the events that Stop cancels."""
    name = case.form.case
    edit = handlers.edit_picture if name == "picture" else handlers.edit_prompt
    first = [case.path] if name == "picture" else []
    click = case.button.click(
        edit, [*first, case.canvas, *case.controls], list(panel), api_name=f"edit_{name}", **MODEL
    )
    release = _wire_sliders(handlers, case, panel)
    _wire_plan(handlers, case, click)
    if case.picture:
        case.path.change(  # in the queue, unlike QUICK: without it no error reaches the page
            handlers.show_upload, case.path, case.picture, show_progress="hidden",
            api_visibility="private",
        )  # fmt: skip
    _wire_region(handlers, case)
    steer, steps = case.fields["steer"], case.fields["steps"]
    window = [case.fields["t_max"], case.fields["t_m"]]
    steer.change(_show_sliders, steer, [case.fields[key] for key in STEERING], **QUICK)
    steps.release(_limit_window, [steps, *window], window, **QUICK)
    _wire_fast(handlers, case, [steps, *window])
    return [click, release]


def _wire_fast(handlers: Handlers, case: CaseTab, steps: list[Any]) -> None:
    """Set the steps and the window when the box is clicked; keep it true when they change."""
    editor = handlers.studio.editor

    def choose(fast: bool) -> list[Any]:
        return choose_steps(editor, case.form.case, fast)

    case.fast.input(choose, case.fast, steps, **QUICK)
    steps[0].change(lambda n: n == count_fast_steps(editor), steps[0], case.fast, **QUICK)


def _wire_sliders(handlers: Handlers, case: CaseTab, panel: Panel) -> Any:
    """Edit again when a slider is let go."""

    def edit_again(
        request: gr.Request, live: bool, path: str | None, canvas: Canvas, *values: Any
    ) -> Iterator[list[Any]]:
        session = handlers.session(request)
        yield from handlers.edit_again(session, live, case.form.case, path, canvas, values)

    sliders = [case.fields[key].release for key in (*STEERING, "guidance_scale")]
    return gr.on(
        sliders, edit_again, [case.live, *case.inputs], list(panel), trigger_mode="always_last",
        api_visibility="private", **MODEL,
    )  # fmt: skip


def _wire_plan(handlers: Handlers, case: CaseTab, click: Any) -> None:
    """Update the forecast when an input changes, and after a run: then the source is computed."""
    name = case.form.case

    def plan(request: gr.Request, path: str | None, canvas: Canvas, *values: Any) -> str:
        return handlers.plan(handlers.session(request), name, path, canvas, values)

    changes = [one.change for one in case.inputs if hasattr(one, "change")]
    event: dict[str, Any] = {"fn": plan, "inputs": case.inputs, "outputs": case.plan}
    event |= {"show_progress": "hidden", "concurrency_id": "plan"}
    gr.on(changes, trigger_mode="always_last", api_name=f"plan_{name}", **event)
    click.then(api_visibility="private", **event)


def _wire_region(handlers: Handlers, case: CaseTab) -> None:
    """Show the canvas and the feather when they are needed."""
    name, where = case.form.case, case.fields["where"]

    def prepare_canvas(request: gr.Request, where: str, path: str | None) -> list[Any]:
        return handlers.prepare_canvas(handlers.session(request), where, name, path)

    changes: list[Callable[..., Any]] = [where.change]
    changes += [case.path.change] if name == "picture" else []
    outputs = [case.canvas, case.fields["feather"]]
    gr.on(changes, prepare_canvas, [where, case.path], outputs, **QUICK)


def _show_sliders(steer: str) -> list[Any]:
    """Show the sliders that steer says."""
    return [gr.update(visible=(name == "strength") == (steer == "strength")) for name in STEERING]


def _limit_window(steps: int, t_max: float, t_m: float) -> list[Any]:
    """Keep the window within the steps."""
    return [gr.update(maximum=steps, value=min(value, steps)) for value in (t_max, t_m)]
