"""The requests about jobs."""

import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Path, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from mdp_lite.serve import fields as request_fields
from mdp_lite.serve import forms
from mdp_lite.serve.answers import KEEP_ALIVE
from mdp_lite.serve.errors import CLIENT_LEFT, ApiError, to_api_error, validate
from mdp_lite.serve.holdings import PIECE, SENDING
from mdp_lite.serve.memory import lease_of
from mdp_lite.serve.pieces import send_parts
from mdp_lite.serve.queue.bodies import build_batch, build_job
from mdp_lite.serve.queue.internal import check_body, fix_seed
from mdp_lite.serve.queue.job_fields import (
    JobFields,
    JobQuery,
    ListQuery,
    NoQuery,
    ResultQuery,
    check_job,
    check_key,
)
from mdp_lite.serve.queue.job_models import find_model, join_models
from mdp_lite.serve.queue.records import ENDED, STATES, NewEntry, NewJob, StoredJob, to_answer
from mdp_lite.serve.queue.runner import JobQueue
from mdp_lite.serve.runs import run_of

Body = dict[str, Any]
JobId = Annotated[str, Path(description="the id of a job")]
TYPE = "application/json"
# Fields that are hashed if they have their defaults, too. A new one is none of these, so that an
# idempotency key outlives an update.
HASHED = {"body": None, "rows": None, "priority": 0, "webhook": None}
PASSING = (408, 429, CLIENT_LEFT)  # statuses that say nothing about a request: it may be sent again


async def submit_job(request: Request) -> Response:
    """Store a request, or several of one endpoint, to be computed later.

    A header Idempotency-Key makes a repeated submission give the same job.
    """
    queue, owner = _queue(request), _owner(request)
    most = queue.service.settings.limits.body_bytes
    fields = await forms.read_json(request, JobFields, most)
    key = check_key(request.headers.get("idempotency-key"))
    bodies = check_job(fields, owner, queue)
    digest = await asyncio.to_thread(hash_job, fields)
    known = await queue.database.run(queue.jobs.find_key, owner, key, digest)
    if known is not None:
        return JSONResponse(await _describe(request, known))
    is_batch = fields.rows is not None
    entries = [await _check_entry(request, fields.endpoint, one, is_batch) for one in bodies]
    model = _list_models(queue, bodies, entries)
    new = NewJob(
        owner, fields.endpoint, is_batch, fields.priority, key, digest, fields.webhook, entries,
        model,
    )  # fmt: skip
    name, is_new = await queue.call(queue.jobs.submit, new)
    headers = {"Location": f"/v1/jobs/{name}"}
    return JSONResponse(await _describe(request, name), 202 if is_new else 200, headers)


def _list_models(queue: JobQueue, bodies: list[Body], entries: list[NewEntry]) -> str:
    """The models of the requests that are fine, or the first if none is."""
    pairs = zip(bodies, entries, strict=True)
    fine: list[Body] = [body for body, one in pairs if one.refusal is None] or [{}]
    return join_models(find_model(one, queue.service, queue.models) for one in fine)


def hash_job(fields: JobFields) -> str:
    """What tells two submissions apart, in this version and in later ones with more fields."""
    sent = HASHED | fields.model_dump(exclude_defaults=True)
    return hashlib.sha256(json.dumps(sent, sort_keys=True).encode("utf-8", "replace")).hexdigest()


async def _check_entry(request: Request, path: str, body: Body, is_batch: bool) -> NewEntry:
    """A request of a job, checked by its endpoint. A wrong one of a batch is stored with why."""
    queue, body = _queue(request), fix_seed(path, body)
    try:
        share = run_of(request).share
        work = await check_body(request.app, _owner(request), path, body, share)
    except Exception as error:
        api_error = to_api_error(error, request_fields.NAMES)
        if not is_batch or api_error.status >= 500 or api_error.status in PASSING:
            raise
        return NewEntry(0, 0, "", to_answer(api_error))
    seconds = queue.service.batcher.speed.estimate(work)
    return NewEntry(float(work), seconds, json.dumps(body))


async def get_job(request: Request, job: JobId) -> Response:
    """The state of a job. wait=SECONDS waits for its end; preview=true shows its newest preview."""
    query, queue = validate(JobQuery, dict(request.query_params)), _queue(request)
    end = time.monotonic() + query.wait
    while True:
        found = await _find(request, job, query.preview)
        left = end - time.monotonic()
        if found.state in ENDED or left <= 0 or queue.service.draining:
            return JSONResponse(build_job(queue, found))
        await queue.wait_for_news(left)


