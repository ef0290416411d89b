"""The look of the page: its theme and CSS, and a script that labels pictures."""

from typing import Any

import gradio as gr

FOOTER: list[Any] = ["api", "settings"]
CSS = """
.mdp-status progress { display: block; width: 100%; height: 0.6rem; margin-top: 0.3rem; }
.mdp-status, .mdp-plan { font-size: var(--text-md); overflow-wrap: anywhere; }
#slider img, #preview img, #uploaded img, #mask img {
  width: 100%; height: 100%; object-fit: contain;
}
"""

# gradio's pictures are buttons without a name: they get the label of their block.
LABEL_SCRIPT = """() => {
  const bare = "button:has(img):not([aria-label])";
  const addLabels = () => document.querySelectorAll(bare).forEach((one) => {
    const label = one.closest(".block")?.querySelector("label")?.innerText?.trim() || "Picture";
    const caption = one.innerText?.trim();
    one.setAttribute("aria-label", caption ? `${label}: ${caption}` : label);
  });
  new MutationObserver(addLabels).observe(document.body, {childList: true, subtree: true});
  addLabels();
}"""


def build_theme() -> gr.Theme:
    """A theme with fonts of the visitor's machine: none is downloaded."""
    plain, mono = gr.themes.Font("system-ui"), gr.themes.Font("ui-monospace")
    return gr.themes.Default(
        font=[plain, gr.themes.Font("sans-serif")],
        font_mono=[mono, gr.themes.Font("monospace")],
    )
