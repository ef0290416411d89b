"""Reading requests: forms with pictures, JSON, and the checks against a service's limits."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from fastapi import HTTPException, Request
from PIL import Image
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from mdp_lite.cli.xl import SECONDS, build_xl, check_xl
from mdp_lite.pipeline import check
from mdp_lite.serve import pictures
from mdp_lite.serve.errors import CLIENT_LEFT, ApiError
from mdp_lite.serve.service import Service

T = TypeVar("T", bound=BaseModel)
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
TEXT_BYTES, TEXTS = 64 * 1024, 64  # of a field, and how many fields
FILES = ("image", "image[]", "mask")


class UploadForm(NamedTuple):
    """The texts of a form by name, and its files; the client's file names are never read."""

    texts: dict[str, str]
    images: list[bytes]
    mask: bytes | None


async def read_form(request: Request, service: Service) -> UploadForm:
    """A form within the limits on files, fields and bytes."""
    _check_type(request, *FORMS)
    most = service.settings.limits.images + 1
    try:
        async with request.form(max_files=most, max_fields=TEXTS, max_part_size=TEXT_BYTES) as form:
            return await _read_parts(list(form.multi_items()), service)
    except (ApiError, HTTPException):
        raise
    except ClientDisconnect:
        raise _client_left() from None
    except Exception:  # the parser raises several kinds
        raise ApiError(400, "the form can't be read", "invalid_form") from None


async def read_json(request: Request, kind: type[T]) -> T:
    """A request in JSON."""
    _check_type(request, "application/json")
    return kind.model_validate(parse_object(await read_body(request)))


async def read_body(request: Request) -> bytes:
    """All bytes of a body."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise _client_left() from None


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ApiError(400, "the body must be JSON", "invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", "invalid_json")
    return value


async def read_pictures(
    form: UploadForm, size: str, fit: str, service: Service
) -> list[Image.Image]:
    """The pictures of a form as upright RGB, fitted to the request's size."""
    most, target = service.settings.limits.pixels, check_size(size, service)

    def read() -> list[Image.Image]:
        uploads = [pictures.read_rgb(data, "image", most) for data in form.images]
        return [pictures.fit_to_size(one, fit, target) for one in uploads]

    return await service.process_pictures(read)


async def read_mask(form: UploadForm, size: str, fit: str, service: Service) -> Image.Image | None:
    """The mask of a form as a grey picture, fitted to the request's size; None if it has none."""
    data, target = form.mask, check_size(size, service)
    if data is None:
        return None
    most = service.settings.limits.pixels
    return await service.process_pictures(
        lambda: pictures.fit_to_size(pictures.read_mask(data, most), fit, target)
    )


def check_size(size: str, service: Service) -> tuple[int, int] | None:
    """(width, height) of WIDTHxHEIGHT if the model and the limits allow it; None for auto."""
    target, factor = pictures.parse_size(size), service.editor.runner.factor
    most = service.max_side
    for side in target or ():
        if side % factor or side > most:
            message = f"size must be multiples of {factor} up to {most}, or auto, got {size}"
            raise ApiError(400, message, "invalid_value", "size")
    return target


def choose_steps(fields: Any, service: Service) -> Any:
    """The fields with the model's number of steps for a quick edit if fast is true."""
    if not fields.fast:
        return fields
    if fields.num_inference_steps is not None:
        message = "fast and num_inference_steps say the same thing: give one of them"
        raise ApiError(400, message, "invalid_value", "fast")
    steps = service.editor.models.defaults.fast_steps
    return fields.model_copy(update={"num_inference_steps": steps})


def check_limits(fields: Any, service: Service) -> None:
    """Check what requests have in common: the model's name, steps, texts, pictures, time, sizes."""
    limits, settings = service.settings.limits, service.settings
    value_of: Callable[[str], Any] = lambda name: getattr(fields, name, None)  # noqa: E731
    if value_of("model") not in (None, settings.alias):
        message = f"no model {value_of('model')!r} here, there is {settings.alias!r}"
        raise ApiError(404, message, "model_not_found", "model")
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
    _check_xl(fields, service)


def _check_xl(fields: Any, service: Service) -> None:
    """Check what SDXL reads beside the prompts: its form, and that the model reads it."""
    values, config = dict(fields), service.editor.models.unet.config
    negative = values.get("negative_prompt") or ""
    for second, first in SECONDS.items():
        if second in values:
            xl, prompt = build_xl(values, second), values.get(first)
            for one in values.get("prompts") or (prompt or "",):
                check_xl(config, xl, one, negative, second)
    if values.get("edit_prompt_2") and values["edit_prompt"] is None:
        message = "edit_prompt_2 is for an edit: give edit_prompt too"
        raise ApiError(400, message, "invalid_value", "edit_prompt_2")


async def _read_parts(parts: list[tuple[str, Any]], service: Service) -> UploadForm:
    texts: dict[str, str] = {}
    files: dict[str, list[bytes]] = {"image": [], "mask": []}
    for name, value in parts:
        if isinstance(value, str):
            if name in FILES:
                message = f"{name} must be an uploaded file; addresses are never fetched"
                raise ApiError(400, message, "invalid_image", name)
            texts[name] = value
        elif name not in FILES:
            raise ApiError(400, f"{name} is no file of this request", "unknown_parameter", name)
        else:
            files[name.removesuffix("[]")].append(await value.read())
    if len(files["image"]) > service.settings.limits.images or len(files["mask"]) > 1:
        most = service.settings.limits.images
        raise ApiError(400, f"at most {most} images and one mask", "too_many_files", "image")
    return UploadForm(texts, files["image"], next(iter(files["mask"]), None))


def _check_type(request: Request, *kinds: str) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        message = f"want {kinds[0]}, got {kind or 'nothing'}"
        raise ApiError(415, message, "unsupported_media_type")


def _client_left() -> ApiError:
    return ApiError(CLIENT_LEFT, "the client has left", "client_closed_request")
