"""The requests of the API: each is read, checked against the limits, run and answered."""

import secrets
import time
from typing import Annotated, Any

from fastapi import Path, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image

from mdp_lite.pipeline.result import Source
from mdp_lite.serve import (
    answers,
    bodies,
    conflicts,
    forms,
    hugging_face,
    jobs,
    library,
    pictures,
    work,
)
from mdp_lite.serve.answers import PictureJob
from mdp_lite.serve.bodies import RequestContext
from mdp_lite.serve.costs import work_of_sweep
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.fields import (
    CommonFields,
    EditFields,
    GenerationFields,
    InversionFields,
    SourceEditFields,
    SourceFields,
    SweepFields,
    read_fields,
)
from mdp_lite.serve.ignored import explain_ignored, list_header
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import ServiceSettings
from mdp_lite.serve.work import Recipe

EVENTS = {  # how OpenAI's clients name the events of a stream, by the kind of picture
    "edit": "image_edit",
    "source_edit": "image_edit",
    "generation": "image_generation",
    "generated_edit": "image_generation",
}
SEEDS = 2**32  # a request without a seed gets a random one below this
Body = dict[str, Any]
SourceId = Annotated[str, Path(description="the id of a source")]
ModelName = Annotated[str, Path(description="a name of the model")]


async def edits(request: Request) -> Response:
    """Edit pictures: each is inverted, then edited towards the prompt."""
    started, service = time.monotonic(), _service(request)
    form = await forms.read_form(request, service)
    fields = forms.choose_steps(EditFields.model_validate(form.texts), service)
    conflicts.check_edit(fields, form.mask is not None)
    images, mask = await _read_pictures(form, fields, fields, service)
    context = _context(request, fields, "edit", started)
    origins = [
        jobs.picture_recipe(image, fields, seed)
        for image in images
        for seed in jobs.seeds_of(fields)
    ]
    spec = jobs.edit_spec(context, fields.prompt, mask)
    return await answers.answer(context, [jobs.edit_job(service, one, spec) for one in origins])


async def source_edits(request: Request, source: SourceId) -> Response:
    """Edit a source that exists, without an inversion."""
    started, service = time.monotonic(), _service(request)
    fields = await forms.read_json(request, SourceEditFields)
    forms.check_limits(fields, service)
    conflicts.check_source_edit(fields)
    context = _context(request, fields, "source_edit", started)
    origin = await library.find_source(request, service, _owner(request), source)
    conflicts.check_source_size(fields, origin.picture.size)
    spec = jobs.edit_spec(context, fields.prompt)
    return await answers.answer(context, [jobs.edit_job(service, origin, spec)])


async def generations(request: Request) -> Response:
    """Make pictures from a prompt and a seed, and edit them at once if there is an edit_prompt."""
    started = time.monotonic()
    fields = await forms.read_json(request, GenerationFields)
    return await answers.answer(*prepare_generation(request, fields, started))


def prepare_generation(
    request: Request, fields: GenerationFields, started: float
) -> tuple[RequestContext, list[PictureJob]]:
    """The checked request and a job for each of its pictures."""
    service = _service(request)
    fields = forms.choose_steps(fields, service)
    forms.check_limits(fields, service)
    conflicts.check_generation(fields)
    kind = "generation" if fields.edit_prompt is None else "generated_edit"
    context = _context(request, fields, kind, started)
    target = forms.check_size(fields.size, service)
    first = secrets.randbelow(SEEDS) if fields.seed is None else fields.seed
    recipes = [
        jobs.prompt_recipe(fields, fields.prompt, first + k, target, "prompt_2")
        for k in range(fields.n)
    ]
    if fields.edit_prompt is None:
        return context, [jobs.generate_job(context, one) for one in recipes]
    spec = jobs.edit_spec(context, fields.edit_prompt, second="edit_prompt_2")
    return context, [jobs.edit_job(service, one, spec) for one in recipes]


