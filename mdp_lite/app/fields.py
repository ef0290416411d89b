"""The controls of a form: one builder for both cases, in the order in which handlers take them."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from mdp_lite.app.form import CASES, FITS, MOST_FEATHER, MOST_GUIDANCE, MOST_STEPS, MOST_TEXT, Form
from mdp_lite.names import SCHEDULES, VARIANTS

SHARED = (
    "source_prompt", "prompt", "variant", "steer", "strength", "t_max", "t_m", "schedule",
    "guidance_scale", "steps", "seed", "negative_prompt", "where", "feather",
)  # fmt: skip
NAMES = {"picture": (*SHARED, "method", "fit"), "prompt": SHARED}
MOST_SEED = 2**53 - 1  # a browser has no larger whole numbers
STEER = [("Strength", "strength"), ("Window of steps", "window")]
WHERE = [("Everywhere", "everywhere"), ("Where I paint", "painted"), ("Found by itself", "found")]
Update = Any  # a component's new value, gr.update or gr.skip
BLANK = "What the picture shows now, for example: a red house on the grass"


def prompts(form: Form) -> dict[str, Any]:
    """The two texts of an edit, and the seed where that makes the source."""
    real = form.case == "picture"
    made: dict[str, Any] = {
        "source_prompt": gr.Textbox(
            form.source_prompt, label="Source prompt (optional)" if real else "Source prompt",
            max_length=MOST_TEXT, placeholder=BLANK, elem_id=f"{form.case}-source-prompt",
        ),
        "prompt": gr.Textbox(
            form.prompt, label="Edit prompt", max_length=MOST_TEXT, elem_id=f"{form.case}-prompt",
            placeholder="What it is to show, for example: a blue house on the grass",
        ),
    }  # fmt: skip
    return made if real else made | {"seed": _seed(form, "Seed of the source")}


def _seed(form: Form, label: str) -> gr.Number:
    return gr.Number(
        form.seed, label=label, precision=0, minimum=0, maximum=MOST_SEED,
        elem_id=f"{form.case}-seed",
    )  # fmt: skip


def steering(form: Form) -> dict[str, Any]:
    """How far the edit may leave its source."""
    made: dict[str, Any] = {
        "variant": gr.Radio(
            list(VARIANTS), value=form.variant, label="Variant: what is mixed with the source's"
        ),
        "steer": gr.Radio(STEER, value=form.steer, label="Steer by"),
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
        made[name] = gr.Slider(0, form.steps, value, step=0.5, label=label, visible=False)
    made["schedule"] = gr.Radio(
        list(SCHEDULES), value=form.schedule, label="Schedule: weights over the window"
    )
    return made


def sampling(form: Form, methods: list[str]) -> dict[str, Any]:
    """How paths are sampled and pictures inverted."""
    made: dict[str, Any] = {
        "guidance_scale": gr.Slider(
            1, MOST_GUIDANCE, form.guidance_scale, step=0.1, label="Guidance (1: none)"
        ),
        "steps": gr.Slider(1, MOST_STEPS, form.steps, step=1, label="Steps"),
        "negative_prompt": gr.Textbox(
            form.negative_prompt, label="Negative prompt (optional)", max_length=MOST_TEXT
        ),
    }  # fmt: skip
    if form.case == "picture":
        made["seed"] = _seed(form, "Seed of the inversion's noise")
        made["method"] = gr.Dropdown(methods, value=form.method, label="Inversion")
        made["fit"] = gr.Radio(
            list(FITS), value=form.fit, label="Fit: how the picture is brought to the model's size"
        )
    return made


def placing(form: Form) -> dict[str, Any]:
    """Where the edit may happen."""
    return {
        "where": gr.Radio(
            WHERE, value=form.where, label="Where the edit may happen",
            elem_id=f"{form.case}-where",
        ),
        "feather": gr.Slider(
            0, MOST_FEATHER, form.feather, step=1, label="Feather: pixels over which it fades",
            visible=False,
        ),
    }  # fmt: skip


def ordered(form: Form, made: dict[str, Any]) -> list[Any]:
    """The components of a case as its handlers take them."""
    return [made[name] for name in NAMES[form.case]]


def shown(form: Form) -> list[Update]:
    """What all controls of a case are to show for a form."""
    window = form.steer == "window"
    special: dict[str, Callable[[], Any]] = {
        "strength": lambda: gr.update(value=form.strength, visible=not window),
        "t_max": lambda: gr.update(value=form.t_max, maximum=form.steps, visible=window),
        "t_m": lambda: gr.update(value=form.t_m, maximum=form.steps, visible=window),
        "feather": lambda: gr.update(value=form.feather, visible=form.where != "everywhere"),
    }
    plain = {name: getattr(form, name) for name in NAMES[form.case]}
    return [special[name]() if name in special else value for name, value in plain.items()]


def untouched(case: str) -> list[Update]:
    """Controls that stay as they are."""
    return [gr.skip() for _ in NAMES[case]]


def controls(form: Form) -> list[Update]:
    """The controls of both cases, those of the form's own set to it."""
    return [
        one for case in CASES for one in (shown(form) if case == form.case else untouched(case))
    ]
