"""Answers: pictures as JSON or as a stream of events, in the schema of OpenAI's Images API."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import NamedTuple

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image

from mdp_lite.batcher.turns import Share
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
from mdp_lite.serve.fields import SweepFields
from mdp_lite.serve.ignored import list_header
from mdp_lite.serve.logs import log_failure
from mdp_lite.serve.service import run_while_connected
from mdp_lite.serve.work import OnPreview, PictureResult, sweep_pictures

KEEP_ALIVE = 10.0  # seconds without an event, after which a comment is sent


class PictureJob(NamedTuple):
    """One picture of an answer: its FLOPs, bytes of its input picture, and how to make it."""

    work: int
    input_bytes: int
    run: Callable[[Editor, OnPreview], PictureResult]


async def answer(context: RequestContext, jobs: Sequence[PictureJob]) -> Response:
    """The answer to a request. All refusals happen before a stream begins."""
    fields = context.fields
    if fields.stream:
        if len(jobs) > 1:
            raise ApiError(400, "a stream is of one picture: n must be 1", "invalid_value", "n")
        return _stream(context, jobs[0])
    if fields.partial_images:
        message = "partial_images are for a stream: set stream"
        raise ApiError(400, message, "invalid_value", "partial_images")
    files = await make_pictures(context, jobs)
    return JSONResponse(build_body(context, files), headers=build_headers(context, files))


async def answer_sweep(
    context: RequestContext, cost: int, source: Source, fields: SweepFields
) -> Response:
    """All pictures of a sweep of at most cost FLOPs. usage is what it took: equal steps are one."""
    service = context.service

    async def run() -> tuple[list[PictureFile], Cost]:
        how = (source, fields, service.max_rows, context.end)
        work = lambda editor: sweep_pictures(editor, *how)  # noqa: E731
        share = service.users.open_share(context.request)
        (results, spent), waited = await service.run_job(cost, work, context.end, share)
        files = [
            await service.process_pictures(partial(_encode_result, context, one)) for one in results
        ]
        observe_stages(context.request, service, {"queue": waited, **results[0].seconds})
        service.metrics.count_pictures(context.counted, results)
        pairs = zip(results, files, strict=True)
        return [PictureFile(*pair, {"queue": waited, **pair[0].seconds}) for pair in pairs], spent

    task = service.admit(cost, 0, run)
    left = wait_for_disconnect(context.request)
    files, spent = await run_while_connected(task, left, service.metrics.cancelled.inc)
    body = build_body(context, files)
    body["usage"] = usage(spent)
    for entry, one in zip(body["data"], files, strict=True):
        entry["settings"] = one.result.settings
    return JSONResponse(body, headers=build_headers(context, files))


async def make_pictures(context: RequestContext, jobs: Sequence[PictureJob]) -> list[PictureFile]:
    """All pictures of a request; the work is cancelled if the client disconnects."""
    task = _admit(context, jobs, lambda image: None)
    left = wait_for_disconnect(context.request)
    return await run_while_connected(task, left, context.service.metrics.cancelled.inc)


async def answer_file(
    context: RequestContext, job: PictureJob, ignored: dict[str, str]
) -> Response:
    """The answer that is one picture's file; ignored are fields beside those of the context."""
    (picture,) = await make_pictures(context, [job])
    headers = list_header(context.ignored | ignored)
    kind = pictures.MIME[context.fields.output_format]
    return Response(picture.file, media_type=kind, headers=headers)