async def image_to_image(request: Request) -> Response:
    """Edit a picture for Hugging Face's clients; the answer is the picture's file."""
    started, service = time.monotonic(), _service(request)
    sent = hugging_face.read_inference(
        await forms.read_inference_body(request), "a picture in base64"
    )
    form = forms.UploadForm({}, [pictures.from_base64(sent.inputs, "inputs")], None)
    parameters = hugging_face.rename_size(sent.parameters)
    fields = forms.choose_steps(read_fields(EditFields, parameters), service)
    conflicts.check_picture_answer(fields)
    (image,), _ = await _read_pictures(form, fields, fields, service)
    context = _context(request, fields, "edit", started)
    (seed,) = jobs.seeds_of(fields)
    spec = jobs.edit_spec(context, fields.prompt)
    job = jobs.edit_job(service, jobs.picture_recipe(image, fields, seed), spec)
    return await answers.answer_file(context, job, sent.ignored)


async def text_to_image(request: Request) -> Response:
    """Make a picture for Hugging Face's clients; the answer is the picture's file."""
    started = time.monotonic()
    sent = hugging_face.read_inference(await forms.read_inference_body(request, False), "a text")
    parameters = hugging_face.join_sides(sent.parameters) | {"prompt": sent.inputs}
    fields = read_fields(GenerationFields, parameters)
    conflicts.check_picture_answer(fields)
    context, (job,) = prepare_generation(request, fields, started)
    return await answers.answer_file(context, job, sent.ignored)


async def make_source(request: Request) -> Response:
    """Invert a picture, or generate one from a prompt and a seed; edits can then use it."""
    started, service = time.monotonic(), _service(request)
    form = await forms.read_form(request, service)
    fields = forms.choose_steps(SourceFields.model_validate(form.texts), service)
    forms.check_limits(fields, service)
    conflicts.check_source(fields, len(form.images), form.mask is not None)
    recipe: Recipe
    if form.images:
        (image,) = await forms.read_pictures(form, fields.size, fields.fit, service)
        recipe = jobs.picture_recipe(image, fields, fields.seed)
    else:
        size = forms.check_size(fields.size, service)
        seed, second = fields.seed or 0, "source_prompt_2"
        recipe = jobs.prompt_recipe(fields, fields.source_prompt, seed, size, second)
    end = None if fields.deadline is None else started + fields.deadline
    request.scope["state"]["kind"] = "source"
    source = await library.make_source(request, service, recipe, end)
    service.metrics.sources.inc()
    name = await library.keep_source(service, _owner(request), recipe, source)
    ignored = explain_ignored(fields, service.settings)
    body = _source_body(service, name, source) | {"ignored": ignored}
    return JSONResponse(body, headers=list_header(ignored))


async def get_source(request: Request, source: SourceId) -> Response:
    """Describe a source and say when it expires."""
    service = _service(request)
    found = await library.find_source(request, service, _owner(request), source)
    return JSONResponse(_source_body(service, source, found))


async def drop_source(request: Request, source: SourceId) -> Response:
    """Delete a source."""
    service = _service(request)
    await library.forget_source(service, _owner(request), source)
    return JSONResponse({"id": source, "object": "source", "deleted": True})


async def sweeps(request: Request) -> Response:
    """Many edits of one source; their common steps are computed once."""
    started, service = time.monotonic(), _service(request)
    fields = await forms.read_json(request, SweepFields)
    forms.check_limits(fields, service)
    axes = (fields.variants, fields.windows, fields.schedules, fields.guidance_scales)
    cells = len(fields.prompts)
    for axis in axes:
        cells *= len(axis)
    if cells > service.settings.limits.cells:
        message = f"a sweep has at most {service.settings.limits.cells} pictures, got {cells}"
        raise ApiError(400, message, "too_expensive")
    source = await library.find_source(request, service, _owner(request), fields.source)
    common = CommonFields(
        output_format=fields.output_format, output_compression=fields.output_compression,
        deadline=fields.deadline,
    )  # fmt: skip
    context = _context(request, common, "sweep", started)
    context = context._replace(ignored=explain_ignored(fields, service.settings))
    cost = work_of_sweep(service.editor, source, fields, cells)
    return await answers.answer_sweep(context, cost, source, fields)


