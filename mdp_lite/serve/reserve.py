"""Memory for the whole of a request, counted from the headers of its pictures, before decoding."""

from collections.abc import Sequence

from mdp_lite.editor import Editor
from mdp_lite.pictures.fit import Size
from mdp_lite.pipeline.result import Source
from mdp_lite.serve import forms, limit_checks
from mdp_lite.serve.fields import EditFields, SourceFields, SweepFields, records_direction
from mdp_lite.serve.holdings import (
    GREY,
    LATENT_BYTES,
    RGB,
    TaskSize,
    answer_bytes,
    count_pixels,
    path_latents,
    size_of_task,
    working_bytes,
)
from mdp_lite.serve.limit_checks import count_cells
from mdp_lite.serve.memory import Lease
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import Limits


async def hold_edits(
    form: forms.UploadForm, fields: EditFields, service: Service, model: ServedModel,
    lease: Lease,
) -> None:  # fmt: skip
    """Hold what the edits of a form take, until their answer is sent. Raises ApiError."""
    sizes, masks = await _read_sizes(form, fields.size, service, model)
    masked, limits = bool(masks) or fields.mask_auto, service.settings.limits
    tasks = [_size_of(one, fields, model, masked) for one in sizes]
    lease.plan(
        max(working_bytes(model.editor, one) for one in tasks),
        pictures=_count_uploads(sizes, masks),
        answer=answer_bytes(sizes * fields.n, limits, fields.partial_images),
    )


async def hold_source(
    form: forms.UploadForm, fields: SourceFields, service: Service, model: ServedModel,
    lease: Lease,
) -> None:  # fmt: skip
    """Hold what the source of a form's picture takes. Raises ApiError."""
    sizes, _ = await _read_sizes(form, fields.size, service, model)
    (task,) = (_size_of(one, fields, model, False) for one in sizes)
    editor = model.editor
    source = RGB * (count_pixels(task.picture) + count_pixels(task.target))
    source += LATENT_BYTES * path_latents(editor, task)
    working = working_bytes(editor, task)
    lease.plan(working, pictures=_count_uploads(sizes, []), source=source)


def hold_sweep(
    editor: Editor, source: Source, fields: SweepFields, limits: Limits, lease: Lease,
    copies: int = 1,
) -> int:  # fmt: skip
    """Hold what the pictures of a sweep take, with so many copies of their files.

    Returns what it takes beside while it runs.
    """
    cells = count_cells(fields)
    working = working_bytes(editor, size_of_task(editor, source)._replace(pictures=cells))
    answer = copies * answer_bytes([source.picture.size] * cells, limits)
    lease.plan(working, answer=answer)
    return working


async def _read_sizes(
    form: forms.UploadForm, size: str, service: Service, model: ServedModel
) -> tuple[list[Size], list[Size]]:
    """Sizes of the pictures and of the mask, if there is one, once they are fitted."""
    target, sizes = limit_checks.check_size(size, model), await forms.read_sizes(form, service)
    if target is not None:
        sizes = [target] * len(sizes)
    return sizes[: len(form.images)], sizes[len(form.images) :]


def _size_of(
    picture: Size, fields: EditFields | SourceFields, model: ServedModel, masked: bool
) -> TaskSize:
    runner = model.editor.runner
    steps = fields.num_inference_steps or model.editor.models.defaults.num_inference_steps
    target = limit_checks.check_size(fields.size, model) or runner.image_size(None, None)
    directed = records_direction(fields)
    return TaskSize(picture, target, steps, masked, directed=directed)


def _count_uploads(pictures: Sequence[Size], masks: Sequence[Size]) -> int:
    """Bytes of uploads that are decoded, and of the files of masks, which stay."""
    return RGB * sum(map(count_pixels, pictures)) + GREY * sum(map(count_pixels, masks))
