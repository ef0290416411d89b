"""The form of an edit: its fields, their checks, and the request that follows from them."""

from dataclasses import dataclass, fields, replace
from typing import Any

from PIL import Image

from mdp_lite.cli.xl import PAIRS, SHARED, build_xl, check_xl
from mdp_lite.editor import Editor
from mdp_lite.method.null_text import MAX_STEPS as MAX_NULL_TEXT_STEPS
from mdp_lite.names import FITS, SCHEDULES, VARIANTS, BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.inversion_methods import DEFAULT_METHOD, METHODS, Inversion
from mdp_lite.pipeline.noise import will_record_noise
from mdp_lite.pipeline.request import DEFAULT_VARIANT, Request, default_window
from mdp_lite.pipeline.result import Source
from mdp_lite.pipeline.xl import XLCondition

CASES = ("picture", "prompt")
PAGE_FITS = tuple(fit for fit in FITS if fit != "own")  # "own" has no upper limit of size
STEERS = ("strength", "window")
WHERES = ("everywhere", "painted", "found")
DEFAULT_SCHEDULE = "default"  # what suits the variant and the source, as of mdp-lite edit
PAGE_SCHEDULES = (DEFAULT_SCHEDULE, *SCHEDULES)
XL_FIELDS = ("source_prompt_2", "prompt_2", *SHARED)  # what SDXL reads beside the prompts
MAX_STEPS, MAX_GUIDANCE, MAX_TEXT, MAX_FEATHER = 200, 30, 1000, 64


@dataclass(frozen=True)
class EditForm:
    """The fields of one edit on the page.

    case says what the source is: a picture to invert, or a generated one from a prompt and a seed.
    steer says which fields set the weights: strength, or the window t_max and t_m. seed is that of
    the generated source, or of the inversion's noise. XL_FIELDS are texts, empty by default.
    """

    case: str = "picture"
    source_prompt: str = ""
    prompt: str = ""
    variant: str = "epsilon"
    steer: str = "strength"
    strength: float = 0.5
    t_max: float = 47
    t_m: float = 17
    schedule: str = DEFAULT_SCHEDULE
    guidance_scale: float = 7.5
    steps: int = 50
    seed: int = 0
    negative_prompt: str = ""
    method: str = DEFAULT_METHOD
    fit: str = "crop"
    where: str = "everywhere"
    feather: int = 0
    source_prompt_2: str = ""
    prompt_2: str = ""
    negative_prompt_2: str = ""
    original_size: str = ""
    crop: str = ""
    target_size: str = ""
    negative_original_size: str = ""
    negative_crop: str = ""
    negative_target_size: str = ""


def default_form(editor: Editor, case: str, steps: int | None = None) -> EditForm:
    """The form with the model's defaults, for its own number of steps or another one."""
    model = editor.models.defaults
    n = min(model.num_inference_steps, MAX_STEPS) if steps is None else steps
    method = DEFAULT_METHOD if case == "picture" else None
    noisy = will_record_noise(editor.models.scheduler, method)
    usual = default_window(n, model, DEFAULT_VARIANT, noisy=noisy)
    guidance = min(model.guidance_scale, MAX_GUIDANCE)
    return EditForm(
        case, variant=DEFAULT_VARIANT, t_max=usual.t_max, t_m=usual.t_m, guidance_scale=guidance,
        steps=n,
    )  # fmt: skip


def fill_form(form: EditForm, values: dict[str, Any]) -> EditForm:
    """The form with values that a page sends. 5.0 is read as 5; None leaves a field as it is."""
    wholes = [field.name for field in fields(EditForm) if field.type is int]
    numbers = {k: int(v) if k in wholes and _is_whole(v) else v for k, v in values.items()}
    return replace(form, **{k: v for k, v in numbers.items() if v is not None})


def check_form(form: EditForm) -> EditForm:
    """The form if it can be run. Raises BadInput that names the wrong field and what it must be."""
    check_bounds(form)
    if not form.prompt.strip():
        raise BadInput(
            "the edit prompt must say what the picture is to show, got nothing", "prompt"
        )
    if form.case == "prompt" and not form.source_prompt.strip():
        raise BadInput("the source prompt must say what to make, got nothing", "source_prompt")
    return form