async def models(request: Request) -> Response:
    """The one model, by each name that the operator chose."""
    settings = _service(request).settings
    data = [_model_body(settings, name) for name in settings.names]
    return JSONResponse({"object": "list", "data": data})


async def model(request: Request, name: ModelName) -> Response:
    """The model, if requests may name it so."""
    settings = _service(request).settings
    forms.check_model(name, settings)
    return JSONResponse(_model_body(settings, name))


async def live(request: Request) -> Response:
    """Whether the models' thread is alive; if not, restart the process."""
    is_live = _service(request).live
    return JSONResponse({"status": "live" if is_live else "dead"}, 200 if is_live else 503)


async def ready(request: Request) -> Response:
    """Whether new requests are taken: not during warm-up, and not during shutdown."""
    is_ready = _service(request).ready
    status = {"status": "ready" if is_ready else "not ready"}
    return JSONResponse(status, 200 if is_ready else 503)


async def metrics(request: Request) -> Response:
    """All metrics, for Prometheus."""
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4")


def _service(request: Request) -> Service:
    return request.app.state.service


def _owner(request: Request) -> str:
    return request.scope["state"]["owner"]


def _context(
    request: Request, fields: CommonFields, counted: str, started: float
) -> RequestContext:
    """What a request is known by from here on; counted is one of metrics.KINDS."""
    service, seconds = _service(request), time.monotonic() - started
    request.scope["state"]["kind"] = counted
    kind, ignored = EVENTS.get(counted, counted), explain_ignored(fields, service.settings)
    return RequestContext(request, service, fields, kind, started, seconds, ignored, counted)


async def _read_pictures(
    form: forms.UploadForm, fields: CommonFields, how: InversionFields, service: Service
) -> tuple[list[Image.Image], Image.Image | None]:
    """The pictures and the mask of an edit; everything else is checked first."""
    forms.check_limits(fields, service)
    if not form.images:
        raise ApiError(400, "image is required", "missing_required_parameter", "image")
    if len(form.images) * fields.n > service.settings.limits.pictures:
        most = service.settings.limits.pictures
        raise ApiError(400, f"an answer has at most {most} pictures", "invalid_value", "n")
    images = await forms.read_pictures(form, fields.size, how.fit, service)
    mask = await forms.read_mask(form, fields.size, how.fit, service)
    if mask and any(image.size != mask.size for image in images):
        message = "mask must have the size of the picture, or of all pictures"
        raise ApiError(400, message, "invalid_image", "mask")
    if mask and not mask.getbbox():
        message = "mask must be transparent, or else white, somewhere: that is edited"
        raise ApiError(400, message, "invalid_image", "mask")
    return images, mask


def _source_body(service: Service, name: str, source: Source) -> Body:
    return {
        "id": name,
        "object": "source",
        "expires_in": round(service.store.seconds_left(name)),
        "prompt": source.prompt,
        "method": source.method,
        "seed": work.seed_of(source),
        "num_inference_steps": len(source.grid.t),
        "size": f"{source.picture.width}x{source.picture.height}",
        "truncated": source.truncated,
        **({"xl": read} if (read := source.xl.describe()) else {}),
        "usage": bodies.usage(source.cost),
    }


def _model_body(settings: ServiceSettings, name: ModelName) -> Body:
    """The model by one of its names; root is the alias, whichever was asked for."""
    about = {"object": "model", "created": 0, "owned_by": "mdp_lite"}
    return {"id": name, **about, "root": settings.alias}
