"""Build a component of the page from its files: NAME.html, NAME.css and NAME.js."""

from pathlib import Path
from typing import Any

import gradio as gr

from mdp_lite.app.wording import TEXTS

FOLDER = Path(__file__).parent


def build_component(name: str, value: Any = None, elem_id: str = "", **settings: Any) -> gr.HTML:
    """The component of a name, with a value that is JSON.

    Its template never changes: NAME.js reads `props.value` and draws it, again whenever Python
    sends another one (`watch("value", draw)`), so that a drag or a focus survives an update. The
    script finds its sentences in `props.texts`. elem_id is its id, by default the
    name. settings are those of gr.HTML.
    """
    texts: Any = TEXTS.get(name, {})
    return gr.HTML(
        value, html_template=read_asset(name, "html"), css_template=read_asset(name, "css"),
        js_on_load=read_script(name), texts=texts, apply_default_css=False,
        elem_id=elem_id or name, **settings,
    )  # fmt: skip


def read_script(name: str) -> str:
    """The script of a component: common.js, its parts NAME_*.js by name, and NAME.js at last.

    They become one function, so a part's names are those of all parts.
    """
    parts = sorted(file.stem for file in FOLDER.glob(f"{name}_*.js"))
    return "\n".join(read_asset(one, "js") for one in ("common", *parts, name))


def read_asset(name: str, kind: str) -> str:
    """The text of a component's file; "" if the component has none of this kind."""
    file = FOLDER / f"{name}.{kind}"
    return file.read_text("utf-8") if file.exists() else ""
