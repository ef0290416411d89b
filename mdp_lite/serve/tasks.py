"""From the fields of a request to the pictures that it asks for: one task each, with its cost."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from mdp_lite.cli.xl import build_xl
from mdp_lite.editor import Editor
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.pipeline.result import Source
from mdp_lite.serve.answers import MakePicture, PictureTask
from mdp_lite.serve.bodies import RequestContext
from mdp_lite.serve.costs import work_of_edit, work_of_generation, work_of_source
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.fields import EditFields, GenerationFields, SourceFields, records_direction
from mdp_lite.serve.holdings import TaskSize, size_of_task, working_bytes
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.work import (
    EditSpec,
    OnPreview,
    PictureRecipe,
    PictureResult,
    PromptRecipe,
    Recipe,
    edit_picture,
    generate_picture,
)


def seeds_of(fields: EditFields) -> Sequence[int | None]:
    """A seed for each of n pictures; only an edit-friendly inversion uses one."""
    if fields.inversion == "edit-friendly":
        return [(fields.seed or 0) + k for k in range(fields.n)]
    if fields.n > 1:
        message = f"n must be 1: inversion {fields.inversion} draws no noise"
        raise ApiError(400, message, "invalid_value", "n")
    return [fields.seed]


def picture_recipe(
    image: Image.Image, fields: EditFields | SourceFields, seed: int | None
) -> PictureRecipe:
    """The recipe of a picture, which already has the size in the request unless that is auto."""
    return PictureRecipe(
        image, fields.source_prompt, Inversion(fields.inversion, seed=seed),
        fields.num_inference_steps, fields.guidance_scale, fields.negative_prompt or "",
        None if fields.size == "auto" else image.size, fields.fit,
        build_xl(dict(fields), "source_prompt_2"), records_direction(fields),
    )  # fmt: skip


def prompt_recipe(
    fields: GenerationFields | SourceFields, prompt: str, seed: int,
    size: tuple[int, int] | None, second: str,
) -> PromptRecipe:  # fmt: skip
    """The recipe of a prompt and a seed; second is the field with its second prompt."""
    negative, steps = fields.negative_prompt or "", fields.num_inference_steps
    xl = build_xl(dict(fields), second)
    g, noisy, directed = fields.guidance_scale, fields.record_noise, records_direction(fields)
    return PromptRecipe(prompt, seed, steps, g, negative, size, xl, noisy, directed)


def edit_spec(
    context: RequestContext, prompt: str, mask: Image.Image | None = None,
    second: str = "prompt_2",
) -> EditSpec:  # fmt: skip
    """The edit of a request that has steering fields and a guidance scale; second as above."""
    fields: Any = context.fields
    return EditSpec(
        prompt, fields, fields.guidance_scale, fields.negative_prompt, mask, context.end,
        fields.partial_images, build_xl(dict(fields), second),
    )  # fmt: skip


def edit_task(model: ServedModel, origin: Recipe | Source, spec: EditSpec) -> PictureTask:
    """A task that makes an edited picture, and its source if that does not exist yet."""
    work = work_of_source(model.editor, origin) + work_of_edit(model.editor, origin, spec)

    def run(editor: Editor, on_preview: OnPreview) -> PictureResult:
        return edit_picture(editor, origin, spec, on_preview)

    return _build_task(model.editor, work, size_of_task(model.editor, origin, spec), run)


def generate_task(context: RequestContext, recipe: PromptRecipe) -> PictureTask:
    """A task that makes a picture from a prompt and a seed."""
    previews, editor = context.fields.partial_images, context.model.editor
    work = work_of_generation(editor, recipe)

    def run(editor: Editor, on_preview: OnPreview) -> PictureResult:
        return generate_picture(editor, recipe, previews, on_preview, context.end)

    return _build_task(editor, work, size_of_task(editor, recipe), run)


def _build_task(editor: Editor, work: int, size: TaskSize, run: MakePicture) -> PictureTask:
    return PictureTask(work, size.picture, working_bytes(editor, size), run)
