"""Pictures of tools: in as base64 or as a file, out as the content of an answer and as a file."""

from functools import partial
from pathlib import Path

from mcp.types import ImageContent
from PIL import Image

from mdp_lite.mcp_server.calls import ToolCall, hold_answer
from mdp_lite.mcp_server.fields import EditPicture, PictureFields
from mdp_lite.mcp_server.folders import SUFFIXES, read_inside, write_new_file
from mdp_lite.names import CannotWrite
from mdp_lite.serve import limit_checks, pictures
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.holdings import GREY, RGB, count_pixels
from mdp_lite.serve.work import PictureResult


async def read_picture(call: ToolCall, fields: PictureFields) -> Image.Image:
    """The picture of a call as upright RGB, at the size that was asked for."""
    service, target = call.service, limit_checks.check_size(fields.size, call.model)
    most, param = service.settings.limits.pixels, "image" if fields.image else "image_path"
    read = partial(_read_bytes, call, fields.image, fields.image_path, "image")
    data = await service.process_pictures(read)
    call.lease.hold(file=len(data))
    size = await service.process_pictures(partial(pictures.read_size, data, param, most))
    size = target or size
    call.lease.hold(pictures=RGB * count_pixels(size))
    hold_answer(call, size)

    def decode() -> Image.Image:
        return pictures.fit_to_size(pictures.read_rgb(data, param, most), fields.fit, target)

    return await service.process_pictures(decode)


async def read_mask(call: ToolCall, fields: EditPicture) -> Image.Image | None:
    """The mask of a call as a grey picture, at the size that was asked for; None without one."""
    if not (fields.mask or fields.mask_path):
        return None
    if fields.mask and fields.mask_path:
        raise ApiError(400, "mask and mask_path are one mask: give one of them", "invalid_value")
    service, target = call.service, limit_checks.check_size(fields.size, call.model)
    most = service.settings.limits.pixels
    read = partial(_read_bytes, call, fields.mask, fields.mask_path, "mask")
    data = await service.process_pictures(read)
    size = await service.process_pictures(partial(pictures.read_size, data, "mask", most))
    call.lease.hold(mask=len(data) + GREY * count_pixels(target or size))

    def decode() -> Image.Image:
        return pictures.fit_to_size(pictures.read_mask(data, most), fields.fit, target)

    return await service.process_pictures(decode)


def _read_bytes(call: ToolCall, text: str | None, path: str | None, param: str) -> bytes:
    """The bytes of a picture that is given as base64 or as a file, within the limit."""
    most = call.service.settings.limits.body_bytes
    if not text:
        return read_inside(call.folders, path or "", f"{param}_path", most)
    if len(text) > 2 * most:  # base64 has 4/3 of the bytes
        raise ApiError(413, f"{param} must have at most {most} bytes, got more", "too_large", param)
    return pictures.from_base64(text, param)


async def encode_result(call: ToolCall, result: PictureResult, kind: str) -> bytes:
    """A picture as a file with its settings, unless the operator's safety hook withholds it."""
    return await call.service.process_pictures(partial(_encode, call, result, kind))


def _encode(call: ToolCall, result: PictureResult, kind: str) -> bytes:
    chosen = call.service.settings
    if chosen.safety_hook and any(chosen.safety_hook([result.image])):
        raise ApiError(400, "the picture was held back", "content_policy_violation")
    settings = result.settings | {"model": chosen.alias} if chosen.metadata else None
    return pictures.encode(result.image, kind, None, settings)


def to_content(data: bytes, kind: str) -> ImageContent:
    """A picture file as a part of an answer."""
    return ImageContent(data=pictures.to_base64(data), mime_type=pictures.MIME[kind])


async def save_picture(call: ToolCall, result: PictureResult, path: Path) -> str | None:
    """Write a picture to a new file; returns why that failed, if it did.

    The picture is made by then, so the answer has it in any case.
    """
    data = await encode_result(call, result, SUFFIXES[path.suffix.lower()])
    try:
        await call.service.process_pictures(partial(write_new_file, path, data))
    except CannotWrite as error:
        return f"the picture was not saved ({error.strerror}): {path}"
    return None
