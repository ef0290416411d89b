"""What every request passes: who may come in and how much it brings; and what is told of it."""

import asyncio
import hashlib
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi.responses import JSONResponse

from mdp_lite.serve.errors import Refused
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import LOOPBACK

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = ("/health/live", "/health/ready")  # for everybody: they tell nothing
log = logging.getLogger("mdp_lite.serve")


class Gate:
    """An ASGI application around another one."""

    def __init__(self, app: App, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Check a request before it is read, pass it on, count it and log one line."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, name = time.monotonic(), named(scope)
        state = scope.setdefault("state", {})
        state["id"], status = name, [0]

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", name.encode())]
            async with asyncio.timeout(self._service.settings.limits.write):
                await send(message)

        self._service.open += 1
        try:
            await self._passed(scope, receive, noted)
        except TimeoutError:
            if not status[0]:
                raise
            state["told"] = {"ended": "the client does not read"}
        finally:
            self._service.open -= 1
            self._tell(scope, status[0] or 500, time.monotonic() - started)

    async def _passed(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            scope["state"]["owner"] = self._checked(scope)
        except Refused as error:
            answer = JSONResponse(error.body, error.status, error.headers)
            await answer(scope, receive, send)
        else:
            await self._app(scope, self._limited(receive), send)

    def _checked(self, scope: Message) -> str:
        """The owner that a request's key stands for; "" where no key is needed."""
        headers, settings = dict(scope["headers"]), self._service.settings
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin not in settings.origins:
            raise Refused(403, "pages of this origin may not call the service", "origin_refused")
        host = headers.get(b"host", b"").decode("latin-1")
        if settings.local and not settings.keys and bare(host) not in LOOPBACK:
            raise Refused(403, "this service has no such name", "host_refused")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > settings.limits.body_bytes:
            raise _too_large(settings.limits.body_bytes)
        if scope["path"] in OPEN:
            return ""
        if self._service.open > settings.limits.requests:
            self._service.metrics.refused.inc()
            raise Refused(429, "too many requests are open", "rate_limit_exceeded", retry=1)
        if not settings.keys:
            return ""
        return owner_of(headers.get(b"authorization", b""), settings.keys)

    def _limited(self, receive: Receive) -> Receive:
        """receive, for a body that is neither too large nor too slow."""
        limits, got = self._service.settings.limits, [0, False]
        end = asyncio.get_running_loop().time() + limits.read

        async def limited() -> Message:
            if got[1]:
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
            except TimeoutError:
                message = f"the body must arrive within {limits.read:g} seconds"
                raise Refused(408, message, "request_timeout", retry=False) from None
            got[0] += len(message.get("body", b""))
            got[1] = not message.get("more_body", False)
            if got[0] > limits.body_bytes:
                raise _too_large(limits.body_bytes)
            return message

        return limited

    def _tell(self, scope: Message, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._service.metrics.requests.labels(route, status).inc()
        state = scope["state"]
        line = {"id": state["id"], "method": scope["method"], "route": route, "status": status}
        told = {"seconds": round(seconds, 4), **state.get("told", {})}
        log.info(json.dumps(line | told))


def named(scope: Message) -> str:
    """The id of a request: its own, as a proxy before us may give it, or a new one.

    One that is no plain word of at most 64 characters is not taken: it goes to the log.
    """
    own = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return own if re.fullmatch(r"[\w.:-]{1,64}", own, re.ASCII) else f"req_{secrets.token_hex(12)}"


def owner_of(authorization: bytes, keys: tuple[str, ...]) -> str:
    """Which of the keys a header shows, as a name that does not give it away; or a Refused."""
    kind, _, given = authorization.partition(b" ")
    found = [key for key in keys if secrets.compare_digest(key.encode(), given.strip())]
    if kind.lower() != b"bearer" or not found:
        what = "wrong API key" if given else "no API key: send Authorization: Bearer KEY"
        raise Refused(401, what, "invalid_api_key" if given else "missing_api_key")
    return hashlib.sha256(found[0].encode()).hexdigest()[:16]


def bare(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _too_large(most: int) -> Refused:
    return Refused(413, f"the body must have at most {most} bytes", "too_large")
