"""The requests of the API: each is read, checked against the limits, run and answered."""

import secrets
import time
from typing import Annotated, Any

from fastapi import Path, Request
from fastapi.responses import JSONResponse, Response
from PIL import Image

from mdp_lite.model_pool.keys import ModelKey
from mdp_lite.pipeline.result import Source
from mdp_lite.serve import (
    answers,
    bodies,
    conflicts,
    forms,
    library,
    limit_checks,
    reserve,
    tasks,
    work,
)
from mdp_lite.serve.answers import PictureTask
from mdp_lite.serve.bodies import RequestContext
from mdp_lite.serve.choosing import check_same_model, load_model, use_model
from mdp_lite.serve.costs import work_of_sweep
from mdp_lite.serve.errors import ApiError, validate
from mdp_lite.serve.fields import (
    CommonFields,
    EditFields,
    GenerationFields,
    SourceEditFields,
    SourceFields,
    SweepFields,
)
from mdp_lite.serve.ignored import explain_ignored, list_header
from mdp_lite.serve.memory import Lease, lease_of
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.service import Service
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


async def edits(request: Request) -> Response:
    """Edit pictures: each is inverted, then edited towards the prompt."""
    started, service = time.monotonic(), service_of(request)
    form = await forms.read_form(request, service)
    fields = validate(EditFields, form.texts)
    conflicts.check_edit(fields, form.mask is not None)
    async with use_model(request, service, fields, started) as model:
        fields = limit_checks.fit_to_model(fields, model)
        images, mask = await read_edit_pictures(form, fields, service, model, lease_of(request))
        context = build_context(request, fields, "edit", started, model)
        origins = [
            tasks.picture_recipe(image, fields, seed)
            for image in images
            for seed in tasks.seeds_of(fields)
        ]
        spec = tasks.edit_spec(context, fields.prompt, mask)
        pictures = [tasks.edit_task(model, one, spec) for one in origins]
        return await answers.answer(context, pictures)


async def source_edits(request: Request, source: SourceId) -> Response:
    """Edit a source that exists, without an inversion."""
    started, service = time.monotonic(), service_of(request)
    fields = await forms.read_json(request, SourceEditFields)
    limit_checks.check_limits(fields, service)
    conflicts.check_source_edit(fields)
    found = await library.find_source(service, _owner(request), source)
    check_same_model(fields, found.key, service)
    async with use_model(request, service, fields, started, found.key) as model:
        fields = limit_checks.fit_to_model(fields, model)
        context = build_context(request, fields, "source_edit", started, model)
        origin = await library.take_source(request, service, model, found)
        conflicts.check_source_size(fields, origin.picture.size)
        spec = tasks.edit_spec(context, fields.prompt)
        return await answers.answer(context, [tasks.edit_task(model, origin, spec)])


async def generations(request: Request) -> Response:
    """Make pictures from a prompt and a seed, and edit them at once if there is an edit_prompt."""
    started, service = time.monotonic(), service_of(request)
    fields = await forms.read_json(request, GenerationFields)
    conflicts.check_generation(fields)
    async with use_model(request, service, fields, started) as model:
        return await answers.answer(*prepare_generation(request, fields, started, model))


def prepare_generation(
    request: Request,
    fields: GenerationFields,
    started: float,
    model: ServedModel,
) -> tuple[RequestContext, list[PictureTask]]:
    """The checked request and a task for each of its pictures."""
    fields = limit_checks.fit_to_model(fields, model)
    kind = "generation" if fields.edit_prompt is None else "generated_edit"
    context = build_context(request, fields, kind, started, model)
    target = limit_checks.check_size(fields.size, model)
    first = secrets.randbelow(SEEDS) if fields.seed is None else fields.seed
    recipes = [
        tasks.prompt_recipe(fields, fields.prompt, first + k, target, "prompt_2")
        for k in range(fields.n)
    ]
    if fields.edit_prompt is None:
        return context, [tasks.generate_task(context, one) for one in recipes]
    spec = tasks.edit_spec(context, fields.edit_prompt, second="edit_prompt_2")
    return context, [tasks.edit_task(model, one, spec) for one in recipes]


async def make_source(request: Request) -> Response:
    """Invert a picture, or generate one from a prompt and a seed; edits can then use it."""
    started, service = time.monotonic(), service_of(request)
    form = await forms.read_form(request, service)
    fields = validate(SourceFields, form.texts)
    conflicts.check_source(fields, len(form.images), form.mask is not None)
    async with use_model(request, service, fields, started) as model:
        fields = limit_checks.fit_to_model(fields, model)
        recipe: Recipe
        if form.images:
            await reserve.hold_source(form, fields, service, model, lease_of(request))
            (image,) = await forms.read_pictures(form, fields.size, fields.fit, service, model)
            recipe = tasks.picture_recipe(image, fields, fields.seed)
        else:
            size = limit_checks.check_size(fields.size, model)
            seed, second = fields.seed or 0, "source_prompt_2"
            recipe = tasks.prompt_recipe(fields, fields.source_prompt, seed, size, second)
        end = None if fields.deadline is None else started + fields.deadline
        request.scope["state"]["kind"] = "source"
        source = await library.make_source(request, service, model, recipe, end)
        service.metrics.sources.inc()
        name = await library.keep_source(service, model, _owner(request), recipe, source)
    ignored = explain_ignored(fields, service.settings)
    body = _source_body(service, name, source, model.key) | {"ignored": ignored}
    return JSONResponse(body, headers=list_header(ignored))


