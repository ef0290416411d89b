"""The page: where everything stands, and which function answers to what."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr

from mdp_lite.app import fields, words
from mdp_lite.app.examples import EXAMPLES
from mdp_lite.app.fence import Fence
from mdp_lite.app.form import CASES, Form, suggested
from mdp_lite.app.handlers import Canvas, Handlers
from mdp_lite.app.many import Sheets, windows
from mdp_lite.app.panel import Panel, panel
from mdp_lite.app.studio import Studio
from mdp_lite.names import VARIANTS

LARGEST = "20mb"  # of an uploaded file
FOOTER: list[Any] = ["api", "settings"]
KEPT = 3600  # seconds that files of pictures are kept, unless the server stops before
WAITING = 8  # runs that may wait for their turn
# Of events: those that call the model wait for each other, those that only change the page do not.
MODEL: dict[str, Any] = {
    "concurrency_id": "model", "concurrency_limit": 1, "show_progress": "hidden"
}  # fmt: skip
QUICK: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
TITLES = {"picture": "Edit a picture", "prompt": "Make and edit"}
CSS = """
.mdp-status progress { display: block; width: 100%; height: 0.6rem; margin-top: 0.3rem; }
.mdp-status, .mdp-plan { font-size: var(--text-md); overflow-wrap: anywhere; }
#slider img, #look img, #given img, #mask img { width: 100%; height: 100%; object-fit: contain; }
"""

# gradio's pictures are buttons without a name: they get the label of the block that they stand in.
LABELS = """() => {
  const bare = "button:has(img):not([aria-label])";
  const named = () => document.querySelectorAll(bare).forEach((one) => {
    const label = one.closest(".block")?.querySelector("label")?.innerText?.trim() || "Picture";
    const caption = one.innerText?.trim();
    one.setAttribute("aria-label", caption ? `${label}: ${caption}` : label);
  });
  new MutationObserver(named).observe(document.body, {childList: true, subtree: true});
  named();
}"""


class Case(NamedTuple):
    """The components of one case: what it starts from, the canvas, the form's, the buttons."""

    form: Form
    path: Any  # gr.File, or gr.State of None
    shown: gr.Image | None
    canvas: gr.ImageEditor
    made: dict[str, Any]
    live: gr.Checkbox
    plan: gr.HTML
    run: gr.Button

    @property
    def controls(self) -> list[Any]:
        """In the order in which handlers take them."""
        return fields.ordered(self.form, self.made)


def theme() -> gr.Theme:
    """Fonts of the visitor's own machine: none is fetched."""
    plain, mono = gr.themes.Font("system-ui"), gr.themes.Font("ui-monospace")
    return gr.themes.Default(
        font=[plain, gr.themes.Font("sans-serif")],
        font_mono=[mono, gr.themes.Font("monospace")],
    )


def page(studio: Studio) -> gr.Blocks:
    """The whole page over a studio; theme and CSS are given as it is launched or mounted."""
    handlers = Handlers(studio)
    with gr.Blocks(title=words.TITLE, analytics_enabled=False, delete_cache=(KEPT, KEPT)) as blocks:
        gr.Markdown(words.INTRO)
        with gr.Row():
            with gr.Column(scale=6, min_width=320):
                restore, said = _restoring()
                with gr.Tabs() as tabs:
                    cases = [_case(studio, case) for case in CASES]
                    many = _many(Sheets(handlers))
            with gr.Column(scale=5, min_width=320):
                stop = gr.Button("Stop", variant="stop", elem_id="stop")
                shown = panel()
        everything = [one for case in cases for one in case.controls]
        runs = [event for case in cases for event in _wired(handlers, case, shown)]
        runs += many(shown, everything)
        stop.click(handlers.stop, None, shown.status, cancels=runs, queue=False, api_name="stop")
        restore.change(
            handlers.restore, [restore, *cases[0].controls], [tabs, said, *everything],
            show_progress="hidden", api_name="restore",
        )  # fmt: skip
        blocks.unload(handlers.left)
    return blocks.queue(max_size=WAITING, default_concurrency_limit=4)


