"""The components of a form, built for both cases, in the order in which handlers take them."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from mdp_lite.app.form import (
    CASES,
    MAX_FEATHER,
    MAX_GUIDANCE,
    MAX_STEPS,
    MAX_TEXT,
    PAGE_FITS,
    PAGE_SCHEDULES,
    XL_FIELDS,
    EditForm,
)
from mdp_lite.app.wording import say
from mdp_lite.names import VARIANTS

COMMON = (
    "source_prompt", "prompt", "variant", "steer", "strength", "t_max", "t_m", "schedule",
    "guidance_scale", "steps", "seed", "negative_prompt", "where", "feather",
)  # fmt: skip
FIELD_NAMES = {
    "picture": (*COMMON, "method", "fit", *XL_FIELDS), "prompt": (*COMMON, *XL_FIELDS)
}  # fmt: skip
MAX_SEED = 2**53 - 1  # a browser has no larger whole numbers
STEER_CHOICES = [("Strength", "strength"), ("Window of steps", "window")]
WHERE_CHOICES = [
    ("Everywhere", "everywhere"), ("Where I paint", "painted"), ("Found automatically", "found"),
]  # fmt: skip
Update = Any  # a component's new value, gr.update or gr.skip
SOURCE_HINT = "What the picture shows now, for example: a red house on the grass"
TARGET_HINT = "What it is to show, for example: a blue house on the grass"


def build_prompts(form: EditForm) -> dict[str, Any]:
    """The two prompts of an edit, and the seed of a generated source."""
    real = form.case == "picture"
    components: dict[str, Any] = {
        "source_prompt": gr.Textbox(
            form.source_prompt, label="Source prompt (optional)" if real else "Source prompt",
            max_length=MAX_TEXT, placeholder=SOURCE_HINT, elem_id=f"{form.case}-source-prompt",
        ),
        "prompt": gr.Textbox(
            form.prompt, label="Edit prompt", max_length=MAX_TEXT, elem_id=f"{form.case}-prompt",
            placeholder=TARGET_HINT,
        ),
    }  # fmt: skip
    return components if real else components | {"seed": _build_seed(form, "Seed of the source")}


def _build_seed(form: EditForm, label: str) -> gr.Number:
    return gr.Number(
        form.seed, label=label, precision=0, minimum=0, maximum=MAX_SEED,
        elem_id=f"{form.case}-seed",
    )  # fmt: skip


def build_steering(form: EditForm) -> dict[str, Any]:
    """The controls of how far the edit may go from its source."""
    components: dict[str, Any] = {
        "variant": gr.Radio(
            list(VARIANTS), value=form.variant, label="Variant: what is mixed with the source's"
        ),
        "steer": gr.Radio(STEER_CHOICES, value=form.steer, label="Steer by"),
        "strength": gr.Slider(
            0, 1, form.strength, step=0.01, label="Strength: 0 is the source, 1 the prompt alone",
            elem_id=f"{form.case}-strength",
        ),
    }  # fmt: skip
    for name, label in (
        ("t_max", "t_max: steps to go as mixing starts"),
        ("t_m", "t_m: steps that are mixed"),
    ):
        value = getattr(form, name)
        components[name] = gr.Slider(0, form.steps, value, step=0.5, label=label, visible=False)
    components["schedule"] = gr.Radio(
        list(PAGE_SCHEDULES), value=form.schedule, label="Schedule: weights over the window"
    )
    return components


def build_sampling(form: EditForm, methods: list[str]) -> dict[str, Any]:
    """The controls of sampling and of the inversion."""
    components: dict[str, Any] = {
        "guidance_scale": gr.Slider(
            1, MAX_GUIDANCE, form.guidance_scale, step=0.1, label="Guidance (1: none)"
        ),
        "steps": gr.Slider(1, MAX_STEPS, form.steps, step=1, label="Steps"),
        "negative_prompt": gr.Textbox(
            form.negative_prompt, label="Negative prompt (optional)", max_length=MAX_TEXT
        ),
    }  # fmt: skip
    if form.case == "picture":
        label = "Fit: how the picture is brought to the model's size"
        components["seed"] = _build_seed(form, "Seed of the inversion's noise")
        components["method"] = gr.Dropdown(methods, value=form.method, label="Inversion")
        components["fit"] = gr.Radio(list(PAGE_FITS), value=form.fit, label=label)
    return components


def build_region(form: EditForm) -> dict[str, Any]:
    """The controls of where the edit may happen."""
    return {
        "where": gr.Radio(
            WHERE_CHOICES, value=form.where, label="Where the edit may happen",
            elem_id=f"{form.case}-where",
        ),
        "feather": gr.Slider(
            0, MAX_FEATHER, form.feather, step=1, label="Feather: pixels over which it fades",
            visible=False,
        ),
    }  # fmt: skip


def build_xl_fields(form: EditForm) -> dict[str, Any]:
    """The controls of what SDXL reads beside the prompts; empty ones are its defaults."""
    return {
        name: gr.Textbox(
            getattr(form, name), label=say("settings", name), max_length=MAX_TEXT,
            placeholder=say("settings", f"{name}_hint"),
            elem_id=f"{form.case}-{name.replace('_', '-')}",
        )
        for name in XL_FIELDS
    }  # fmt: skip


def list_components(form: EditForm, components: dict[str, Any]) -> list[Any]:
    """The components of a case in the order in which its handlers take them."""
    return [components[name] for name in FIELD_NAMES[form.case]]


def update_case(form: EditForm) -> list[Update]:
    """Updates that set all controls of a case to a form."""
    window = form.steer == "window"
    special: dict[str, Callable[[], Any]] = {
        "strength": lambda: gr.update(value=form.strength, visible=not window),
        "t_max": lambda: gr.update(value=form.t_max, maximum=form.steps, visible=window),
        "t_m": lambda: gr.update(value=form.t_m, maximum=form.steps, visible=window),
        "feather": lambda: gr.update(value=form.feather, visible=form.where != "everywhere"),
    }
    plain = {name: getattr(form, name) for name in FIELD_NAMES[form.case]}
    return [special[name]() if name in special else value for name, value in plain.items()]


def skip_case(case: str) -> list[Update]:
    """Updates that leave all controls of a case as they are."""
    return [gr.skip() for _ in FIELD_NAMES[case]]


def skip_controls() -> list[Update]:
    """Updates that leave the controls of both cases as they are."""
    return [one for case in CASES for one in skip_case(case)]


def update_controls(form: EditForm) -> list[Update]:
    """Updates for the controls of both cases: those of the form's case are set to the form."""
    return [
        one
        for case in CASES
        for one in (update_case(form) if case == form.case else skip_case(case))
    ]
