"""A small page with the component model alone, so that its tests need no model."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.served_blocks import serve_blocks

CHOICES = [
    {"id": "tiny", "about": "64x64 synthetic scenes; knows 41 words",
     "sizes": "11.9 MB on disk, 23.5 MB in memory", "mark": "loaded"},
    {"id": "sd15", "about": "512x512 Stable Diffusion 1.x",
     "sizes": "2.13 GB on disk, 4.27 GB in memory", "mark": ""},
    {"id": "sdxl-turbo", "about": "1024x1024 Stable Diffusion XL",
     "sizes": "6.94 GB on disk, 13.9 GB in memory", "mark": "could not be loaded"},
]  # fmt: skip
NASTY = "<img src=x onerror=alert(1)>"  # as the name of a model, which a folder may have


class ModelPage(NamedTuple):
    """The address of the page, and the events that Python got."""

    url: str
    events: list[tuple[str, Any]]


def model_value(**parts: Any) -> dict[str, Any]:
    """The component's value with several models."""
    value = {"current": "tiny", "models": CHOICES, "can_use_hub": False, "offer": None, "error": ""}
    return value | parts


VALUES = {
    "one": model_value(models=CHOICES[:1]),
    "several": model_value(),
    "hub": model_value(can_use_hub=True),
    "offer": model_value(offer={"id": "sd15", "text": "This picture was made with sd15."}),
    "error": model_value(error="The model 'sdxl-turbo' could not be loaded: a file is cut off"),
    "nasty": model_value(models=[{**CHOICES[0], "id": NASTY}, CHOICES[1]], current=NASTY),
}


def build_blocks(events: list[tuple[str, Any]]) -> Any:
    """The component on a page, whose address says which value it shows: ?several."""
    import gradio as gr

    from mdp_lite.app.components.model import build_model_line

    def answer(value: Any, event: gr.EventData) -> dict[str, Any]:
        events.append(("select", event.id))
        if event.id == "sdxl-turbo":
            return value | {"error": "The model 'sdxl-turbo' could not be loaded"}
        return value | {"current": event.id, "error": "", "offer": None}

    def fetch(value: Any, event: gr.EventData) -> dict[str, Any]:
        events.append(("submit", event.hub))
        return value

    def show(request: gr.Request) -> dict[str, Any]:
        return VALUES.get(next(iter(request.query_params.keys()), ""), VALUES["several"])

    with gr.Blocks(analytics_enabled=False) as blocks:
        line = build_model_line()
        gr.Textbox("", label="below", elem_id="below")
        line.select(answer, line, line)
        line.submit(fetch, line, line)
        blocks.load(show, None, line)
    return blocks


@pytest.fixture(scope="module")
def model_page() -> Iterator[ModelPage]:
    """That page, served by this process."""
    pytest.importorskip("gradio")
    from mdp_lite.app.style import build_theme

    events: list[tuple[str, Any]] = []
    with serve_blocks(lambda: build_blocks(events), theme=build_theme()) as url:
        yield ModelPage(url, events)
