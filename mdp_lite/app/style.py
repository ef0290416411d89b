"""The look of the page: its theme, beside page.css."""

from typing import Any

import gradio as gr

FOOTER: list[Any] = ["api"]

ACCENT, ACCENT_DARK = "#3f51c7", "#8c9eff"  # on white and on dark: contrast above 4.5
QUIET, QUIET_DARK = "#586072", "#a9b1c0"


def build_theme() -> gr.Theme:
    """A theme with fonts of the visitor's machine: none is downloaded."""
    plain, mono = gr.themes.Font("system-ui"), gr.themes.Font("ui-monospace")
    theme = gr.themes.Default(
        primary_hue="indigo", neutral_hue="slate", font=[plain, gr.themes.Font("sans-serif")],
        font_mono=[mono, gr.themes.Font("monospace")],
    )  # fmt: skip
    return theme.set(
        color_accent=ACCENT, button_primary_background_fill=ACCENT,
        button_primary_background_fill_hover="#3343ab", button_primary_text_color="white",
        button_primary_background_fill_dark="#4c5fd7",
        button_primary_background_fill_hover_dark="#4052c8",
        body_text_color_subdued=QUIET, body_text_color_subdued_dark=QUIET_DARK,
        block_info_text_color=QUIET, block_info_text_color_dark=QUIET_DARK,
        block_label_text_color="*body_text_color", block_title_text_color="*body_text_color",
        input_placeholder_color="#6b7285", input_placeholder_color_dark="#98a1b3",
        slider_color=ACCENT, slider_color_dark=ACCENT_DARK, block_border_width="1px",
        button_cancel_background_fill="#b3261e", button_cancel_background_fill_hover="#8f1d17",
        button_cancel_text_color="white", button_cancel_background_fill_dark="#c0352c",
        button_cancel_text_color_dark="white",
    )  # fmt: skip
