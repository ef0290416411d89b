"""Reading requests: forms with pictures, and JSON."""

import json
from typing import Any, NamedTuple, TypeVar

from fastapi import Request
from PIL import Image
from pydantic import BaseModel
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from mdp_lite.cli.xl import SECONDS
from mdp_lite.serve import limit_checks, pictures
from mdp_lite.serve.arrival import MULTIPART, parse_form
from mdp_lite.serve.errors import CLIENT_LEFT, ApiError, suggest
from mdp_lite.serve.fields import read_fields
from mdp_lite.serve.holdings import PLAIN, TEXT, text_limit
from mdp_lite.serve.hugging_face import refuse_file
from mdp_lite.serve.memory import lease_of
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.service import Service

T = TypeVar("T", bound=BaseModel)
FORMS = (MULTIPART, "application/x-www-form-urlencoded")
# Texts of a form that are read at all, and files beyond the limit on images: more than any request
# has, so that an error can name the field.
PARTS, SPARE = 200, 32
VALUES = 200_000  # commas and brackets of a JSON object, in its texts too
QUICK = 2**16  # bytes of JSON that are read at once; more would keep others waiting
FILES = ("image", "image[]", "mask")
FREE_TEXTS = ("prompt", "source_prompt", "negative_prompt", *SECONDS, "negative_prompt_2")


class UploadForm(NamedTuple):
    """The texts of a form by name, and its files; the client's file names are never read."""

    texts: dict[str, str]
    images: list[bytes]
    mask: bytes | None


async def read_form(request: Request, service: Service) -> UploadForm:
    """A form within the limits on files, fields and bytes."""
    _check_type(request, *FORMS)
    _check_no_query(request)
    limits = service.settings.limits
    try:
        form = await parse_form(request, text_limit(limits), PARTS, limits.images + SPARE)
        try:
            found = await _read_parts(list(form.multi_items()), service)
        finally:
            await form.close()
    except ApiError:
        raise
    except ClientDisconnect:
        raise _client_left() from None
    except MultiPartException as error:
        raise _unreadable(error.message) from None
    except Exception as error:  # the parser raises several kinds
        raise _unreadable(str(error)) from None
    texts = sum(len(name) + len(text) for name, text in found.texts.items())
    files = sum(map(len, found.images)) + len(found.mask or b"")
    lease_of(request).hold(body=TEXT * texts + files)
    return found


async def read_json(request: Request, kind: type[T], max_bytes: int | None = None) -> T:
    """A request in JSON of at most so many bytes; None is as many as texts need.

    With a limit its own, it may have pictures in base64, which are plain text.
    """
    _check_type(request, "application/json")
    _check_no_query(request)
    service: Service = request.app.state.service
    data, limit = await read_body(request), max_bytes or text_limit(service.settings.limits)
    if len(data) > limit:
        raise ApiError(413, f"a JSON body must have at most {limit} bytes", "too_large")
    is_plain = max_bytes is not None and data.isascii() and b"\\u" not in data
    lease_of(request).hold(body=(PLAIN if is_plain else TEXT) * len(data))
    parse = lambda: read_fields(kind, parse_object(data))  # noqa: E731
    return parse() if len(data) <= QUICK else await service.process_pictures(parse)


async def read_inference_body(request: Request, may_be_file: bool = True) -> dict[str, Any]:
    """A request of Hugging Face's clients; without a prompt they send the picture's file alone."""
    if not may_be_file:
        _check_type(request, "application/json")
    _check_no_query(request)
    data = await read_body(request)
    kind = request.headers.get("content-type", "")
    if not kind.startswith("application/json") and not data.lstrip().startswith(b"{"):
        raise refuse_file()
    service: Service = request.app.state.service
    return await service.process_pictures(lambda: parse_object(data))


async def read_body(request: Request) -> bytes:
    """All bytes of a body."""
    try:
        return b"".join([part async for part in request.stream()])  # request.body() would keep it
    except ClientDisconnect:
        raise _client_left() from None


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object of at most VALUES values."""
    if sum(map(data.count, (b",", b"[", b"{"))) > VALUES:
        message = f"a JSON body must have at most {VALUES:,} commas and brackets"
        raise ApiError(413, message, "too_large")
    try:
        value = json.loads(data, object_pairs_hook=_refuse_repeats)
    except ApiError:
        raise
    except (ValueError, RecursionError):
        raise ApiError(400, "the body must be JSON", "invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", "invalid_json")
    return value


async def read_pictures(
    form: UploadForm, size: str, fit: str, service: Service, model: ServedModel
) -> list[Image.Image]:
    """The pictures of a form as upright RGB, fitted to the request's size."""
    most, target = service.settings.limits.pixels, limit_checks.check_size(size, model)

    def read() -> Image.Image:  # one at a time, and each file is released
        upload = pictures.read_rgb(form.images.pop(0), "image", most)
        return pictures.fit_to_size(upload, fit, target)

    return [await service.process_pictures(read) for _ in range(len(form.images))]


