"""Requests that the service sends to itself: the handlers of its endpoints do the work of jobs."""

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from mdp_lite.batcher.turns import Share
from mdp_lite.serve import fields, pictures, routes
from mdp_lite.serve.errors import EXPECTED, ApiError, to_api_error
from mdp_lite.serve.gate import Message
from mdp_lite.serve.logs import log_failure
from mdp_lite.serve.memory import Lease
from mdp_lite.serve.queue.records import EntryAnswer, to_answer
from mdp_lite.serve.runs import CheckEnd, RequestRun

Body = dict[str, Any]
SOURCE_EDITS = re.compile(r"/v1/sources/([\w-]{1,64})/edits", re.ASCII)
FILES = ("image", "image[]", "mask")
TYPE = "application/json"


class Endpoint(NamedTuple):
    """An endpoint that jobs may name: what it does, and the fields of its form; None is JSON."""

    handle: Callable[[Request], Awaitable[Response]]
    form: type[fields.RequestFields] | None


ENDPOINTS = {
    "/v1/images/edits": Endpoint(routes.edits, fields.EditFields),
    "/v1/images/generations": Endpoint(routes.generations, None),
    "/v1/sweeps": Endpoint(routes.sweeps, None),
    "/v1/sources": Endpoint(routes.make_source, fields.SourceFields),
}


def find_endpoint(path: str) -> Endpoint:
    """The endpoint of a path. Raises ApiError."""
    if (found := ENDPOINTS.get(path)) is not None:
        return found
    if source := SOURCE_EDITS.fullmatch(path):
        return Endpoint(lambda request: routes.source_edits(request, source[1]), None)
    names = ", ".join((*ENDPOINTS, "/v1/sources/ID/edits"))
    raise ApiError(400, f"endpoint must be one of {names}", "invalid_value", "endpoint")


def has_source(path: str) -> bool:
    """Whether an endpoint edits a source that exists, whose model it uses."""
    return path == "/v1/sweeps" or SOURCE_EDITS.fullmatch(path) is not None


def fix_seed(path: str, body: Body) -> Body:
    """The body with a seed if the endpoint would draw one, so that a second run is the same."""
    if path != "/v1/images/generations" or body.get("seed") is not None:
        return body
    return body | {"seed": secrets.randbelow(routes.SEEDS)}


async def check_body(app: Any, owner: str, path: str, body: Body, share: Share) -> int:
    """The FLOPs of a request. Raises what the endpoint itself would answer.

    share: that of the request that submits it, whose user may wait for a model to be loaded.
    The fields of a form have here the types of JSON, as a form would make a text of anything.
    """
    if (kind := find_endpoint(path).form) is not None:
        fields.read_fields(kind, {name: body[name] for name in body if name not in FILES})
    lease, run = app.state.service.memory.open(), RequestRun(share, is_job=True, is_check=True)
    try:
        await _call(app, owner, path, body, run, lease)
    except CheckEnd as end:
        return end.work
    finally:
        lease.close()
    raise AssertionError(f"{path} ended without any work")


async def run_body(
    app: Any, owner: str, path: str, body: Body, run: RequestRun, lease: Lease
) -> EntryAnswer:  # fmt: skip
    """The answer of an endpoint to its owner's request, which may be an error.

    The lease counts its memory, the answer's too: whoever opened it closes it once the answer is
    stored.
    """
    try:
        return await _call(app, owner, path, body, run, lease)
    except Exception as error:
        api_error = to_api_error(error, fields.NAMES)
        if api_error.status >= 500 and api_error.code not in EXPECTED:
            log_failure("a request of a job failed", None, error)
        return to_answer(api_error)


async def _call(
    app: Any, owner: str, path: str, body: Body, run: RequestRun, lease: Lease
) -> EntryAnswer:  # fmt: skip
    endpoint = find_endpoint(path)
    if endpoint.form is not None:
        kind, data = await asyncio.to_thread(encode_form, body)
    else:
        kind, data = TYPE, json.dumps(body).encode()
    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "app": app,
        "headers": [(b"content-type", kind.encode())],
        "state": {"owner": owner, "run": run, "memory": lease},
    }  # fmt: skip
    return await _collect(await endpoint.handle(Request(scope, _send_once(data))))


async def _collect(response: Response) -> EntryAnswer:
    """A response with its whole body, which answers with pictures send in pieces."""
    headers = dict(response.headers)
    headers.pop("content-length", None)
    if isinstance(response, StreamingResponse):
        body = bytearray()  # the pieces in a list beside it would take as much again
        async for part in response.body_iterator:
            body += part.encode() if isinstance(part, str) else part
    else:
        body = bytes(response.body)
    return EntryAnswer(response.status_code, headers, body)


def _send_once(data: bytes) -> Callable[[], Awaitable[Message]]:
    """A body that is there at once, from a client that never leaves."""
    parts: list[Message] = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive() -> Message:
        if parts:
            return parts.pop()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    return receive


def encode_form(body: Body) -> tuple[str, bytes]:
    """A JSON object as a form: its content type and its bytes. Pictures are base64, or a list.

    Raises ApiError for a picture that is none.
    """
    boundary, parts = secrets.token_hex(16), list[bytes]()
    for name, value in body.items():
        is_file = name in FILES
        for one in value if is_file and isinstance(value, list) else [value]:
            if one is None:
                continue
            data = _read_file(name, one) if is_file else _to_text(one)
            where = f'form-data; name="{_escape(name)}"' + ('; filename="a"' if is_file else "")
            head = f"--{boundary}\r\nContent-Disposition: {where}\r\n\r\n"
            parts.append(head.encode("utf-8", "replace") + data + b"\r\n")
    parts.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def _read_file(name: str, value: Any) -> bytes:
    if not isinstance(value, str):
        message = f"{name} must be a picture in base64, or a data: URL, or a list of these"
        raise ApiError(400, message, "invalid_image", name)
    return pictures.from_base64(value, name)


def _to_text(value: Any) -> bytes:
    """A value as the text of a form."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace")


def _escape(name: str) -> str:
    """A field's name as browsers write it into a form."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