async def list_jobs(request: Request) -> Response:
    """The jobs of this key, newest first; start_after=ID goes on where a list ended."""
    query, queue = validate(ListQuery, dict(request.query_params)), _queue(request)
    states = STATES if query.state is None else (query.state,)
    values = (_owner(request), states, query.limit + 1, query.start_after)
    found = await queue.database.run(queue.jobs.list_jobs, *values)
    data = [build_job(queue, one) for one in found[: query.limit]]
    return JSONResponse({"object": "list", "data": data, "has_more": len(found) > query.limit})


async def get_result(request: Request, job: JobId) -> Response:
    """The answer to the request, as its endpoint gives it; of several, all, or the one of row=N."""
    query = validate(ResultQuery, dict(request.query_params))
    found = await _find(request, job)
    if query.row is None and found.state not in ENDED:
        raise _not_ended(found.state)
    position = query.row if found.is_batch else 0
    rows = await _read_answers(request, found.number, position)
    if found.is_batch and query.row is None:
        return send_parts(build_batch(rows), TYPE, {})
    if not rows or (query.row and not found.is_batch):
        raise ApiError(404, f"this job has no row {query.row}", "not_found", "row")
    (one,) = rows
    if one["answer"] is None:
        raise _not_ended(one["state"])
    headers = {"content-type": TYPE} | json.loads(one["headers"])
    return send_parts([one["answer"]], headers.pop("content-type"), headers, one["status"])


async def _read_answers(request: Request, number: int, position: int | None) -> list[sqlite3.Row]:
    """The answers of a job, which the request holds until they are sent. Raises ApiError."""
    queue, lease = _queue(request), lease_of(request)
    size = await queue.database.run(queue.jobs.answer_size, number, position)
    lease.hold(answer=size + min(size, SENDING * PIECE))
    rows = await queue.database.run(queue.jobs.answers, number, position)
    size = sum(len(one["answer"] or b"") for one in rows)  # one may have ended since
    lease.hold(answer=size + min(size, SENDING * PIECE))
    return rows


async def cancel_job(request: Request, job: JobId) -> Response:
    """Cancel what waits or runs of a job; a step that has begun is computed to its end."""
    _read_no_query(request)
    queue, found = _queue(request), await _find(request, job)
    await queue.call(queue.jobs.cancel, found.number)
    await queue.stop_entries(found.number)
    return JSONResponse(await _describe(request, job))


async def delete_job(request: Request, job: JobId) -> Response:
    """Cancel a job if it has not ended, and delete all that is stored of it."""
    _read_no_query(request)
    queue, found = _queue(request), await _find(request, job)
    await queue.call(queue.jobs.delete, found.number)
    await queue.stop_entries(found.number)
    return JSONResponse({"id": job, "object": "job", "deleted": True})


async def watch_job(request: Request, job: JobId) -> Response:
    """The state of a job as a stream of events, one at each change, until its end."""
    _read_no_query(request)
    await _find(request, job)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = _stream_states(request, job)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _stream_states(request: Request, job: str) -> AsyncIterator[bytes]:
    queue, last, since = _queue(request), None, time.monotonic()
    while not queue.service.draining:
        found = await queue.database.run(queue.jobs.get, _owner(request), job)
        if found is None:  # it was deleted
            return
        shown = found.state, found.progress, found.position, found.counts, found.delivery
        if shown != last or time.monotonic() - since > KEEP_ALIVE:
            last, since = shown, time.monotonic()
            yield f"event: job\ndata: {json.dumps(build_job(queue, found))}\n\n".encode()
        if found.state in ENDED:
            return
        await queue.wait_for_news(KEEP_ALIVE)


async def _find(request: Request, name: str, preview: bool = False) -> StoredJob:
    """A job of this owner. Raises a 404 for others'."""
    queue = _queue(request)
    found = await queue.database.run(queue.jobs.get, _owner(request), name, preview)
    if found is None:
        message = f"no job {name[:100]!r}: it has expired, was deleted, or never was"
        raise ApiError(404, message, "job_not_found", "job")
    return found


async def _describe(request: Request, name: str) -> Body:
    return build_job(_queue(request), await _find(request, name))


def _queue(request: Request) -> JobQueue:
    """The queue. Raises ApiError if another replica might be asked for its jobs."""
    queue: JobQueue = request.app.state.queue
    if not queue.is_available:
        message = "replicas have jobs only in a folder that they share: --jobs or --cache"
        raise ApiError(503, message, "jobs_unavailable", retry=False)
    return queue


def _owner(request: Request) -> str:
    return request.scope["state"]["owner"]


def _read_no_query(request: Request) -> None:
    validate(NoQuery, dict(request.query_params))


def _not_ended(state: str) -> ApiError:
    if state == "cancelled":
        return ApiError(409, "this was cancelled, so it has no result", "job_cancelled")
    return ApiError(409, f"this has not ended, it is {state}: ask again", "job_not_ended")