async def wait_for_disconnect(request: Request) -> None:
    """Return when the client has disconnected; the request's body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _admit(
    context: RequestContext, jobs: Sequence[PictureJob], on_preview: OnPreview
) -> "asyncio.Task[list[PictureFile]]":
    cost, size = sum(one.work for one in jobs), sum(one.input_bytes for one in jobs)
    return context.service.admit(cost, size, lambda: _run_jobs(context, jobs, on_preview, cost))


async def _run_jobs(
    context: RequestContext, jobs: Sequence[PictureJob], on_preview: OnPreview, cost: int
) -> list[PictureFile]:
    """Run all jobs of a request at once, in turns that they share; if one fails, stop all."""
    share = context.service.users.open_share(context.request)
    tasks = [asyncio.ensure_future(_run_job(context, job, on_preview, cost, share)) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run_job(
    context: RequestContext, job: PictureJob, on_preview: OnPreview, cost: int, share: Share
) -> PictureFile:
    service = context.service
    work = lambda editor: job.run(editor, on_preview)  # noqa: E731
    result, waited = await service.run_job(cost, work, context.end, share)
    started = time.monotonic()
    file = await service.process_pictures(lambda: _encode_result(context, result))
    seconds = {"decode": context.decode_seconds, "queue": waited, **result.seconds}
    seconds["encode"] = time.monotonic() - started
    observe_stages(context.request, service, seconds)
    service.metrics.count_pictures(context.counted, [result])
    return PictureFile(result, file, seconds)


def _encode_result(context: RequestContext, result: PictureResult) -> bytes:
    """A result as a file in the request's format, with its settings unless that is off."""
    chosen = context.service.settings
    settings = result.settings | {"model": chosen.alias} if chosen.metadata else None
    return _encode(context, result.image, settings)


def _encode(context: RequestContext, image: Image.Image, settings: Body | None) -> bytes:
    """A picture as a file, unless the operator's safety hook refuses it."""
    hook, fields = context.service.settings.safety_hook, context.fields
    if hook and any(hook([image])):
        raise ApiError(400, "the picture was held back", "content_policy_violation")
    return pictures.encode(image, fields.output_format, fields.output_compression, settings)


def _stream(context: RequestContext, job: PictureJob) -> Response:
    previews: asyncio.Queue[Image.Image | None] = asyncio.Queue()
    loop, cancelled = asyncio.get_running_loop(), context.service.metrics.cancelled

    def on_preview(image: Image.Image) -> None:  # in the worker thread
        loop.call_soon_threadsafe(previews.put_nowait, image)

    task = _admit(context, [job], on_preview)
    left = wait_for_disconnect(context.request)
    end = asyncio.ensure_future(run_while_connected(task, left, cancelled.inc))
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
            yield await _preview_event(context, image, count)
            count += 1
        yield _final_event(context, await end)
    except Exception as error:
        api_error = to_api_error(error)
        if api_error.status >= 500 and api_error.code not in EXPECTED:
            log_failure("a stream failed", context.request.scope["state"].get("id"), error)
        yield _format_event("error", api_error.body)
    finally:
        end.cancel()
        await asyncio.gather(end, return_exceptions=True)


async def _preview_event(context: RequestContext, image: Image.Image, count: int) -> bytes:
    file = await context.service.process_pictures(lambda: _encode(context, image, None))
    data = _picture_fields(context, image, file) | {"partial_image_index": count}
    return _format_event(f"{context.kind}.partial_image", data)


def _final_event(context: RequestContext, files: Sequence[PictureFile]) -> bytes:
    (one,) = files
    context.request.scope["state"]["log"] = log_fields(files)
    data = _picture_fields(context, one.result.image, one.file) | {
        "usage": usage(one.result.cost),
        "seed": one.result.seed,
        "finished": one.result.finished,
        "truncated": one.result.truncated,
        "unknown_words": list(one.result.unknown_words),
        "timings": stage_seconds(files),
        "model": context.service.settings.alias,
        "ignored": context.ignored,
    }
    return _format_event(f"{context.kind}.completed", data)


def _picture_fields(context: RequestContext, image: Image.Image, file: bytes) -> Body:
    return {
        "b64_json": pictures.to_base64(file),
        "created_at": int(time.time()),
        "size": pictures.format_size(image),
        "quality": "auto",
        "background": "opaque",
        "output_format": context.fields.output_format,
    }


def _format_event(kind: str, data: Body) -> bytes:
    data = data if kind == "error" else {"type": kind, **data}
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
