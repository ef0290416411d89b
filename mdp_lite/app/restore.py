"""The form that made a picture, read from the settings inside its PNG."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from mdp_lite.app.form import DEFAULT_SCHEDULE, XL_FIELDS, EditForm, check_bounds, fill_form
from mdp_lite.app.wording import say
from mdp_lite.cli.xl import describe_fields
from mdp_lite.names import VARIANTS, BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline.xl import PLAIN, XLCondition, from_settings

# Settings of an edit that the page has no field for.
NO_FIELD = ("proximal", "deadline", "weight", "record_noise", "guidance_every")
COMMON = ("negative_prompt", "schedule", "strength", "t_max", "t_m", "feather", "where")


def restore_form(
    path: str | None, form: EditForm, model: str, clip_skip: int = 0, reads_xl: bool = True
) -> tuple[EditForm, list[str]]:
    """The given form with the settings of a picture by mdp_lite, and notes on what is missing.

    model and clip_skip are the page's; reads_xl says that its model is SDXL. A picture may come
    from anybody, so its settings are checked like a visitor's input.
    """
    if path is None:
        raise BadInput(say("restore", "no_file"))
    settings = images.read_settings(path, Path(path).name)
    own, read = _read_xl(settings)
    values = _list_xl(own, read, "variant" in settings) if reads_xl else {}
    form = fill_form(form, _read_fields(settings, form) | values)
    notes = _list_missing(settings, form, model)
    return check_bounds(form), notes + _compare(settings, own, read, clip_skip, reads_xl)


def _read_xl(settings: dict[str, Any]) -> tuple[XLCondition, XLCondition]:
    """What SDXL read beside the source's prompt, and beside the edit's."""
    read = from_settings(settings.get("xl", {}))
    own = from_settings(settings.get("source_xl", {})) if "variant" in settings else read
    if settings.get("method") != "negative-prompt":
        return own, read
    if read.negative_prompt_2 == own.prompt_2:  # taken for the negative one, not written there
        read = replace(read, negative_prompt_2=None)
    return replace(own, negative_prompt_2=None), read


def _list_xl(own: XLCondition, read: XLCondition, edited: bool) -> dict[str, Any]:
    """The fields of what SDXL reads; a source that was not edited leaves the edit's text."""
    names = [name for name in XL_FIELDS if edited or name != "prompt_2"]
    found = describe_fields(read, "prompt_2") | {"source_prompt_2": own.prompt_2}
    return {name: found.get(name) or "" for name in names}


def _compare(
    settings: dict[str, Any], own: XLCondition, read: XLCondition, clip_skip: int, reads_xl: bool
) -> list[str]:
    """Notes on what this page or its model can't do of what SDXL read, and on another clip_skip."""
    lines, (one, other) = [], (replace(xl, prompt_2=None) for xl in (own, read))
    if not reads_xl and (own, read) != (PLAIN, PLAIN):
        lines.append(say("restore", "no_xl"))
    elif one != other:
        lines.append(say("restore", "source_xl"))
    if (skip := settings.get("clip_skip", 0)) != clip_skip:
        lines.append(say("restore", "clip_skip", made=f"{skip!r:.80}", here=clip_skip))
    return lines


def _read_fields(settings: dict[str, Any], form: EditForm) -> dict[str, Any]:
    """The values of the form's fields that the settings hold."""
    generated = is_generated(settings)
    values = {name: settings[name] for name in COMMON if name in settings}
    values |= {"case": "prompt" if generated else "picture", "seed": _seed(settings, generated)}
    values |= {"steps": settings.get("num_inference_steps", form.steps)}
    values |= {"guidance_scale": settings.get("guidance_scale", form.guidance_scale)}
    if settings.get("method") == "negative-prompt":  # its negative prompt is its source prompt
        values["negative_prompt"] = ""
    if not generated:
        values |= {"method": settings.get("method", form.method)}
        values |= {"fit": settings.get("fit", form.fit)}
    if "variant" not in settings:  # a source, not an edit
        return values | {"source_prompt": settings.get("prompt", "")}
    variant = settings["variant"]
    values["variant"] = variant if variant in VARIANTS else form.variant  # "all" is four pictures
    values |= {name: settings.get(name, "") for name in ("prompt", "source_prompt")}
    window = "t_max" in settings or "t_m" in settings
    values.setdefault("schedule", DEFAULT_SCHEDULE)
    values["steer"] = "window" if window and "strength" not in settings else "strength"
    if values["steer"] == "strength":
        values["strength"] = settings.get("strength", 0.5)  # the default window
    return values


def is_generated(settings: dict[str, Any]) -> bool:
    """Whether the source was made from a prompt and a seed, with recorded noise or without."""
    return settings.get("method") == "generate" or settings.get("record_noise") is True


def _seed(settings: dict[str, Any], generated: bool) -> Any:
    inversion = settings.get("inversion")
    inner = inversion.get("seed") if isinstance(inversion, dict) else None
    seed = settings.get("seed") if generated else inner
    return 0 if seed is None else seed


def _list_missing(settings: dict[str, Any], form: EditForm, model: str) -> list[str]:
    variant = settings.get("variant", "all")
    rival = variant not in (*VARIANTS, "all", "table")  # its settings are not those of an edit
    names = [] if rival else [name for name in NO_FIELD if name in settings]
    lines = [say("restore", "no_field", name=name) for name in names]
    if variant == "table":
        lines.append(say("restore", "weights"))
    elif rival:
        lines.append(say("restore", "rival", variant=f"{variant!r:.80}"))
    if form.where == "painted":
        lines.append(say("restore", "mask"))
    if form.case == "picture":
        lines.append(say("restore", "picture"))
    if (made := settings.get("model", model)) != model:
        lines.append(say("restore", "model", made=f"{made!r:.80}", here=repr(model)))
    return lines
