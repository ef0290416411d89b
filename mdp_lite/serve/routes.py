"""The requests of the API: each is read, checked against the limits, and told what it comes to."""

import secrets
import time
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from PIL import Image

from mdp_lite.pipeline.result import Source
from mdp_lite.serve import answers, forms, library, pictures, units, work
from mdp_lite.serve.answers import Asked
from mdp_lite.serve.costs import rows_of_sweep
from mdp_lite.serve.errors import Refused
from mdp_lite.serve.fields import (
    Common,
    EditFields,
    GenerationFields,
    Inverting,
    SourceEditFields,
    SourceFields,
    SweepFields,
)
from mdp_lite.serve.service import Service
from mdp_lite.serve.work import Drawn, Inverted

SEEDS = 2**32  # of which one is drawn where none is given
Body = dict[str, Any]


async def edits(request: Request) -> Response:
    """Edit pictures: each is inverted, then steered towards the prompt."""
    started, service = time.monotonic(), _service(request)
    given = await forms.form(request, service)
    fields = EditFields.model_validate(given.texts)
    found, mask = await _read(given, fields, fields, service)
    asked = _asked(request, fields, "image_edit", started)
    origins = [
        units.inverted(image, fields, seed) for image in found for seed in units.seeds(fields)
    ]
    to = units.steered(asked, fields.prompt, mask)
    return await answers.answered(asked, [units.edit(service, one, to) for one in origins])


async def source_edits(request: Request, source: str) -> Response:
    """Edit a source that is there: no inversion."""
    started, service = time.monotonic(), _service(request)
    fields = await forms.document(request, SourceEditFields)
    forms.checked(fields, service)
    if fields.n > 1:
        message = "n must be 1: a source and a prompt give one picture"
        raise Refused(400, message, "invalid_value", "n")
    asked = _asked(request, fields, "image_edit", started)
    found = await library.find(request, service, _owner(request), source)
    to = units.steered(asked, fields.prompt)
    return await answers.answered(asked, [units.edit(service, found, to)])


async def generations(request: Request) -> Response:
    """Make pictures from a prompt and a seed, and edit them at once if there is an edit_prompt."""
    started, service = time.monotonic(), _service(request)
    fields = await forms.document(request, GenerationFields)
    forms.checked(fields, service)
    asked, size = _asked(request, fields, "image_generation", started), fields.size
    first = secrets.randbelow(SEEDS) if fields.seed is None else fields.seed
    drawn = [
        units.drawn(fields, fields.prompt, first + k, forms.size_of(size, service))
        for k in range(fields.n)
    ]
    if fields.edit_prompt is None:
        return await answers.answered(asked, [units.draw(asked, one) for one in drawn])
    to = units.steered(asked, fields.edit_prompt)
    return await answers.answered(asked, [units.edit(service, one, to) for one in drawn])


async def image_to_image(request: Request) -> Response:
    """Edit a picture as Hugging Face's clients ask; the answer is the picture's file."""
    started, service = time.monotonic(), _service(request)
    found = forms.parsed(await forms.body(request))
    inputs, said = found.get("inputs"), found.get("parameters", {})
    if not isinstance(inputs, str) or not isinstance(said, dict):
        raise Refused(400, "want inputs, a picture in base64, and parameters", "invalid_value")
    size = said.pop("target_size", None)
    if isinstance(size, dict):
        said["size"] = f"{size.get('width')}x{size.get('height')}"
    fields = EditFields.model_validate(said)
    given = forms.Form({}, [pictures.decoded(inputs, "inputs")], None)
    (image,), _ = await _read(given, fields, fields, service)
    asked = _asked(request, fields, "image_edit", started)
    (seed,) = units.seeds(fields)[:1]
    to = units.steered(asked, fields.prompt)
    unit = units.edit(service, units.inverted(image, fields, seed), to)
    (shown,) = await answers.watched(asked, [unit])
    return Response(shown.file, media_type=pictures.MIME[fields.output_format])


async def make_source(request: Request) -> Response:
    """Invert a picture, or make one from a prompt and a seed, to be edited as often as wanted."""
    service = _service(request)
    given = await forms.form(request, service)
    fields = SourceFields.model_validate(given.texts)
    forms.checked(fields, service)
    origin: Drawn | Inverted
    if given.images:
        if len(given.images) > 1 or given.mask:
            raise Refused(400, "a source is of one image", "too_many_files", "image")
        (image,) = await forms.sources(given, fields.size, fields.fit, service)
        origin = units.inverted(image, fields, fields.seed)
    else:
        size = forms.size_of(fields.size, service)
        origin = units.drawn(fields, fields.source_prompt, fields.seed or 0, size)
    source = await library.made(request, service, origin)
    service.metrics.sources.inc()
    name = await library.keep(service, _owner(request), origin, source)
    return JSONResponse(_about(service, name, source))


