"""The requests of Hugging Face's clients, whose answers are pictures' files."""

import time
from functools import partial

from fastapi import Request
from fastapi.responses import Response

from mdp_lite.serve import answers, conflicts, forms, hugging_face, limit_checks, tasks
from mdp_lite.serve.choosing import use_model
from mdp_lite.serve.fields import EditFields, GenerationFields, read_fields
from mdp_lite.serve.memory import lease_of
from mdp_lite.serve.pictures import from_base64
from mdp_lite.serve.routes import (
    build_context,
    prepare_generation,
    read_edit_pictures,
    service_of,
)


async def image_to_image(request: Request) -> Response:
    """Edit a picture for Hugging Face's clients; the answer is the picture's file."""
    started, service = time.monotonic(), service_of(request)
    body = await forms.read_inference_body(request)
    sent, picture = await service.process_pictures(partial(_read_inference, body))
    body.clear()
    fields = read_fields(EditFields, hugging_face.rename_size(sent.parameters))
    conflicts.check_picture_answer(fields)
    async with use_model(request, service, fields, started) as model:
        fields = limit_checks.fit_to_model(fields, model)
        form = forms.UploadForm({}, [picture], None)
        lease_of(request).hold(body=len(picture))
        (image,), _ = await read_edit_pictures(form, fields, service, model, lease_of(request))
        context = build_context(request, fields, "edit", started, model)
        (seed,) = tasks.seeds_of(fields)
        spec = tasks.edit_spec(context, fields.prompt)
        task = tasks.edit_task(model, tasks.picture_recipe(image, fields, seed), spec)
        return await answers.answer_file(context, task, sent.ignored)


def _read_inference(body: hugging_face.Body) -> tuple[hugging_face.Inference, bytes]:
    """The request without its inputs, and the picture that these are."""
    sent = hugging_face.read_inference(body, "a picture in base64")
    return sent._replace(inputs=""), from_base64(sent.inputs, "inputs")


async def text_to_image(request: Request) -> Response:
    """Make a picture for Hugging Face's clients; the answer is the picture's file."""
    started, service = time.monotonic(), service_of(request)
    sent = hugging_face.read_inference(await forms.read_inference_body(request, False), "a text")
    parameters = hugging_face.join_sides(sent.parameters) | {"prompt": sent.inputs}
    fields = read_fields(GenerationFields, parameters)
    conflicts.check_picture_answer(fields)
    conflicts.check_generation(fields)
    async with use_model(request, service, fields, started) as model:
        context, (task,) = prepare_generation(request, fields, started, model)
        return await answers.answer_file(context, task, sent.ignored)
