"""The fields of the page that a visitor sees: two prompts, and folded settings in plain words."""

from typing import Any

import gradio as gr

from mdp_lite.app.fields import Update
from mdp_lite.app.form import (
    CASES,
    MAX_STEPS,
    MAX_TEXT,
    PAGE_FITS,
    PAGE_SCHEDULES,
    STEERS,
    XL_FIELDS,
    EditForm,
)
from mdp_lite.app.quality import build_qualities
from mdp_lite.app.studio import Studio
from mdp_lite.app.wording import TEXTS, say
from mdp_lite.names import VARIANTS

# The order in which handlers take the fields. Strength, where and feather come with other parts.
PAGE_FIELDS = (
    "case", "source_prompt", "prompt", "variant", "steer", "t_max", "t_m", "schedule",
    "guidance_scale", "steps", "seed", "negative_prompt", "method", "fit", *XL_FIELDS,
)  # fmt: skip


def build_case(form: EditForm) -> dict[str, Any]:
    """Where the edit starts: from a picture, or from words."""
    return {"case": _build_radio("case", CASES, form.case)}


def build_prompts(form: EditForm) -> dict[str, Any]:
    """The two prompts; Enter starts the edit."""
    return {
        name: gr.Textbox(
            getattr(form, name), label=say("settings", name), elem_id=name.replace("_", "-"),
            placeholder=say("settings", f"{name}_hint"), max_length=MAX_TEXT, lines=1, max_lines=3,
        )
        for name in ("source_prompt", "prompt")
    }  # fmt: skip


def build_settings(studio: Studio, form: EditForm) -> dict[str, Any]:
    """All that a first visitor needs not see, in groups."""
    with gr.Accordion(say("settings", "title"), open=False, elem_id="settings"):
        components = _build_method(form) | _build_sampling(studio, form)
        components |= _build_inversion(studio, form)
        with gr.Group(visible=studio.reads_xl) as xl:
            gr.Markdown(f"## {say('settings', 'xl_title')}\n{say('settings', 'xl_info')}")
            hints = {name: say("settings", f"{name}_hint") for name in XL_FIELDS}
            components |= {name: _build_text(name, form, hint) for name, hint in hints.items()}
    return components | {"xl": xl}


def _build_method(form: EditForm) -> dict[str, Any]:
    gr.Markdown(f"## {say('settings', 'method_title')}\n{say('settings', 'method_info')}")
    window = form.steer == "window"
    return {
        "variant": _build_radio("variant", VARIANTS, form.variant),
        "steer": _build_radio("steer", STEERS, form.steer),
        "t_max": _build_number("t_max", form.t_max, visible=window),
        "t_m": _build_number("t_m", form.t_m, visible=window),
        "schedule": _build_radio("schedule", PAGE_SCHEDULES, form.schedule),
    }


def _build_sampling(studio: Studio, form: EditForm) -> dict[str, Any]:
    gr.Markdown(f"## {say('settings', 'sampling_title')}\n{say('settings', 'sampling_info')}")
    return {
        "quality": gr.Radio(
            **build_qualities(studio.editor), label=say("settings", "quality"), elem_id="quality"
        ),
        "steps": _build_number("steps", form.steps, limit=MAX_STEPS),
        "guidance_scale": _build_number("guidance_scale", form.guidance_scale),
        "seed": _build_number("seed", form.seed),
        "negative_prompt": _build_text("negative_prompt", form, ""),
    }


def _build_inversion(studio: Studio, form: EditForm) -> dict[str, Any]:
    gr.Markdown(f"## {say('settings', 'inversion_title')}\n{say('settings', 'inversion_info')}")
    return {
        "method": gr.Dropdown(
            studio.methods, value=form.method, label=say("settings", "method"),
            info=say("settings", "method_hint"), elem_id="method",
        ),
        "fit": _build_radio("fit", PAGE_FITS, form.fit),
    }  # fmt: skip


def _build_radio(name: str, values: tuple[str, ...], value: str) -> gr.Radio:
    """One of a few values; a value is shown as its sentence, if there is one."""
    texts = TEXTS["settings"]
    choices = [(texts.get(f"{name}_{one}", one), one) for one in values]
    return gr.Radio(
        choices, value=value, label=texts[name], info=texts.get(f"{name}_hint"), elem_id=name
    )


def _build_number(name: str, value: float, visible: bool = True, limit: int = 0) -> gr.Number:
    """A number that the form checks: what is wrong is said beside it."""
    return gr.Number(
        value, label=say("settings", name), info=say("settings", f"{name}_hint", limit=limit),
        visible=visible, elem_id=name.replace("_", "-"),
    )  # fmt: skip


def _build_text(name: str, form: EditForm, hint: str) -> gr.Textbox:
    return gr.Textbox(
        getattr(form, name), label=say("settings", name), placeholder=hint, max_length=MAX_TEXT,
        elem_id=name.replace("_", "-"),
    )  # fmt: skip


def update_fields(form: EditForm) -> list[Update]:
    """Updates that set all fields of the page to a form."""
    window = form.steer == "window"
    values = {name: getattr(form, name) for name in PAGE_FIELDS}
    for name in ("t_max", "t_m"):
        values[name] = gr.update(value=values[name], visible=window)
    return list(values.values())


def skip_fields() -> list[Update]:
    """Updates that leave all fields as they are."""
    return [gr.skip() for _ in PAGE_FIELDS]
