"""From what a request says to the pictures it asks for, each with its cost."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.serve import work
from mdp_lite.serve.answers import Asked, Unit
from mdp_lite.serve.costs import rows_of_edit, rows_of_source
from mdp_lite.serve.errors import Refused
from mdp_lite.serve.fields import EditFields, Sampling, SourceFields
from mdp_lite.serve.service import Service
from mdp_lite.serve.work import Drawn, Inverted, Made, Origin, Steered, Tell


def seeds(fields: EditFields) -> Sequence[int | None]:
    """A seed for each of n pictures; only edit-friendly inversion has any."""
    if fields.inversion == "edit-friendly":
        return [(fields.seed or 0) + k for k in range(fields.n)]
    if fields.n > 1:
        message = f"n must be 1: inversion {fields.inversion} draws no noise"
        raise Refused(400, message, "invalid_value", "n")
    return [fields.seed]


def inverted(image: Image.Image, fields: EditFields | SourceFields, seed: int | None) -> Inverted:
    """A source of a picture, which has the size asked for already unless that is auto."""
    return Inverted(
        image, fields.source_prompt, Inversion(fields.inversion, seed=seed),
        fields.num_inference_steps, fields.guidance_scale, fields.negative_prompt or "",
        None if fields.size == "auto" else image.size, fields.fit,
    )  # fmt: skip


def drawn(fields: Sampling, prompt: str, seed: int, size: tuple[int, int] | None) -> Drawn:
    """A source of a prompt and a seed."""
    negative, steps = fields.negative_prompt or "", fields.num_inference_steps
    return Drawn(prompt, seed, steps, fields.guidance_scale, negative, size)


def steered(asked: Asked, prompt: str, mask: Image.Image | None = None) -> Steered:
    """Where an edit is to lead, by a request that has the fields of Steering and a guidance."""
    said: Any = asked.fields
    return Steered(
        prompt, said, said.guidance_scale, said.negative_prompt, mask, asked.end,
        said.partial_images,
    )  # fmt: skip


def edit(service: Service, origin: Origin, to: Steered) -> Unit:
    """An edited picture."""
    editor = service.editor
    rows = rows_of_source(editor, origin) + rows_of_edit(editor, origin, to)

    def made(shared: Any, tell: Tell) -> Made:
        return work.edited(shared, origin, to, tell)

    return Unit(rows, work.held(origin), made)


def draw(asked: Asked, origin: Drawn) -> Unit:
    """A picture from a prompt and a seed."""
    previews = asked.fields.partial_images
    rows = rows_of_source(asked.service.editor, origin)
    return Unit(rows, 0, lambda shared, tell: work.drawn(shared, origin, previews, tell))
