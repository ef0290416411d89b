"""Answers: pictures as JSON or as a stream of events, in the schema of OpenAI's Images API."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.pipeline.result import Cost, Source
from mdp_lite.serve import pictures
from mdp_lite.serve.bodies import (
    Body,
    PictureFile,
    RequestContext,
    build_body,
    build_headers,
    log_fields,
    observe_stages,
    stage_seconds,
    usage,
)
from mdp_lite.serve.errors import EXPECTED, ApiError, to_api_error
from mdp_lite.serve.field_types import ANSWER_QUALITIES
from mdp_lite.serve.fields import SamplingFields, SweepFields
from mdp_lite.serve.holdings import JOB_COPIES, answer_bytes
from mdp_lite.serve.ignored import list_header
from mdp_lite.serve.logs import log_failure
from mdp_lite.serve.pieces import FILE_MARK, send_json, send_parts, split_text
from mdp_lite.serve.reserve import hold_sweep
from mdp_lite.serve.runs import admit, run_of
from mdp_lite.serve.service import run_while_connected
from mdp_lite.serve.work import OnPreview, PictureResult, sweep_pictures

EMPTY = Image.new("RGB", (1, 1))  # instead of a picture that is a file by now
KEEP_ALIVE = 10.0  # seconds without an event, after which a comment is sent


MakePicture = Callable[[Editor, OnPreview], PictureResult]


class PictureTask(NamedTuple):
    """One picture of an answer: its FLOPs, its size, bytes while it runs, and how to make it."""

    work: int
    size: tuple[int, int]
    working_bytes: int
    run: MakePicture


async def answer(context: RequestContext, tasks: Sequence[PictureTask]) -> Response:
    """The answer to a request. All refusals happen before a stream begins."""
    fields = context.fields
    run = run_of(context.request)
    if fields.stream and run.is_job:
        raise ApiError(400, "a job has no stream: ask for its state", "invalid_value", "stream")
    if fields.stream:
        if len(tasks) > 1:
            raise ApiError(400, "a stream is of one picture: n must be 1", "invalid_value", "n")
        return _stream(context, tasks[0])
    if fields.partial_images and not run.is_job:
        message = "partial_images are for a stream: set stream"
        raise ApiError(400, message, "invalid_value", "partial_images")
    files = await make_pictures(context, tasks)
    return send_json(build_body(context, files), files, build_headers(context, files))


async def answer_sweep(
    context: RequestContext, cost: int, source: Source, fields: SweepFields
) -> Response:
    """All pictures of a sweep of at most cost FLOPs. usage is what it took: equal steps are one."""
    service, model, limits = context.service, context.model, context.service.settings.limits
    copies = JOB_COPIES if run_of(context.request).is_job else 1
    working = hold_sweep(model.editor, source, fields, limits, context.lease, copies)
    size, files = pictures.format_size(source.picture), list[bytes]()

    client = run_of(context.request).make_client()

    async def run() -> tuple[list[PictureFile], Cost]:
        how = (source, fields, model.max_rows, context.end)
        work = lambda editor: sweep_pictures(editor, *how)  # noqa: E731
        with context.lease.room(working) as room:
            done = service.run_task(cost, work, context.end, client, model, room)
            (results, spent), waited = await done
            for k, one in enumerate(results):
                encode = partial(_encode_result, context, one)
                file, results[k] = await service.process_pictures(encode)
                files.append(file)
        stages = {**context.loading, "queue": waited}
        observe_stages(context.request, service, stages | results[0].seconds)
        service.metrics.count_pictures(context.counted, results)
        pairs = zip(results, files, strict=True)
        return [PictureFile(*pair, stages | pair[0].seconds, size) for pair in pairs], spent

    task = admit(context.request, service, cost, run, model)
    left = wait_for_disconnect(context.request)
    whole, spent = await run_while_connected(task, left, service.metrics.cancelled.inc)
    body = build_body(context, whole)
    body["usage"] = usage(spent)
    for entry, one in zip(body["data"], whole, strict=True):
        entry["settings"] = one.result.settings
    return send_json(body, whole, build_headers(context, whole))


async def make_pictures(context: RequestContext, tasks: Sequence[PictureTask]) -> list[PictureFile]:
    """All pictures of a request; the work is cancelled if the client disconnects."""
    run = run_of(context.request)

    def on_preview(image: Image.Image) -> None:
        run.preview = image, context

    task = _admit(context, tasks, on_preview)
    left = wait_for_disconnect(context.request)
    return await run_while_connected(task, left, context.service.metrics.cancelled.inc)


async def answer_file(
    context: RequestContext, task: PictureTask, ignored: dict[str, str]
) -> Response:
    """The answer that is one picture's file; ignored are fields beside those of the context."""
    (picture,) = await make_pictures(context, [task])
    headers = list_header(context.ignored | ignored)
    kind = pictures.MIME[context.fields.output_format]
    return send_parts([picture.file], kind, headers)


