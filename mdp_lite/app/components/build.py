"""Build a component of the page from its files: NAME.html, NAME.css and NAME.js."""

import json
from pathlib import Path
from typing import Any

import gradio as gr

from mdp_lite.app.wording import TEXTS

FOLDER = Path(__file__).parent


def build_component(name: str, value: Any = None, elem_id: str = "", **settings: Any) -> gr.HTML:
    """The component of a name, with a value that is JSON.

    Its template never changes: NAME.js reads `props.value` and draws it, again whenever Python
    sends another one (`watch("value", draw)`), so that a drag or a focus survives an update.
    elem_id is its id, by default the name. settings are those of gr.HTML.
    """
    return gr.HTML(
        value, html_template=read_asset(name, "html"), css_template=read_asset(name, "css"),
        js_on_load=read_script(name), apply_default_css=False, elem_id=elem_id or name, **settings,
    )  # fmt: skip


def read_script(name: str) -> str:
    """The script of a component: its sentences, common.js, its parts NAME_*.js, and NAME.js.

    They become one function, so a part's names are those of all parts. The sentences are no
    property of the component: one in a closed fold that gets a value loses the others.
    """
    texts = json.dumps(TEXTS.get(name, {}), ensure_ascii=False)
    parts = sorted(file.stem for file in FOLDER.glob(f"{name}_*.js"))
    scripts = "\n".join(read_asset(one, "js") for one in ("common", *parts, name))
    return f"const TEXTS = {texts};\n{scripts}"


def read_asset(name: str, kind: str) -> str:
    """The text of a component's file; "" if the component has none of this kind."""
    file = FOLDER / f"{name}.{kind}"
    return file.read_text("utf-8") if file.exists() else ""
