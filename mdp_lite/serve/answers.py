"""Answering: pictures as JSON or as a stream of events, in the schema of OpenAI's Images API."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.pipeline.result import Cost, Source
from mdp_lite.serve import pictures
from mdp_lite.serve.errors import Refused, refused
from mdp_lite.serve.fields import Common, SweepFields
from mdp_lite.serve.service import Service, attended
from mdp_lite.serve.work import Made, Tell
from mdp_lite.serve.work import swept as swept_by

KEEP_ALIVE = 10.0  # seconds without an event, after which a comment is sent
log = logging.getLogger("mdp_lite.serve")
Body = dict[str, Any]


class Unit(NamedTuple):
    """One picture of an answer: its UNet rows, bytes that it holds, and the work that makes it."""

    rows: int
    held: int
    work: Callable[[Editor, Tell], Made]


class Asked(NamedTuple):
    """A request that was read and checked; kind is image_edit or image_generation."""

    request: Request
    service: Service
    fields: Common
    kind: str
    started: float
    decoded: float

    @property
    def end(self) -> float | None:
        """When its deadline is over, by the monotonic clock."""
        seconds = self.fields.deadline
        return None if seconds is None else self.started + seconds


class Shown(NamedTuple):
    """A picture that is ready to be sent."""

    made: Made
    file: bytes
    seconds: dict[str, float]


async def answered(asked: Asked, units: Sequence[Unit]) -> Response:
    """The answer to a request: what can be refused is refused before a stream begins."""
    fields = asked.fields
    if fields.stream:
        if len(units) > 1:
            raise Refused(400, "a stream is of one picture: n must be 1", "invalid_value", "n")
        return _streaming(asked, units[0])
    if fields.partial_images:
        message = "partial_images are for a stream: set stream"
        raise Refused(400, message, "invalid_value", "partial_images")
    shown = await watched(asked, units)
    return JSONResponse(_body(asked, shown), headers={"Server-Timing": _timing(shown)})


async def swept(asked: Asked, rows: int, source: Source, fields: SweepFields) -> Response:
    """All pictures of a sweep; usage is what it took, as equal steps are computed once."""
    service = asked.service

    async def run() -> tuple[list[Shown], Cost]:
        work = lambda one: swept_by(one, source, fields, service.most)  # noqa: E731
        (made, cost), waited = await service.job(rows, work)
        files = [await service.read(partial(_file, asked, one)) for one in made]
        pairs = zip(made, files, strict=True)
        return [Shown(one, file, {"queue": waited, **one.seconds}) for one, file in pairs], cost

    task = service.admitted(rows, 0, run)
    shown, cost = await attended(task, left(asked.request), service.metrics.cancelled.inc)
    body = _body(asked, shown)
    body["usage"] = usage(cost)
    for told, one in zip(body["data"], shown, strict=True):
        told["settings"] = one.made.settings
    return JSONResponse(body, headers={"Server-Timing": _timing(shown)})


async def watched(asked: Asked, units: Sequence[Unit]) -> list[Shown]:
    """All pictures of a request, for as long as its client is there."""
    service = asked.service
    rows, held = sum(one.rows for one in units), sum(one.held for one in units)
    task = service.admitted(rows, held, lambda: _shown(asked, units, lambda image: None))
    return await attended(task, left(asked.request), service.metrics.cancelled.inc)


async def left(request: Request) -> None:
    """Returns when the client is gone; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _shown(asked: Asked, units: Sequence[Unit], tell: Tell) -> list[Shown]:
    """All pictures of a request, each a job of its own; one that fails stops the others."""
    jobs = [asyncio.ensure_future(_one(asked, unit, tell)) for unit in units]
    try:
        return await asyncio.gather(*jobs)
    finally:
        for one in jobs:
            one.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def _one(asked: Asked, unit: Unit, tell: Tell) -> Shown:
    service = asked.service
    made, waited = await service.job(unit.rows, lambda one: unit.work(one, tell), asked.end)
    started = time.monotonic()
    file = await service.read(lambda: _file(asked, made))
    encode = time.monotonic() - started
    seconds = {"decode": asked.decoded, "queue": waited, **made.seconds, "encode": encode}
    for stage, value in seconds.items():
        service.metrics.seconds.labels(stage).observe(value)
    service.metrics.edits.labels(str(made.finished).lower()).inc()
    return Shown(made, file, seconds)


def _file(asked: Asked, made: Made) -> bytes:
    """A picture as the file that is asked for, with what it was made with."""
    alias, tells = asked.service.settings.alias, asked.service.settings.metadata
    return _written(asked, made.image, made.settings | {"model": alias} if tells else None)


