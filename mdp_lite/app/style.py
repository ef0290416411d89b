"""The look of the page: its theme, beside page.css."""

from typing import Any

import gradio as gr

FOOTER: list[Any] = ["api", "settings"]

def build_theme() -> gr.Theme:
    """A theme with fonts of the visitor's machine: none is downloaded."""
    plain, mono = gr.themes.Font("system-ui"), gr.themes.Font("ui-monospace")
    return gr.themes.Default(
        font=[plain, gr.themes.Font("sans-serif")],
        font_mono=[mono, gr.themes.Font("monospace")],
    )