async def get_source(request: Request, source: SourceId) -> Response:
    """Describe a source and say when it expires."""
    service = service_of(request)
    found = await library.find_source(service, _owner(request), source)
    one = found.source
    if one is None:
        async with load_model(request, service, found.key) as model:
            one = await library.take_source(request, service, model, found)
    return JSONResponse(_source_body(service, source, one, found.key))


async def drop_source(request: Request, source: SourceId) -> Response:
    """Delete a source."""
    service = service_of(request)
    await library.forget_source(service, _owner(request), source)
    return JSONResponse({"id": source, "object": "source", "deleted": True})


async def sweeps(request: Request) -> Response:
    """Many edits of one source; their common steps are computed once."""
    started, service = time.monotonic(), service_of(request)
    fields = await forms.read_json(request, SweepFields)
    limit_checks.check_limits(fields, service)
    cells = limit_checks.check_cells(fields, service)
    found = await library.find_source(service, _owner(request), fields.source)
    check_same_model(fields, found.key, service)
    async with use_model(request, service, fields, started, found.key) as model:
        fields = limit_checks.fit_to_model(fields, model)
        source = await library.take_source(request, service, model, found)
        common = CommonFields(
            output_format=fields.output_format, output_compression=fields.output_compression,
            deadline=fields.deadline,
        )  # fmt: skip
        context = build_context(request, common, "sweep", started, model)
        context = context._replace(ignored=explain_ignored(fields, service.settings))
        cost = work_of_sweep(model.editor, source, fields, cells)
        return await answers.answer_sweep(context, cost, source, fields)


async def live(request: Request) -> Response:
    """Whether the models' thread is alive; if not, restart the process."""
    is_live = service_of(request).live
    return JSONResponse({"status": "live" if is_live else "dead"}, 200 if is_live else 503)


async def ready(request: Request) -> Response:
    """Whether new requests are taken: not during warm-up, and not during shutdown."""
    is_ready = service_of(request).ready
    status = {"status": "ready" if is_ready else "not ready"}
    return JSONResponse(status, 200 if is_ready else 503)


async def metrics(request: Request) -> Response:
    """All metrics, for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4")


def service_of(request: Request) -> Service:
    """The service that got a request."""
    return request.app.state.service


def _owner(request: Request) -> str:
    return request.scope["state"]["owner"]


def build_context(
    request: Request, fields: CommonFields, counted: str, started: float, model: ServedModel
) -> RequestContext:
    """What a request is known by from here on; counted is one of metrics.KINDS."""
    service, state = service_of(request), request.scope["state"]
    seconds = time.monotonic() - started - state.get("load", 0.0)
    state["kind"] = counted
    kind, ignored = EVENTS.get(counted, counted), explain_ignored(fields, service.settings)
    return RequestContext(request, service, fields, kind, started, seconds, ignored, counted, model)


async def read_edit_pictures(
    form: forms.UploadForm, fields: EditFields, service: Service, model: ServedModel,
    lease: Lease,
) -> tuple[list[Image.Image], Image.Image | None]:  # fmt: skip
    """The pictures and the mask of an edit; everything else is checked first."""
    if not form.images:
        raise ApiError(400, "image is required", "missing_required_parameter", "image")
    if len(form.images) * fields.n > service.settings.limits.pictures:
        most = service.settings.limits.pictures
        raise ApiError(400, f"an answer has at most {most} pictures", "invalid_value", "n")
    await reserve.hold_edits(form, fields, service, model, lease)
    images = await forms.read_pictures(form, fields.size, fields.fit, service, model)
    mask = await forms.read_mask(form, fields.size, fields.fit, service, model)
    lease.hold(body=len(form.mask or b""))
    if mask and any(image.size != mask.size for image in images):
        message = "mask must have the size of the picture, or of all pictures"
        raise ApiError(400, message, "invalid_image", "mask")
    if mask and not mask.getbbox():
        message = "mask must be transparent, or else white, somewhere: that is edited"
        raise ApiError(400, message, "invalid_image", "mask")
    return images, mask


def _source_body(service: Service, name: str, source: Source, key: ModelKey) -> Body:
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
        **key.describe(),
        **({"xl": read} if (read := source.xl.describe()) else {}),
        "usage": bodies.usage(source.cost),
    }