def check_bounds(form: EditForm) -> EditForm:
    """The form if each field is within its bounds; prompts may be empty. Raises BadInput."""
    for name, allowed in (
        ("case", CASES), ("variant", VARIANTS), ("steer", STEERS), ("schedule", PAGE_SCHEDULES),
        ("method", tuple(METHODS)), ("fit", PAGE_FITS), ("where", WHERES),
    ):  # fmt: skip
        check.one_of(name, getattr(form, name), allowed)
    for name in ("source_prompt", "prompt", "negative_prompt", *XL_FIELDS):
        if name not in PAIRS:
            _check_text(name, getattr(form, name))
    build_form_xl(form)
    null_text = (form.case, form.method) == ("picture", "null-text")
    max_steps = MAX_NULL_TEXT_STEPS if null_text else MAX_STEPS
    _check_range("steps", check.whole("steps", form.steps), 1, max_steps)
    guidance = check.number("guidance", form.guidance_scale)
    _check_range("guidance", guidance, 1, MAX_GUIDANCE, "guidance_scale")
    _check_range("feather", check.whole("feather", form.feather), 0, MAX_FEATHER)
    check.seed(form.seed)
    if form.steer == "strength":
        check.strength(form.strength, None)
    else:
        _check_window(form)
    return form


def build_form_xl(form: EditForm, second: str = "prompt_2") -> XLCondition:
    """What SDXL reads of the form beside a prompt, whose second text is that of a field."""
    values = {name: getattr(form, name) for name in XL_FIELDS}
    written = {name: value for name, value in values.items() if value != ""}
    return build_xl(written, second, _label_field)


def check_model(editor: Editor, form: EditForm) -> None:
    """Raise BadInput for what a model that is not SDXL would not read."""
    config, negative = editor.models.unet.config, form.negative_prompt
    for second in ("source_prompt_2", "prompt_2"):
        xl, first = build_form_xl(form, second), getattr(form, second.removesuffix("_2"))
        check_xl(config, xl, first, negative, second, _label_field)


def inversion_of(form: EditForm) -> Inversion:
    """The inversion of the form's picture."""
    has_seed = "seed" in METHODS[form.method].settings
    return Inversion(form.method, seed=form.seed if has_seed else None)


def source_guidance(form: EditForm) -> float | None:
    """The guidance scale of the source; None is the default of the inversion method."""
    repeats = form.case == "prompt" or METHODS[form.method].repeats_guidance
    return form.guidance_scale if repeats else None


def build_request(source: Source, form: EditForm, mask: Image.Image | None) -> Request:
    """The edit as a request; mask is the painted one."""
    by_strength = form.steer == "strength"
    strength, t_max, t_m = (
        (form.strength, None, None) if by_strength else (None, form.t_max, form.t_m)
    )
    region = {"everywhere": None, "painted": mask, "found": "auto"}[form.where]
    if form.where == "painted" and mask is None:
        raise BadInput(
            "paint where the edit may happen first, or let it happen everywhere", "picture"
        )
    return Request(
        source, form.prompt, form.variant, t_max, t_m, schedule_of(form), strength, None,
        form.guidance_scale, form.negative_prompt or None, region, True,
        form.feather if region is not None else 0, xl=build_form_xl(form),
    )  # fmt: skip


def schedule_of(form: EditForm) -> str | None:
    """The schedule of the request; None is the default."""
    return None if form.schedule == DEFAULT_SCHEDULE else form.schedule


def _label_field(name: str) -> str:
    """How errors name a field: source prompt 2."""
    return name.replace("_", " ")


def _check_text(name: str, value: Any) -> None:
    label = _label_field(name)
    if len(check.text(label, value)) > MAX_TEXT:
        raise BadInput(f"the {label} must have at most {MAX_TEXT} letters, got {len(value)}", name)


def _check_range(name: str, value: float, low: float, high: float, field: str = "") -> None:
    if not low <= value <= high:
        raise BadInput(f"{name} must be from {low} to {high}, got {value:g}", field or name)


def _check_window(form: EditForm) -> None:
    t_max, t_m = check.number("t_max", form.t_max), check.number("t_m", form.t_m)
    if not 0 <= t_m <= t_max <= form.steps:
        want = f"0 <= t_m <= t_max <= {form.steps} steps"
        got = f"t_max {t_max:g} and t_m {t_m:g}"
        raise BadInput(f"the window must have {want}, got {got}", "t_max", "t_m")


def _is_whole(value: Any) -> bool:
    return isinstance(value, float) and value.is_integer()
