"""Middleware around the page: security headers, and the host names that requests may use."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# gradio has inline scripts and styles in its HTML; nothing is loaded from other servers.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class PageGuard:
    """ASGI middleware: browsers load nothing from other servers, whatever the page contains.

    If hosts are given, requests to other host names get 403. This stops DNS rebinding: another
    site points its own name at this machine and uses the page through a visitor's browser.
    """

    def __init__(self, app: App, hosts: tuple[str, ...] = ()) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request with the headers added, or with 403."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        if self.hosts and requested_host(scope["headers"]) not in self.hosts:
            return await _refuse(scope, send)

        async def add_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        await self.app(scope, receive, add_headers)


def requested_host(headers: list[tuple[bytes, bytes]]) -> str:
    """The host name of a request without its port; "" if there is no Host header."""
    host = dict(headers).get(b"host", b"").decode("latin-1").lower()
    if host.startswith("["):  # IPv6
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def allowed_hosts(host: str, share: bool) -> tuple[str, ...]:
    """The host names that requests may use; () allows any, if the server is open to others."""
    return () if share or host not in LOOPBACK else LOOPBACK


async def _refuse(scope: Message, send: Send) -> None:
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    plain = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 403, "headers": plain})
    await send({"type": "http.response.body", "body": b"this page is for this machine alone\n"})