async def read_sizes(form: UploadForm, service: Service) -> list[tuple[int, int]]:
    """(width, height) of the pictures and the mask of a form, from their headers."""
    most = service.settings.limits.pixels
    masks = [] if form.mask is None else [form.mask]
    files = [("image", one) for one in form.images] + [("mask", one) for one in masks]
    read = lambda: [pictures.read_size(data, name, most) for name, data in files]  # noqa: E731
    return await service.process_pictures(read)


async def read_mask(
    form: UploadForm, size: str, fit: str, service: Service, model: ServedModel
) -> Image.Image | None:
    """The mask of a form as a grey picture, fitted to the request's size; None if it has none."""
    data, target = form.mask, limit_checks.check_size(size, model)
    if data is None:
        return None
    most = service.settings.limits.pixels
    return await service.process_pictures(
        lambda: pictures.fit_to_size(pictures.read_mask(data, most), fit, target)
    )


async def _read_parts(parts: list[tuple[str, Any]], service: Service) -> UploadForm:
    texts: dict[str, str] = {}
    files: dict[str, list[bytes]] = {"image": [], "mask": []}
    for name, value in parts:
        if not isinstance(value, str):
            data = await value.read()
            if data or value.filename:  # a page's form sends both empty if no file was chosen
                files[_check_file_name(name)].append(data)
        elif name in FILES:
            _check_no_text(name, value)
        elif name.startswith("lora["):
            message = 'lora must be JSON in one text of a form: [{"name": "style", "weight": 0.8}]'
            raise ApiError(400, message, "invalid_value", "lora")
        elif name in texts:
            raise _repeated(name)
        elif value or name in FREE_TEXTS:  # empty is how a form says null
            texts[name] = value
    most = service.settings.limits.images
    for name, limit in (("image", most), ("mask", 1)):
        if len(files[name]) > limit:
            message = f"there may be at most {limit} {name} files, got {len(files[name])}"
            raise ApiError(400, message, "too_many_files", name)
    return UploadForm(_join_svg(texts), files["image"], next(iter(files["mask"]), None))


def _join_svg(texts: dict[str, str]) -> dict[str, str]:
    """The texts with svg for its parts: clients send svg[model] and svg[reasoning][effort]."""
    return {"svg" if name.startswith("svg[") else name: text for name, text in texts.items()}


def _check_file_name(name: str) -> str:
    """The field of a file: image or mask. Raises ApiError for others."""
    if name == "markup":
        message = "markup is not read here: mask says where to edit, and prompt what"
        raise ApiError(400, message, "invalid_value", name)
    if name not in FILES:
        message = f"{name} is no file of this request{suggest(name, FILES)}"
        raise ApiError(400, message, "unknown_parameter", name)
    return name.removesuffix("[]")


def _check_no_text(name: str, value: str) -> None:
    """Raise ApiError for a text where a file belongs; an empty one is a form's null."""
    if value:
        message = f"{name} must be an uploaded file; addresses are never fetched"
        raise ApiError(400, message, "invalid_image", name)


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. Raises ApiError for a name that is there twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _repeated(name)
        found[name] = value
    return found


def _repeated(name: str) -> ApiError:
    return ApiError(400, f"{name} must be given once, got it twice", "invalid_value", name)


def _check_no_query(request: Request) -> None:
    """Raise ApiError for a parameter in the address, where nothing reads it."""
    for name in request.query_params:
        message = f"{name} must be in the body, got it in the address"
        raise ApiError(400, message, "invalid_value", name)


def _unreadable(why: str) -> ApiError:
    """The error for a form that the parser refuses, with the parser's reason."""
    reason = " ".join(why.split()).rstrip(".")
    return ApiError(400, f"the form can't be read ({reason or 'it is cut off'})", "invalid_form")


def _check_type(request: Request, *kinds: str) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        message = f"the content type must be {kinds[0]}, got {kind or 'none'}"
        raise ApiError(415, message, "unsupported_media_type")


def _client_left() -> ApiError:
    return ApiError(CLIENT_LEFT, "the client has left", "client_closed_request")
