"""The panel of results: its components, and their updates during and after a run."""

from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from mdp_lite.app import markup
from mdp_lite.app.fields import Update
from mdp_lite.app.form import EditForm
from mdp_lite.app.snippets import python_code, shell_command
from mdp_lite.app.streaming import RunProgress


class ResultFiles(NamedTuple):
    """The files of a source, of its edit, and of the mask if there is one."""

    source: Path
    edit: Path
    mask: Path | None = None


class Panel(NamedTuple):
    """The components in the order of all updates; status comes last."""

    slider: gr.ImageSlider
    preview: gr.Image
    download: gr.DownloadButton
    mask: gr.Image
    shell: gr.Code
    python: gr.Code
    status: gr.HTML


def build_panel() -> Panel:
    """Create the components at this place of the page."""
    status = gr.HTML(markup.status(["Nothing has run yet."]), elem_id="status")
    preview = gr.Image(
        label="Preview", format="png", interactive=False, visible=False, elem_id="preview",
        buttons=[],
    )  # fmt: skip
    slider = gr.ImageSlider(
        label="Before and after", format="png", interactive=False, elem_id="slider", height=420
    )
    download = gr.DownloadButton(
        "Download the PNG with its settings", interactive=False, elem_id="download"
    )
    mask = gr.Image(
        label="Where it was edited (white)", format="png", interactive=False, visible=False,
        elem_id="mask",
    )  # fmt: skip
    with gr.Accordion("The same elsewhere", open=False):
        shell = gr.Code(label="For the shell", language="shell", interactive=False)
        code = gr.Code(label="In Python", language="python", interactive=False)
    return Panel(slider, preview, download, mask, shell, code, status)


def show_result(
    files: ResultFiles, form: EditForm, name: str | None, model: str, clip_skip: int,
    lines: list[str],
) -> list[Update]:  # fmt: skip
    """Show an edit, and the code that makes it elsewhere."""
    edit, mask = str(files.edit), files.mask and str(files.mask)
    return [
        (str(files.source), edit),
        gr.update(value=None, visible=False),
        gr.update(value=edit, interactive=True),
        gr.update(value=mask, visible=mask is not None),
        shell_command(form, name, model, clip_skip),
        python_code(form, name, model, clip_skip),
        markup.status(lines),
    ]


def show_status(status: str) -> list[Update]:
    """Show another status, hide the preview, and leave the rest as it is."""
    return [gr.skip(), gr.update(visible=False), *(gr.skip() for _ in range(4)), status]


def show_progress(progress: RunProgress) -> list[Update]:
    """Show the progress of a run, and its preview if there is a new one."""
    image = progress.preview
    preview = gr.skip() if image is None else gr.update(value=image, visible=True)
    return [gr.skip(), preview, *(gr.skip() for _ in range(4)), markup.progress_bar(progress)]


def stream_updates(
    run: Generator[RunProgress, None, Any],
) -> Generator[list[Update], None, Any]:
    """Yield a run's progress as updates of the panel, and return its result."""
    try:
        while True:
            yield show_progress(next(run))
    except StopIteration as end:
        return end.value
    finally:
        run.close()