async def wait_for_disconnect(request: Request) -> None:
    """Return when the client has disconnected; the request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _admit(
    context: RequestContext, tasks: Sequence[PictureTask], on_preview: OnPreview
) -> "asyncio.Task[list[PictureFile]]":
    cost, limits = sum(one.work for one in tasks), context.service.settings.limits
    answer = answer_bytes([one.size for one in tasks], limits, context.fields.partial_images)
    copies = JOB_COPIES if run_of(context.request).is_job else 1
    context.lease.plan(max(one.working_bytes for one in tasks), answer=copies * answer)
    start = lambda: _run_tasks(context, tasks, on_preview, cost)  # noqa: E731
    return admit(context.request, context.service, cost, start, context.model)


async def _run_tasks(
    context: RequestContext, tasks: Sequence[PictureTask], on_preview: OnPreview, cost: int
) -> list[PictureFile]:
    """Run all tasks of a request at once, in turns that they share; if one fails, stop all."""
    ends = [asyncio.ensure_future(_run_task(context, one, on_preview, cost)) for one in tasks]
    try:
        return await asyncio.gather(*ends)
    finally:
        for one in ends:
            one.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


async def _run_task(
    context: RequestContext, task: PictureTask, on_preview: OnPreview, cost: int
) -> PictureFile:
    service, client = context.service, run_of(context.request).make_client()
    work = lambda editor: task.run(editor, on_preview)  # noqa: E731
    with context.lease.room(task.working_bytes) as room:
        done = service.run_task(cost, work, context.end, client, context.model, room)
        result, waited = await done
        started = time.monotonic()
        file, result = await service.process_pictures(partial(_encode_result, context, result))
    seconds = {"decode": context.decode_seconds, **context.loading, "queue": waited}
    seconds |= result.seconds
    seconds["encode"] = time.monotonic() - started
    observe_stages(context.request, service, seconds)
    service.metrics.count_pictures(context.counted, [result])
    return PictureFile(result, file, seconds, "x".join(map(str, task.size)))


def _encode_result(context: RequestContext, result: PictureResult) -> tuple[bytes, PictureResult]:
    """A result as a file in the request's format, with its settings unless that is off.

    Beside it the result without its pixels, which take more than the file.
    """
    whole = result.settings | context.model.key.describe()
    settings = whole if context.service.settings.metadata else None
    return encode_picture(context, result.image, settings), result._replace(image=EMPTY)


def encode_picture(context: RequestContext, image: Image.Image, settings: Body | None) -> bytes:
    """A picture as a file, unless the operator's safety hook refuses it."""
    hook, fields = context.service.settings.safety_hook, context.fields
    if hook and any(hook([image])):
        raise ApiError(400, "the picture was held back", "content_policy_violation")
    return pictures.encode(image, fields.output_format, fields.output_compression, settings)


def _stream(context: RequestContext, task: PictureTask) -> Response:
    previews: asyncio.Queue[Image.Image | None] = asyncio.Queue()
    loop, cancelled = asyncio.get_running_loop(), context.service.metrics.cancelled

    def on_preview(image: Image.Image) -> None:  # in the worker thread
        loop.call_soon_threadsafe(previews.put_nowait, image)

    admitted = _admit(context, [task], on_preview)
    left = wait_for_disconnect(context.request)
    end = asyncio.ensure_future(run_while_connected(admitted, left, cancelled.inc))
    end.add_done_callback(lambda _: previews.put_nowait(None))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    headers |= list_header(context.ignored)
    events = _stream_events(context, previews, end)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _stream_events(
    context: RequestContext, previews: "asyncio.Queue[Image.Image | None]",
    end: "asyncio.Future[list[PictureFile]]",
) -> AsyncIterator[bytes]:  # fmt: skip
    """Previews as they come, then the picture or an error."""
    count = 0
    try:
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    image = await previews.get()
            except TimeoutError:
                yield b": working\n\n"
                continue
            if image is None:
                break
            for piece in await _preview_event(context, image, count):
                yield piece
            count += 1
        for piece in _final_event(context, await end):
            yield piece
    except Exception as error:
        api_error = to_api_error(error)
        if api_error.status >= 500 and api_error.code not in EXPECTED:
            log_failure("a stream failed", context.request.scope["state"].get("id"), error)
        yield _format_event("error", api_error.body).encode()
    finally:
        end.cancel()
        await asyncio.gather(end, return_exceptions=True)


async def _preview_event(
    context: RequestContext, image: Image.Image, count: int
) -> Iterator[bytes]:
    file = await context.service.process_pictures(lambda: encode_picture(context, image, None))
    data = _picture_fields(context, pictures.format_size(image)) | {"partial_image_index": count}
    return split_text(_format_event(f"{context.kind}.partial_image", data), [file])


def _final_event(context: RequestContext, files: Sequence[PictureFile]) -> Iterator[bytes]:
    (one,) = files
    context.request.scope["state"]["log"] = log_fields(files)
    data = _picture_fields(context, one.size) | {
        "usage": usage(one.result.cost),
        "seed": one.result.seed,
        "finished": one.result.finished,
        "truncated": one.result.truncated,
        "unknown_words": list(one.result.unknown_words),
        "notes": list(one.result.notes),
        "timings": stage_seconds(files),
        **context.model.key.describe(),
        "ignored": context.ignored,
    }
    return split_text(_format_event(f"{context.kind}.completed", data), [one.file])


def _picture_fields(context: RequestContext, size: str) -> Body:
    return {
        "b64_json": FILE_MARK,
        "created_at": int(time.time()),
        "size": size,
        "quality": _name_quality(context),
        "background": "opaque",
        "output_format": context.fields.output_format,
    }


def _name_quality(context: RequestContext) -> str:
    """OpenAI's word for the quality that a request asks for."""
    fields = context.fields
    asked = (fields.quality if isinstance(fields, SamplingFields) else None) or "auto"
    return ANSWER_QUALITIES.get(asked, asked)


def _format_event(kind: str, data: Body) -> str:
    data = data if kind == "error" else {"type": kind, **data}
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