def mounted(app: Any, studio: Studio, path: str, names: tuple[str, ...] = ()) -> Any:
    """The page under a path of another FastAPI application, which answers to the rest.

    With names it is shown under no others: see fence.
    """
    return gr.mount_gradio_app(
        app, page(studio), path, theme=theme(), css=CSS, js=LABELS, max_file_size=LARGEST,
        footer_links=FOOTER, show_error=False, ssr_mode=False, run_history=False,
        app_kwargs={"middleware": [(Fence, (), {"names": names})]},
    )  # fmt: skip


def _restoring() -> tuple[gr.File, gr.HTML]:
    with gr.Accordion("Settings of a picture made by mdp_lite", open=False):
        file = gr.File(
            label="Drop a PNG: its settings come back", file_types=[".png"], elem_id="restore",
            height=120,
        )  # fmt: skip
        return file, gr.HTML("")


def _case(studio: Studio, name: str) -> Case:
    """The tab of a case."""
    form = suggested(studio.editor, name)
    with gr.Tab(TITLES[name], id=name):
        path, shown = _picture() if name == "picture" else (gr.State(None), None)
        made = fields.prompts(form)
        if name == "picture":
            rows = [[str(one.file), one.source_prompt, one.prompt] for one in EXAMPLES]
            gr.Examples(
                rows, [path, *made.values()], label="Examples", cache_examples=False,
                example_labels=[one.label for one in EXAMPLES],
            )  # fmt: skip
        plan = gr.HTML("", elem_id=f"{name}-plan")
        run = gr.Button("Edit", variant="primary", elem_id=f"{name}-edit")
        made |= fields.steering(form)
        live = gr.Checkbox(True, label="Edit again as I let go of a slider", elem_id=f"{name}-live")
        with gr.Accordion("Where", open=False):
            made |= fields.placing(form)
            canvas = gr.ImageEditor(
                label="Paint where the edit may happen", type="pil", format="png", visible=False,
                sources=[], transforms=[], layers=False, elem_id=f"{name}-canvas",
                brush=gr.Brush(colors=["#ffffff"], color_mode="fixed"),
            )  # fmt: skip
        with gr.Accordion("Sampling", open=False):
            made |= fields.sampling(form, studio.methods)
    return Case(form, path, shown, canvas, made, live, plan, run)


def _picture() -> tuple[gr.File, gr.Image]:
    """Where a picture is given, and shown. A file, so that our own reader alone decodes it."""
    file = gr.File(
        label="Picture (PNG, JPEG or WebP)", file_types=[".png", ".jpg", ".jpeg", ".webp"],
        elem_id="picture", height=140,
    )  # fmt: skip
    shown = gr.Image(
        label="The picture", format="png", interactive=False, visible=False, height=260,
        buttons=["fullscreen"], elem_id="given",
    )  # fmt: skip
    return file, shown


def _wired(handlers: Handlers, case: Case, shown: Panel) -> list[Any]:
    """What answers to a case's components; the events that Stop cancels."""
    name, made = case.form.case, case.made
    run = handlers.edit_picture if name == "picture" else handlers.edit_prompt
    first = [case.path] if name == "picture" else []
    begun = case.run.click(
        run, [*first, case.canvas, *case.controls], list(shown), api_name=f"edit_{name}", **MODEL
    )

    def again(
        request: gr.Request, live: bool, path: str | None, canvas: Canvas, *values: Any
    ) -> Iterator[list[Any]]:
        yield from handlers.again(handlers.session(request), live, name, path, canvas, values)

    def plan(request: gr.Request, path: str | None, canvas: Canvas, *values: Any) -> str:
        return handlers.plan(handlers.session(request), name, path, canvas, values)

    def to_paint(request: gr.Request, where: str, path: str | None) -> list[Any]:
        return handlers.to_paint(handlers.session(request), where, name, path)

    everything = [case.path, case.canvas, *case.controls]
    sliders = [made[key].release for key in ("strength", "t_max", "t_m", "guidance_scale")]
    repeated = gr.on(
        sliders, again, [case.live, *everything], list(shown), trigger_mode="always_last",
        api_visibility="private", **MODEL,
    )  # fmt: skip
    changes = [one.change for one in everything if hasattr(one, "change")]
    foretold: dict[str, Any] = {"fn": plan, "inputs": everything, "outputs": case.plan}
    foretold |= {"show_progress": "hidden", "concurrency_id": "plan"}
    gr.on(changes, trigger_mode="always_last", api_name=f"plan_{name}", **foretold)
    begun.then(api_visibility="private", **foretold)  # now the source is at hand
    if case.shown:
        case.path.change(  # in the queue, unlike QUICK: without it no error reaches the page
            handlers.show, case.path, case.shown, show_progress="hidden", api_visibility="private"
        )
    painting = [made["where"].change] + ([case.path.change] if name == "picture" else [])
    gr.on(painting, to_paint, [made["where"], case.path], [case.canvas, made["feather"]], **QUICK)
    made["steer"].change(_steered, made["steer"], [made[k] for k in STEERED], **QUICK)
    made["steps"].release(_stepped, [made["steps"], *_window(made)], _window(made), **QUICK)
    return [begun, repeated]


