"""Around the page's server: what browsers may load, and under which name they may ask for it."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# gradio's page has scripts and styles of its own in its HTML; nothing comes from other servers.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)


class Fence:
    """Browsers console to this server alone, whatever the page asks of them.

    With names, requests under other names are refused: a page elsewhere whose name was pointed at
    this machine must not use it through a visitor's browser.
    """

    def __init__(self, app: App, names: tuple[str, ...] = ()) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request with the headers, or with 403."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        if self.names and asked_name(scope["headers"]) not in self.names:
            return await _refused(scope, send)

        async def fenced(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        await self.app(scope, receive, fenced)


def asked_name(headers: list[tuple[bytes, bytes]]) -> str:
    """The host that a request is for, without its port; "" where it names none."""
    host = dict(headers).get(b"host", b"").decode("latin-1").lower()
    if host.startswith("["):  # IPv6
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def names_of(host: str, share: bool) -> tuple[str, ...]:
    """The names under which a server may be asked; any where it is open to others."""
    return () if share or host not in LOOPBACK else LOOPBACK


async def _refused(scope: Message, send: Send) -> None:
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    plain = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 403, "headers": plain})
    await send({"type": "http.response.body", "body": b"this page is for this machine alone\n"})
