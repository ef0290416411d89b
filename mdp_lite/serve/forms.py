"""Reading requests: forms with pictures, JSON, and what a service's limits make of them."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from fastapi import HTTPException, Request
from PIL import Image
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from mdp_lite.pipeline import check
from mdp_lite.serve import pictures
from mdp_lite.serve.errors import GONE, Refused
from mdp_lite.serve.service import Service

T = TypeVar("T", bound=BaseModel)
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")
TEXT_BYTES, TEXTS = 64 * 1024, 64  # of a field, and how many fields
FILES = ("image", "image[]", "mask")


class Form(NamedTuple):
    """A form's texts by name, and its files, whose names are never looked at."""

    texts: dict[str, str]
    images: list[bytes]
    mask: bytes | None


async def form(request: Request, service: Service) -> Form:
    """A form, if it is one and has no more than is allowed."""
    _of_type(request, *FORMS)
    most = service.settings.limits.images + 1
    try:
        async with request.form(
            max_files=most, max_fields=TEXTS, max_part_size=TEXT_BYTES
        ) as given:
            return await _parts(list(given.multi_items()), service)
    except (Refused, HTTPException):
        raise
    except ClientDisconnect:
        raise _gone() from None
    except Exception:  # the parser's own, of which there are several
        raise Refused(400, "the form can't be read", "invalid_form") from None


async def document(request: Request, kind: type[T]) -> T:
    """A request in JSON."""
    _of_type(request, "application/json")
    return kind.model_validate(parsed(await body(request)))


async def body(request: Request) -> bytes:
    """All of a body."""
    try:
        return await request.body()
    except ClientDisconnect:
        raise _gone() from None


def parsed(data: bytes) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Refused(400, "the body must be JSON", "invalid_json") from None
    if not isinstance(found, dict):
        raise Refused(400, "the body must be a JSON object", "invalid_json")
    return found


async def sources(given: Form, size: str, fit: str, service: Service) -> list[Image.Image]:
    """The pictures of a form, upright RGB, of the size asked for."""
    most, wanted = service.settings.limits.pixels, size_of(size, service)

    def read() -> list[Image.Image]:
        found = [pictures.source(data, "image", most) for data in given.images]
        return [pictures.sized(one, fit, wanted) for one in found]

    return await service.read(read)


async def mask(given: Form, size: str, fit: str, service: Service) -> Image.Image | None:
    """The mask of a form, as grey."""
    data, wanted = given.mask, size_of(size, service)
    if data is None:
        return None
    most = service.settings.limits.pixels
    return await service.read(lambda: pictures.sized(pictures.mask(data, most), fit, wanted))


def size_of(size: str, service: Service) -> tuple[int, int] | None:
    """WIDTHxHEIGHT that the model and the limits allow, or None for auto."""
    wanted, factor = pictures.size_of(size), service.editor.runner.factor
    most = service.settings.limits.side
    for side in wanted or ():
        if side % factor or side > most:
            message = f"size must be multiples of {factor} up to {most}, or auto, got {size}"
            raise Refused(400, message, "invalid_value", "size")
    return wanted


def checked(fields: Any, service: Service) -> None:
    """The limits that all requests share: the model's name, steps, prompts, pictures, time."""
    limits, settings = service.settings.limits, service.settings
    said: Callable[[str], Any] = lambda name: getattr(fields, name, None)  # noqa: E731
    if said("model") not in (None, settings.alias):
        message = f"no model {said('model')!r} here, there is {settings.alias!r}"
        raise Refused(404, message, "model_not_found", "model")
    bounds = {
        "num_inference_steps": limits.steps, "n": limits.pictures, "deadline": limits.deadline
    }  # fmt: skip
    for name, most in bounds.items():
        if (said(name) or 0) > most:
            message = f"{name} must be at most {most:g}, got {said(name):g}"
            raise Refused(400, message, "invalid_value", name)
    names = ("prompt", "edit_prompt", "source_prompt", "negative_prompt")
    texts = {name: said(name) for name in names} | {
        f"prompts.{i}": text for i, text in enumerate(said("prompts") or ())
    }
    for name, text in texts.items():
        if text is not None and len(check.text(name, text)) > limits.prompt:
            message = f"{name} must have at most {limits.prompt} characters, got {len(text)}"
            raise Refused(400, message, "invalid_value", name)


async def _parts(parts: list[tuple[str, Any]], service: Service) -> Form:
    texts: dict[str, str] = {}
    files: dict[str, list[bytes]] = {"image": [], "mask": []}
    for name, value in parts:
        if isinstance(value, str):
            if name in FILES:
                message = f"{name} must be an uploaded file; addresses are never fetched"
                raise Refused(400, message, "invalid_image", name)
            texts[name] = value
        elif name not in FILES:
            raise Refused(400, f"{name} is no file of this request", "unknown_parameter", name)
        else:
            files[name.removesuffix("[]")].append(await value.read())
    if len(files["image"]) > service.settings.limits.images or len(files["mask"]) > 1:
        most = service.settings.limits.images
        raise Refused(400, f"at most {most} images and one mask", "too_many_files", "image")
    return Form(texts, files["image"], next(iter(files["mask"]), None))


def _of_type(request: Request, *kinds: str) -> None:
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said not in kinds:
        message = f"want {kinds[0]}, got {said or 'nothing'}"
        raise Refused(415, message, "unsupported_media_type")


def _gone() -> Refused:
    return Refused(GONE, "the client has left", "client_closed_request")