async def get_source(request: Request, source: str) -> Response:
    """What a source is, and how long it stays."""
    service = _service(request)
    found = await library.find(request, service, _owner(request), source)
    return JSONResponse(_about(service, source, found))


async def drop_source(request: Request, source: str) -> Response:
    """Forget a source."""
    service = _service(request)
    await library.forget(service, _owner(request), source)
    return JSONResponse({"id": source, "object": "source", "deleted": True})


async def sweeps(request: Request) -> Response:
    """Many edits of one source, what they have in common computed once."""
    service = _service(request)
    fields = await forms.document(request, SweepFields)
    forms.checked(fields, service)
    axes = (fields.variants, fields.windows, fields.schedules, fields.guidance_scales)
    cells = len(fields.prompts)
    for axis in axes:
        cells *= len(axis)
    if cells > service.settings.limits.cells:
        message = f"a sweep has at most {service.settings.limits.cells} pictures, got {cells}"
        raise Refused(400, message, "too_expensive")
    source = await library.find(request, service, _owner(request), fields.source)
    common = Common(
        output_format=fields.output_format, output_compression=fields.output_compression
    )
    asked = _asked(request, common, "sweep", time.monotonic())
    rows = rows_of_sweep(service.editor, source, fields)
    return await answers.swept(asked, rows, source, fields)


async def models(request: Request) -> Response:
    """The one model, by its alias."""
    return JSONResponse({"object": "list", "data": [_model(_service(request))]})


async def model(request: Request, name: str) -> Response:
    """The model, if it is called so."""
    service = _service(request)
    if name != service.settings.alias:
        raise Refused(404, "no such model here", "model_not_found", "model")
    return JSONResponse(_model(service))


async def live(request: Request) -> Response:
    """Whether the process can answer; one that can't any more is to be started anew."""
    is_live = _service(request).live
    return JSONResponse({"status": "live" if is_live else "dead"}, 200 if is_live else 503)


async def ready(request: Request) -> Response:
    """Whether new work is welcome: not before the models are there, nor while the last is done."""
    is_ready = _service(request).ready
    status = {"status": "ready" if is_ready else "not ready"}
    return JSONResponse(status, 200 if is_ready else 503)


async def metrics(request: Request) -> Response:
    """Everything counted, for Prometheus."""
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4")


def _service(request: Request) -> Service:
    return request.app.state.service


def _owner(request: Request) -> str:
    return request.scope["state"]["owner"]


def _asked(request: Request, fields: Common, kind: str, started: float) -> Asked:
    service, decoded = _service(request), time.monotonic() - started
    return Asked(request, service, fields, kind, started, decoded)


async def _read(
    given: forms.Form, fields: Common, how: Inverting, service: Service
) -> tuple[list[Image.Image], Image.Image | None]:
    """The pictures and the mask of an edit, once all else was found to be right."""
    forms.checked(fields, service)
    if not given.images:
        raise Refused(400, "image is required", "missing_required_parameter", "image")
    if len(given.images) * fields.n > service.settings.limits.pictures:
        most = service.settings.limits.pictures
        raise Refused(400, f"an answer has at most {most} pictures", "invalid_value", "n")
    found = await forms.sources(given, fields.size, how.fit, service)
    mask = await forms.mask(given, fields.size, how.fit, service)
    if mask and any(image.size != mask.size for image in found):
        message = "mask must have the size of the picture, or of all pictures"
        raise Refused(400, message, "invalid_image", "mask")
    if mask and not mask.getbbox():
        message = "mask must be transparent, or else white, somewhere: that is edited"
        raise Refused(400, message, "invalid_image", "mask")
    return found, mask


def _about(service: Service, name: str, source: Source) -> Body:
    return {
        "id": name,
        "object": "source",
        "expires_in": round(service.store.left(name)),
        "prompt": source.prompt,
        "method": source.method,
        "seed": work.seed_of(source),
        "num_inference_steps": len(source.grid.t),
        "size": f"{source.picture.width}x{source.picture.height}",
        "truncated": source.truncated,
        "usage": answers.usage(source.cost),
    }


def _model(service: Service) -> Body:
    return {
        "id": service.settings.alias,
        "object": "model",
        "created": 0,
        "owned_by": "mdp_lite",
    }
