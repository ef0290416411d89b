"""Checks of a request's fields against the limits of the service and what its model can do."""

import math
from collections.abc import Callable
from typing import Any

from mdp_lite.cli.xl import SECONDS, build_xl, check_xl
from mdp_lite.pipeline import check
from mdp_lite.serve import pictures
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.field_types import OPENAI_QUALITIES
from mdp_lite.serve.fields import SamplingFields
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import ServiceSettings


def check_size(size: str, model: ServedModel) -> tuple[int, int] | None:
    """(width, height) of WIDTHxHEIGHT if the model and the limits allow it; None for auto."""
    target, factor = pictures.parse_size(size), model.editor.runner.factor
    most = model.max_side
    for side in target or ():
        if side % factor or side > most:
            message = f"size must be multiples of {factor} up to {most}, or auto, got {size}"
            raise ApiError(400, message, "invalid_value", "size")
    return target


def fit_to_model(fields: Any, model: ServedModel) -> Any:
    """The fields, with the model's number of steps for the quality, if they say one.

    Raises ApiError for what SDXL alone reads.
    """
    _check_xl(fields, model)
    quality = getattr(fields, "quality", None)
    if quality in (None, "auto") or not isinstance(fields, SamplingFields):
        return fields
    if fields.num_inference_steps is not None:
        message = "quality and num_inference_steps both say the number of steps: give one of them"
        raise ApiError(400, message, "invalid_value", "quality")
    steps = model.editor.models.defaults.steps_of(OPENAI_QUALITIES.get(quality, quality))
    return fields.model_copy(update={"num_inference_steps": steps})


def find_alias(name: str | None, settings: ServiceSettings) -> str:
    """The alias of the model that a request names. Raises a 404 for a name of none."""
    alias = settings.find_alias(name)
    if name is not None and alias is None:
        there = ", ".join(map(repr, settings.names))
        which = "the first" if settings.others else "it"
        more = f" and OpenAI's names for {which}" if settings.openai_names else ""
        message = f"no model {name[:100]!r} here, there is {there}{more}"
        raise ApiError(404, message, "model_not_found", "model")
    return alias or settings.alias


def check_limits(fields: Any, service: Service) -> None:
    """Check what requests have in common: the model's name, steps, texts, pictures, time."""
    limits, settings = service.settings.limits, service.settings
    value_of: Callable[[str], Any] = lambda name: getattr(fields, name, None)  # noqa: E731
    find_alias(value_of("model"), settings)
    bounds = {
        "num_inference_steps": limits.steps, "n": limits.pictures, "deadline": limits.deadline
    }  # fmt: skip
    for name, most in bounds.items():
        if (value_of(name) or 0) > most:
            message = f"{name} must be at most {most:g}, got {value_of(name):g}"
            raise ApiError(400, message, "invalid_value", name)
    names = ("prompt", "edit_prompt", "source_prompt", "negative_prompt")
    names = (*names, *SECONDS, "negative_prompt_2")
    texts = {name: value_of(name) for name in names} | {
        f"prompts.{i}": text for i, text in enumerate(value_of("prompts") or ())
    }
    for name, text in texts.items():
        if text is not None and len(check.text(name, text)) > limits.prompt:
            message = f"{name} must have at most {limits.prompt} characters, got {len(text)}"
            raise ApiError(400, message, "invalid_value", name)


def count_cells(fields: Any) -> int:
    """Pictures of a sweep: every combination of its axes."""
    axes = (fields.variants, fields.windows, fields.schedules, fields.guidance_scales)
    return math.prod(map(len, (fields.prompts, *axes)))


def check_cells(fields: Any, service: Service) -> int:
    """The pictures of a sweep. Raises ApiError if they are too many."""
    cells, most = count_cells(fields), service.settings.limits.cells
    if cells > most:
        raise ApiError(400, f"a sweep has at most {most} pictures, got {cells}", "too_expensive")
    return cells


def _check_xl(fields: Any, model: ServedModel) -> None:
    """Check what SDXL reads beside the prompts: its form, and that the model reads it."""
    values, config = dict(fields), model.editor.models.unet.config
    negative = values.get("negative_prompt") or ""
    for second, first in SECONDS.items():
        if second in values:
            xl, prompt = build_xl(values, second), values.get(first)
            for one in values.get("prompts") or (prompt or "",):
                check_xl(config, xl, one, negative, second)
    if values.get("edit_prompt_2") and values["edit_prompt"] is None:
        message = "edit_prompt_2 is for an edit: give edit_prompt too"
        raise ApiError(400, message, "invalid_value", "edit_prompt_2")