STEERED = ("strength", "t_max", "t_m")
T_MAX = "explore-t-max"  # the id of its box


def _window(made: dict[str, Any]) -> list[Any]:
    return [made["t_max"], made["t_m"]]


def _steered(steer: str) -> list[Any]:
    """Show the sliders of what steers."""
    return [gr.update(visible=(name == "strength") == (steer == "strength")) for name in STEERED]


def _stepped(steps: int, t_max: float, t_m: float) -> list[Any]:
    """Keep the window within the steps."""
    return [gr.update(maximum=steps, value=min(value, steps)) for value in (t_max, t_m)]


def _many(sheets: Sheets) -> Callable[[Panel, list[Any]], list[Any]]:
    """The pages of many edits; what they give wires them once all components are there."""
    with gr.Tab("Explore", id="explore") as first:
        about = gr.HTML("")
        by = gr.Radio(fields.STEER[::-1], value="window", label="Explore by")
        variants = gr.CheckboxGroup(list(VARIANTS), value=[Form.variant], label="Variants")
        edges = windows(50)
        t_max = gr.Textbox(edges[0], label="t_max, in steps, between commas", elem_id=T_MAX)
        t_m = gr.Textbox(edges[1], label="t_m, in steps, between commas")
        count = gr.Slider(2, 8, 5, step=1, label="Strengths, from 0 to 1", visible=False)
        make = gr.Button("Make the sheet", variant="primary", elem_id="make-sheet")
        grid = _gallery("Click an edit to load its settings", "explore-grid")
        file = gr.DownloadButton("Download the sheet", interactive=False)
        table = gr.HTML("", visible=False)
    with gr.Tab("Compare", id="compare") as second:
        compared = gr.HTML("")
        compare = gr.Button(_all(sheets), variant="primary", elem_id="make-compare")
        four = _gallery("The source and its edits", "compare-grid")
        told = gr.HTML("")
        page = gr.DownloadButton("Download the comparison", interactive=False)

    def wire(shown: Panel, everything: list[Any]) -> list[Any]:
        first.select(sheets.ready, None, [about, t_max, t_m], **QUICK)
        second.select(sheets.ready, None, [compared, t_max, t_m], **QUICK)
        by.change(_explored, by, [t_max, t_m, count], **QUICK)
        outputs = [*shown, *everything]
        for kind, gallery in (("explore", grid), ("compare", four)):
            gallery.select(_chosen(sheets, kind), None, outputs, **QUICK)
        asked = [by, variants, t_max, t_m, count]
        return [
            make.click(
                sheets.explore, asked, [grid, file, table, shown.status], api_name="explore",
                **MODEL,
            ),
            compare.click(
                sheets.compare, None, [four, page, told, shown.status], api_name="compare", **MODEL
            ),
        ]  # fmt: skip

    return wire


def _all(sheets: Sheets) -> str:
    """What the button of the comparison says."""
    names = ", ".join(one.name for one in sheets.handlers.studio.rivals)
    return "Compare the four variants" + (f" and {names}" if names else "")


def _gallery(label: str, name: str) -> gr.Gallery:
    return gr.Gallery(
        label=label, format="png", columns=3, allow_preview=False, interactive=False,
        elem_id=name, height="auto", object_fit="contain",
    )  # fmt: skip


def _explored(by: str) -> list[Any]:
    """Show what the sheet goes by."""
    window = by == "window"
    return [gr.update(visible=window), gr.update(visible=window), gr.update(visible=not window)]


def _chosen(sheets: Sheets, kind: str) -> Callable[..., list[Any]]:
    def chosen(event: gr.SelectData, request: gr.Request) -> list[Any]:
        return sheets.chosen(kind, event.index, sheets.handlers.session(request))

    return chosen
