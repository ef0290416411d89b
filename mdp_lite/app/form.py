"""What a visitor asks for: the fields of the page, checked, and what they come down to."""

from dataclasses import dataclass, fields, replace
from typing import Any

from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.method.null_text import MOST_STEPS as MOST_TUNED
from mdp_lite.names import SCHEDULES, VARIANTS
from mdp_lite.pipeline import check
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, METHODS, Inversion
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Source

CASES = ("picture", "prompt")
FITS = ("crop", "pad", "resize")  # "own" has no bound of its own
STEERS = ("strength", "window")
WHERES = ("everywhere", "painted", "found")
MOST_STEPS, MOST_GUIDANCE, MOST_TEXT, MOST_FEATHER = 200, 30, 1000, 64


@dataclass(frozen=True)
class Form:
    """One edit as a page asks for it.

    case is where the source comes from: a picture that is inverted, or a prompt and a seed. A
    strength stands for a window (t_max, t_m), so steer says which of the two counts. seed is the
    source's, or that of the noise which an inversion draws.
    """

    case: str = "picture"
    source_prompt: str = ""
    prompt: str = ""
    variant: str = "epsilon"
    steer: str = "strength"
    strength: float = 0.5
    t_max: float = 47
    t_m: float = 17
    schedule: str = "leash"
    guidance_scale: float = 7.5
    steps: int = 50
    seed: int = 0
    negative_prompt: str = ""
    method: str = DEFAULT_METHOD
    fit: str = "crop"
    where: str = "everywhere"
    feather: int = 0


def suggested(editor: Editor, case: str) -> Form:
    """What a page starts from: the model's own defaults."""
    model = editor.models.defaults
    n = min(model.num_inference_steps, MOST_STEPS)
    inverted = case == "picture" and model.t_max is None  # as requests.variant_of has it
    variant = "x" if inverted else "epsilon"
    usual = default_window(n, model, variant)
    guidance = min(model.guidance_scale, MOST_GUIDANCE)
    window = {"t_max": usual.t_max, "t_m": usual.t_m, "schedule": usual.schedule}
    return Form(case, variant=variant, **window, guidance_scale=guidance, steps=n)


def filled(form: Form, values: dict[str, Any]) -> Form:
    """The form with some fields set to what a page sends: 5.0 may stand for 5, None for nothing."""
    wholes = [field.name for field in fields(Form) if field.type is int]
    given = {k: int(v) if k in wholes and _is_whole(v) else v for k, v in values.items()}
    return replace(form, **{k: v for k, v in given.items() if v is not None})


def checked(form: Form) -> Form:
    """A form that can be run, or a ValueError that says which field is wrong, and how."""
    bounded(form)
    if not form.prompt.strip():
        raise ValueError("the edit prompt must say what the picture is to show, got nothing")
    if form.case == "prompt" and not form.source_prompt.strip():
        raise ValueError("the source prompt must say what to make, got nothing")
    return form


def bounded(form: Form) -> Form:
    """The form, whose prompts may still be missing, or a ValueError for a field out of bounds."""
    for name, allowed in (
        ("case", CASES), ("variant", VARIANTS), ("steer", STEERS), ("schedule", SCHEDULES),
        ("method", tuple(METHODS)), ("fit", FITS), ("where", WHERES),
    ):  # fmt: skip
        check.one_of(name, getattr(form, name), allowed)
    for name in ("source_prompt", "prompt", "negative_prompt"):
        _text(name, getattr(form, name))
    most = MOST_TUNED if (form.case, form.method) == ("picture", "null-text") else MOST_STEPS
    _within("steps", check.whole("steps", form.steps), 1, most)
    _within("guidance", check.number("guidance", form.guidance_scale), 1, MOST_GUIDANCE)
    _within("feather", check.whole("feather", form.feather), 0, MOST_FEATHER)
    check.seed(form.seed)
    if form.steer == "strength":
        check.strength(form.strength, None)
    else:
        _window(form)
    return form


def inversion(form: Form) -> Inversion:
    """How the form's picture is inverted."""
    drawn = "seed" in METHODS[form.method].settings
    return Inversion(form.method, seed=form.seed if drawn else None)


def source_guidance(form: Form) -> float | None:
    """The guidance that a source is made with; None is the method's own, whatever edits have."""
    repeats = form.case == "prompt" or METHODS[form.method].repeats
    return form.guidance_scale if repeats else None


def request(source: Source, form: Form, mask: Image.Image | None) -> Request:
    """The edit as the core takes it; mask is the painted one."""
    by_strength = form.steer == "strength"
    strength, t_max, t_m = (
        (form.strength, None, None) if by_strength else (None, form.t_max, form.t_m)
    )
    where = {"everywhere": None, "painted": mask, "found": "auto"}[form.where]
    if form.where == "painted" and mask is None:
        raise ValueError("paint where the edit may happen first, or let it happen everywhere")
    return Request(
        source, form.prompt, form.variant, t_max, t_m, form.schedule, strength, None,
        form.guidance_scale, form.negative_prompt or None, where, True,
        form.feather if where is not None else 0,
    )  # fmt: skip


def _text(name: str, value: Any) -> None:
    if len(check.text(name.replace("_", " "), value)) > MOST_TEXT:
        shown = name.replace("_", " ")
        raise ValueError(f"the {shown} must have at most {MOST_TEXT} letters, got {len(value)}")


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be from {least} to {most}, got {value:g}")


def _window(form: Form) -> None:
    t_max, t_m = check.number("t_max", form.t_max), check.number("t_m", form.t_m)
    if not 0 <= t_m <= t_max <= form.steps:
        want = f"0 <= t_m <= t_max <= {form.steps} steps"
        raise ValueError(f"the window must have {want}, got t_max {t_max:g} and t_m {t_m:g}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()
