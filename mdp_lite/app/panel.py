"""The panel that shows a result: its components, and what they are set to while and after a run."""

from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from mdp_lite.app import words
from mdp_lite.app.fields import Update
from mdp_lite.app.form import Form
from mdp_lite.app.snippets import command, python
from mdp_lite.app.streaming import Progress


class Files(NamedTuple):
    """Before and after, and the mask if there is one."""

    before: Path
    after: Path
    mask: Path | None = None


class Panel(NamedTuple):
    """The components, in the order of all updates; status comes last."""

    slider: gr.ImageSlider
    look: gr.Image
    download: gr.DownloadButton
    mask: gr.Image
    shell: gr.Code
    python: gr.Code
    status: gr.HTML


def panel() -> Panel:
    """The components where the caller stands in the page."""
    status = gr.HTML(words.lines(["Nothing has run yet."]), elem_id="status")
    look = gr.Image(
        label="Preview", format="png", interactive=False, visible=False, elem_id="look", buttons=[]
    )
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
    return Panel(slider, look, download, mask, shell, code, status)


def result(
    files: Files, form: Form | None, name: str | None, model: str, said: list[str]
) -> list[Update]:
    """The panel with an edit on it; without a form it can't be said how to make it elsewhere."""
    after, mask = str(files.after), files.mask and str(files.mask)
    return [
        (str(files.before), after),
        gr.update(value=None, visible=False),
        gr.update(value=after, interactive=True),
        gr.update(value=mask, visible=mask is not None),
        command(form, name, model) if form else "",
        python(form, name, model) if form else "",
        words.lines(said),
    ]


def quiet(status: str) -> list[Update]:
    """The panel as it stands, without a preview, and with another status."""
    return [gr.skip(), gr.update(visible=False), *(gr.skip() for _ in range(4)), status]


def running(at: Progress) -> list[Update]:
    """The panel while an edit runs."""
    look = gr.skip() if at.look is None else gr.update(value=at.look, visible=True)
    return [gr.skip(), look, *(gr.skip() for _ in range(4)), words.progress(at)]


def told(run: Generator[Progress, None, Any]) -> Generator[list[Update], None, Any]:
    """A run's progress as updates of the panel; its result is the generator's."""
    try:
        while True:
            yield running(next(run))
    except StopIteration as end:
        return end.value
    finally:
        run.close()
