"""A page with only a sheet, for browser tests: its value, and what it sent to the server."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from PIL import Image

from support.served_blocks import serve_blocks

COLOURS = ("red", "orange", "gold", "green", "teal", "blue", "navy", "purple", "maroon")
BEFORE = "gray"


class SheetPage(NamedTuple):
    """The address of the page, and the events that its sheet sent: name and data."""

    url: str
    events: list[tuple[str, Any]]


def draw_url(colour: str, size: tuple[int, int] = (64, 64)) -> str:
    """A picture of one colour as a data URL."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def make_cell(k: int, label: str, **changes: Any) -> dict[str, Any]:
    """A cell of the component's value."""
    return {
        "id": f"explore-1/edit-{k}", "url": draw_url(COLOURS[k]), "source_url": draw_url(BEFORE),
        "label": label, "details": ["Towards <b>a boat</b>"], "rows": 46 + k,
        "seconds": 0.25 * k, "about": True, "psnr": 20.5 + k, "liked": False, "loads": True,
    } | changes  # fmt: skip


def make_value() -> dict[str, Any]:
    """A sheet of 3 x 3 with a gap at the lower left, and one edit that no settings make."""
    cells: list[list[Any]] = [
        [make_cell(3 * y + x, f"t_max {44 + 3 * x}, t_m {20 + 6 * y}") for x in range(3)]
        for y in range(3)
    ]
    cells[2][0] = None
    cells[2][2] |= {"loads": False, "label": "Another <i>method</i> " + "long" * 20}
    return {
        "number": "explore-1", "title": "Windows <of> steps", "ratio": 1,
        "columns": [{"label": f"t_max {44 + 3 * x}"} for x in range(3)],
        "rows": [{"label": f"t_m {20 + 6 * y}"} for y in range(3)], "cells": cells,
        "notes": ["8 edits took 300 UNet rows."], "download": draw_url("red"), "favourites": [],
    }  # fmt: skip


@contextmanager
def serve_sheet() -> Iterator[SheetPage]:
    """Serve a page with the sheet of make_value; a button sends another one."""
    import gradio as gr

    from mdp_lite.app.components.build import build_component
    from mdp_lite.app.style import build_theme
    from mdp_lite.app.wiring import QUICK

    events: list[tuple[str, Any]] = []

    def build() -> Any:
        with gr.Blocks(analytics_enabled=False) as blocks:
            sheet = build_component("sheet", make_value(), elem_id="explore-sheet")
            other = gr.Button("Another sheet", elem_id="another")

            def select(event: gr.EventData) -> None:
                events.append(("select", event._data))

            def like(event: gr.EventData) -> None:
                events.append(("like", event._data))

            sheet.select(select, None, None, **QUICK)
            sheet.like(like, None, None, trigger_mode="multiple", **QUICK)
            other.click(lambda: make_value() | {"number": "explore-2", "title": "New"}, None, sheet)
        return blocks

    css = ".gradio-container { overflow: clip !important; }"
    with serve_blocks(build, theme=build_theme(), css=css) as url:
        yield SheetPage(url, events)
