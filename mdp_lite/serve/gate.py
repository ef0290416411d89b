"""The checks that every request passes (key, origin, size of its body), and its line in the log."""

import asyncio
import hashlib
import json
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi.responses import JSONResponse

from mdp_lite.names import Stopped
from mdp_lite.serve.arrival import Arrival
from mdp_lite.serve.errors import ApiError, to_api_error
from mdp_lite.serve.logs import log_failure, log_request, name_method
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import LOOPBACK
from mdp_lite.serve.traces import PARENT

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

EVENTS = b"text/event-stream"  # the content type of a stream
OPEN = ("/health/live", "/health/ready")  # need no key: they give nothing away
DOCS = ("/", "/docs", "/openapi.json")  # the same for all, so that a browser can show them
FREE = (*OPEN, *DOCS)


class Gate:
    """An ASGI application around another one."""

    def __init__(self, app: App, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Check a request before its body is read, pass it on, count it and log one line."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, name = time.monotonic(), request_id(scope)
        state = scope.setdefault("state", {})
        state["id"], status, stream = name, [0], [False]
        lease = state["memory"] = self._service.memory.open()
        added = [(b"x-request-id", name.encode()), *self._begin_span(scope, name)]

        async def send_response(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                stream[0] = EVENTS in dict(message["headers"]).get(b"content-type", b"")
                message["headers"] = [*message["headers"], *added]
            async with asyncio.timeout(self._service.settings.limits.write):
                await send(message)

        self._service.open_requests += 1
        try:
            await self._pass_on(scope, receive, send_response)
        except Exception as error:
            if not status[0]:
                await _answer_failure(error, scope, receive, send_response)
            elif isinstance(error, TimeoutError):
                state["log"] = {"ended": "the client does not read"}
            else:
                raise
        except asyncio.CancelledError:  # the server ends what is left of the time to drain
            if not self._service.draining or (status[0] and not stream[0]):
                raise
            state["log"] = {"ended": "the time to drain is over"}
            await _end_cut_off(bool(status[0]), scope, receive, send_response)
        finally:
            self._service.open_requests -= 1
            lease.close()
            self._log(scope, status[0] or 500, time.monotonic() - started)

    def _begin_span(self, scope: Message, name: str) -> list[tuple[bytes, bytes]]:
        """Begin the span of a request, if there are traces; the headers that the answer gets."""
        tracing = self._service.tracing
        if tracing is None:
            return []
        span = tracing.begin(name_method(scope["method"]), dict(scope["headers"]), name)
        scope["state"]["span"] = span
        return [(PARENT, span.header)] if span.header else []

    async def _pass_on(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            scope["state"]["owner"] = self._check(scope)
        except ApiError as error:
            await JSONResponse(error.body, error.status, error.headers)(scope, receive, send)
        else:
            await self._app(scope, self._limit(scope, receive), send)

    def _check(self, scope: Message) -> str:
        """The owner of a request by its key; "" if no key is needed. Raises ApiError."""
        headers, settings = dict(scope["headers"]), self._service.settings
        if b"content-length" in headers and b"transfer-encoding" in headers:
            message = "Content-Length and Transfer-Encoding contradict each other: send one"
            raise ApiError(400, message, "invalid_request")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in settings.origins:
            raise ApiError(403, "pages of this origin may not call the service", "origin_refused")
        host = headers.get(b"host", b"").decode("latin-1")
        foreign = strip_port(host) not in LOOPBACK and not _has_no_host(scope, headers)
        if settings.local and not settings.keys and foreign:
            raise ApiError(403, "this service has no such name", "host_refused")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > settings.limits.body_bytes:
            raise _too_large(settings.limits.body_bytes)
        if scope["path"] in OPEN:
            return ""
        if self._service.open_requests > settings.limits.requests:
            self._service.metrics.refused.labels("requests").inc()
            raise ApiError(429, "too many requests are open", "rate_limit_exceeded", retry=1)
        if not settings.keys or scope["path"] in DOCS:
            return ""
        return owner_of(headers.get(b"authorization", b""), settings.keys)

    def _limit(self, scope: Message, receive: Receive) -> Receive:
        """receive, with an ApiError for a body that is too large or slow, or has no room."""
        limits, size, done = self._service.settings.limits, 0, False
        arrival = Arrival(scope)
        end = asyncio.get_running_loop().time() + limits.read

        async def receive_limited() -> Message:
            nonlocal size, done
            if done:
                return await receive()
            try:
                message = await self._receive_until(end, receive)
            except TimeoutError:
                if self._service.is_over:
                    raise to_api_error(Stopped()) from None
                message = f"the body must arrive within {limits.read:g} seconds"
                raise ApiError(408, message, "request_timeout", retry=False) from None
            size += len(message.get("body", b""))
            done = not message.get("more_body", False)
            if size > limits.body_bytes:
                raise _too_large(limits.body_bytes)
            return arrival.take(message, done)

        return receive_limited

    async def _receive_until(self, end: float, receive: Receive) -> Message:
        """A part of a body. Raises TimeoutError at the end, or when the service ends requests."""
        uploads = self._service.uploads
        async with asyncio.timeout_at(0 if self._service.is_over else end) as timer:
            uploads.add(timer)
            try:
                return await receive()
            finally:
                uploads.discard(timer)

    def _log(self, scope: Message, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._service.metrics.count_request(route, status, seconds)
        state = scope["state"]
        method, kind = name_method(scope["method"]), state.get("kind")
        if span := state.get("span"):
            span.end(method, route, status, kind)
        line = {"id": state["id"], "method": method, "route": route, "kind": kind, "status": status}
        log_request(line | {"seconds": round(seconds, 4), **state.get("log", {})})


async def _answer_failure(error: Exception, scope: Message, receive: Receive, send: Send) -> None:
    """Answer a request that failed in a way that nobody foresaw."""
    log_failure("a request failed", scope["state"]["id"], error)
    answer = to_api_error(error)
    await JSONResponse(answer.body, answer.status, answer.headers)(scope, receive, send)


async def _end_cut_off(begun: bool, scope: Message, receive: Receive, send: Send) -> None:
    """Tell the client that another try may help: by a whole answer, or in a stream by an event."""
    error = to_api_error(Stopped())
    if not begun:
        await JSONResponse(error.body, error.status, error.headers)(scope, receive, send)
        return
    event = f"event: error\ndata: {json.dumps(error.body)}\n\n".encode()
    await send({"type": "http.response.body", "body": event, "more_body": False})


def request_id(scope: Message) -> str:
    """The id of a request: the one in its header x-request-id, or a new one.

    It is written to the log, so an id in the header is used only if it is a plain word of at most
    64 characters.
    """
    own = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return own if re.fullmatch(r"[\w.:-]{1,64}", own, re.ASCII) else f"req_{secrets.token_hex(12)}"


def owner_of(authorization: bytes, keys: tuple[str, ...]) -> str:
    """The owner of the key in a header. Raises ApiError."""
    kind, _, token = authorization.partition(b" ")
    found = [key for key in keys if secrets.compare_digest(key.encode(), token.strip())]
    if kind.lower() != b"bearer" or not found:
        what = "wrong API key" if token else "no API key: send Authorization: Bearer KEY"
        raise ApiError(401, what, "invalid_api_key" if token else "missing_api_key")
    return hash_key(found[0])


def hash_key(key: str) -> str:
    """The owner of what a key makes, as a hash that does not reveal it."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _has_no_host(scope: Message, headers: dict[bytes, bytes]) -> bool:
    """Whether a request of HTTP/1.0 names no host. Browsers, which pages can abuse, always do."""
    return scope.get("http_version") == "1.0" and b"host" not in headers


def strip_port(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _too_large(most: int) -> ApiError:
    return ApiError(413, f"the body must have at most {most} bytes", "too_large")
