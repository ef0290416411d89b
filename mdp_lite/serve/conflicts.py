"""Fields that have no effect beside others: a request with such a field is refused."""

from collections.abc import Iterable

from pydantic import BaseModel

from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.fields import (
    EditFields,
    GenerationFields,
    SourceEditFields,
    SourceFields,
    SteeringFields,
)

# What says nothing where the answer is one picture's file.
OF_JSON_ANSWERS = ("n", "stream", "partial_images", "response_format")
OF_PICTURES = ("inversion", "fit")  # of a source


def check_edit(fields: EditFields, has_mask: bool) -> None:
    """Refuse two masks at once, and a feather without any."""
    if has_mask and fields.mask_auto:
        raise _refuse("mask_auto", "finds a mask, and mask is another one: give one of them")
    _check_feather(fields, has_mask)


def check_source_edit(fields: SourceEditFields) -> None:
    """Refuse a second picture, which would be equal to the first, and a feather without a mask."""
    if fields.n > 1:
        raise _refuse("n", "must be 1: a source and a prompt give one picture")
    _check_feather(fields, False)


def check_source_size(fields: SourceEditFields, size: tuple[int, int]) -> None:
    """Refuse another size than the source's (width, height)."""
    own = "{}x{}".format(*size)
    if fields.size not in ("auto", own):
        raise _refuse("size", f"must be {own}, which the source has, or auto, got {fields.size}")


def check_generation(fields: GenerationFields) -> None:
    """Refuse what steers an edit, if there is none."""
    if fields.edit_prompt is None:
        names = (*SteeringFields.model_fields, "record_noise")
        for name in find_changed(fields, names):
            raise _refuse(name, "is for an edit of the picture: give edit_prompt")
    _check_feather(fields, False)


def check_source(fields: SourceFields, images: int, has_mask: bool) -> None:
    """Refuse two pictures, a mask, and what is for a source of the other kind."""
    if has_mask:
        raise _refuse("mask", "is for an edit: a source has none")
    if images > 1:
        raise ApiError(400, "a source is of one image", "too_many_files", "image")
    if images and fields.record_noise:
        raise _refuse("record_noise", "is for a generated source: leave out image")
    if not images:
        for name in find_changed(fields, OF_PICTURES):
            raise _refuse(name, "is for the source of a picture: give image")
        if not fields.source_prompt.strip():
            raise _refuse("source_prompt", "must say what to make if there is no image")


def check_picture_answer(fields: EditFields | GenerationFields) -> None:
    """Refuse what is for an answer in JSON, where the answer is the picture's file."""
    for name in find_changed(fields, OF_JSON_ANSWERS):
        raise _refuse(
            name, "is for /v1/images/edits and generations: here the answer is one picture's file"
        )
    _check_feather(fields, False)


def find_changed(fields: BaseModel, names: Iterable[str]) -> list[str]:
    """Those of the names whose fields are not at their defaults."""
    declared = type(fields).model_fields
    return [name for name in names if getattr(fields, name) != declared[name].default]


def _check_feather(fields: SteeringFields, has_mask: bool) -> None:
    if fields.feather and not (has_mask or fields.mask_auto):
        raise _refuse("feather", "is for the edge of a mask, and there is none")


def _refuse(name: str, why: str) -> ApiError:
    return ApiError(400, f"{name} {why}", "invalid_value", name)