def _written(asked: Asked, image: Image.Image, settings: Body | None) -> bytes:
    """A picture as a file, if the operator's hook lets it pass."""
    hook, fields = asked.service.settings.safety_hook, asked.fields
    if hook and any(hook([image])):
        raise Refused(400, "the picture was held back", "content_policy_violation")
    return pictures.written(image, fields.output_format, fields.output_compression, settings)


def _body(asked: Asked, shown: Sequence[Shown]) -> Body:
    """OpenAI's answer, and beside it what is ours: seed, finished, truncated, timings."""
    first = shown[0]
    asked.request.scope["state"]["told"] = _told(shown)
    return {
        "created": int(time.time()),
        "data": [
            {
                "b64_json": pictures.encoded(one.file),
                "seed": one.made.seed,
                "finished": one.made.finished,
                "truncated": one.made.truncated,
            }
            for one in shown
        ],
        "size": _size(first.made.image),
        "output_format": asked.fields.output_format,
        "background": "opaque",
        "usage": usage(total(*(one.made.cost for one in shown))),
        "timings": _slowest(shown),
        "truncated": any(one.made.truncated for one in shown),
    }


def usage(cost: Cost) -> Body:
    """OpenAI's usage; a token is a UNet row."""
    none = {"image_tokens": 0, "text_tokens": 0}
    return {
        "input_tokens": 0,
        "input_tokens_details": none,
        "output_tokens": cost.unet_rows,
        "total_tokens": cost.unet_rows,
    }


def _told(shown: Sequence[Shown]) -> Body:
    """What the log says of an answer."""
    return {"rows": sum(one.made.cost.unet_rows for one in shown), **_slowest(shown)}


def _slowest(shown: Sequence[Shown]) -> dict[str, float]:
    """Seconds of each stage, of the picture that took longest."""
    stages = dict.fromkeys(stage for one in shown for stage in one.seconds)
    return {
        stage: round(max(one.seconds.get(stage, 0.0) for one in shown), 4) for stage in stages
    }  # fmt: skip


def _timing(shown: Sequence[Shown]) -> str:
    return ", ".join(f"{stage};dur={1e3 * s:.1f}" for stage, s in _slowest(shown).items())


def _size(image: Image.Image) -> str:
    return f"{image.width}x{image.height}"


def _streaming(asked: Asked, unit: Unit) -> Response:
    events: asyncio.Queue[Image.Image | None] = asyncio.Queue()
    loop, service = asyncio.get_running_loop(), asked.service

    def tell(image: Image.Image) -> None:  # in the thread that works
        loop.call_soon_threadsafe(events.put_nowait, image)

    task = service.admitted(unit.rows, unit.held, lambda: _shown(asked, [unit], tell))
    seen = asyncio.ensure_future(
        attended(task, left(asked.request), service.metrics.cancelled.inc)
    )  # fmt: skip
    seen.add_done_callback(lambda _: events.put_nowait(None))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        _events(asked, events, seen), media_type="text/event-stream", headers=headers
    )


async def _events(
    asked: Asked, events: "asyncio.Queue[Image.Image | None]", seen: "asyncio.Future[list[Shown]]"
) -> AsyncIterator[bytes]:
    """Previews as they come, then the picture or what went wrong."""
    count = 0
    try:
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    image = await events.get()
            except TimeoutError:
                yield b": working\n\n"
                continue
            if image is None:
                break
            yield await _event(asked, image, count)
            count += 1
        yield _last(asked, await seen)
    except Exception as error:
        told = refused(error)
        if told.status >= 500:
            log.exception("a stream failed")
        yield _sse("error", told.body)
    finally:
        seen.cancel()
        await asyncio.gather(seen, return_exceptions=True)


async def _event(asked: Asked, image: Image.Image, count: int) -> bytes:
    file = await asked.service.read(lambda: _written(asked, image, None))
    said = _about(asked, image, file) | {"partial_image_index": count}
    return _sse(f"{asked.kind}.partial_image", said)


def _last(asked: Asked, shown: Sequence[Shown]) -> bytes:
    (one,) = shown
    asked.request.scope["state"]["told"] = _told(shown)
    said = _about(asked, one.made.image, one.file) | {
        "usage": usage(one.made.cost),
        "seed": one.made.seed,
        "finished": one.made.finished,
        "truncated": one.made.truncated,
        "timings": _slowest(shown),
    }
    return _sse(f"{asked.kind}.completed", said)


def _about(asked: Asked, image: Image.Image, file: bytes) -> Body:
    return {
        "b64_json": pictures.encoded(file),
        "created_at": int(time.time()),
        "size": _size(image),
        "quality": "auto",
        "background": "opaque",
        "output_format": asked.fields.output_format,
    }


def _sse(kind: str, data: Body) -> bytes:
    said = data if kind == "error" else {"type": kind, **data}
    return f"event: {kind}\ndata: {json.dumps(said)}\n\n".encode()
