"""The connections of a server: how many there may be, and how long each may keep it waiting.

A connection that has sent no whole request head gives way to a new one once there are too many. So
half-sent heads, from one address or from many, shut nobody out.
"""

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

import uvicorn
from fastapi.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol, h11

from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.gate import OPEN, App, Message, Receive, Send
from mdp_lite.serve.metrics import ConnectionCounts
from mdp_lite.serve.settings import Limits

SPARE_FILES = 512  # open files beside the connections: those of torch, of uploads, of new sockets
CROWD = 64  # connections above the bounds whose request is still read, as it may be one for health


class ConnectionPool:
    """The open connections of a server, the longest open one first, and the limits on them."""

    def __init__(self, limits: Limits, counts: ConnectionCounts | None = None) -> None:
        self.counts = counts or ConnectionCounts()
        self.limits, self.max_open = limits, reserve_files(limits.connections)
        self._open: dict[Connection, None] = {}  # in order, as a set is not
        self._by_address: dict[str, dict[Connection, None]] = {}
        self.crowd = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, new: "Connection") -> None:
        """Add a connection. If that makes too many, one that waits for a head is closed for it.

        If there is none, the new one may only ask for the service's health, and is not counted.
        """
        peers = self._by_address.setdefault(new.address, {})
        peers[new] = self._open[new] = None
        self.counts.accepted, self.counts.open = self.counts.accepted + 1, len(self)
        if sum(not one.is_extra for one in peers) > self.limits.address_connections:
            self._make_room(peers, new)
        elif len(self._open) - self.crowd > self.max_open:
            self._make_room(self._open, new)

    def discard(self, one: "Connection") -> None:
        """Forget a connection that is closed or closing."""
        if one not in self._open:
            return
        del self._open[one]
        self.counts.open = len(self)
        peers = self._by_address[one.address]
        del peers[one]
        if not peers:
            del self._by_address[one.address]
        self.crowd -= one.is_extra

    def _make_room(self, among: Iterable["Connection"], new: "Connection") -> None:
        waiting = _find_waiting(among, new, is_extra=False)
        if waiting:
            return waiting.refuse(_too_many(), "gave_way")
        if self.crowd >= CROWD:
            extra = _find_waiting(self._open, new, is_extra=True)
            if not extra:
                return new.refuse(_too_many(), "too_many")
            extra.refuse(_too_many(), "gave_way")
        self.crowd += 1
        new.serve_health_only()


def _find_waiting(
    among: Iterable["Connection"], new: "Connection", is_extra: bool
) -> "Connection | None":
    """The first connection but the new one that waits for a head, if there is one."""
    waiting = (one for one in among if one is not new and not one.in_progress)
    return next((one for one in waiting if one.is_extra == is_extra), None)


class Connection(H11Protocol):
    """uvicorn's connection, in a pool, with a time limit on heads and errors in OpenAI's form."""

    def __init__(self, pool: ConnectionPool, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pool, self.address = pool, ""
        self.is_extra = self._heard = False
        self._waits_since = self.loop.time()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def _is_new(self) -> bool:
        """Whether no request has been read yet."""
        return self.cycle is None  # pyright: ignore[reportUnnecessaryComparison]

    @property
    def in_progress(self) -> bool:
        """Whether there is a request whose head has arrived and whose answer is not sent."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def connection_made(self, transport: Any) -> None:
        """Join the pool; the time for the first head begins."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._wait_for_head()
        self.pool.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the pool."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read a part of a request; a connection that was refused may still have some."""
        if self.transport.is_closing():
            return
        if not self._heard and not self._is_new:
            self._waits_since = self.loop.time()
        self._heard = True
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Nothing of the next request has been heard yet."""
        self._heard = False
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or has no Host, or a head that is too long."""
        message = "no valid HTTP request: its head is malformed, too long, or has no Host"
        self.refuse(ApiError(400, message, "invalid_request"), "malformed")

    def serve_health_only(self) -> None:
        """Refuse all requests but those for the service's health."""
        self.is_extra = True
        self.app = partial(_serve_health, self.app, self.pool.counts)

    def refuse(self, error: ApiError, reason: str) -> None:
        """Close the connection; a client that has begun to send a request is told why."""
        self._forget()
        self.pool.counts.refused[reason] += 1
        untold = self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE)
        if self._heard and untold and not self.transport.is_closing():
            self.transport.write(_to_response(error))
        self.transport.close()

    def _forget(self) -> None:
        self.pool.discard(self)
        if self._timer:
            self._timer.cancel()

    def _wait_for_head(self) -> None:
        """Refuse the connection once a head is late; uvicorn closes those idle between two."""
        limit, now = self.pool.limits.head, self.loop.time()
        if self.in_progress or not (self._heard or self._is_new):
            self._waits_since = now
        left = self._waits_since + limit - now
        if left > 0:
            self._timer = self.loop.call_later(left, self._wait_for_head)
        else:
            message = f"the head of a request must arrive within {limit:g} seconds"
            self.refuse(ApiError(408, message, "request_timeout"), "late_head")


def build_config(
    app: Any, limits: Limits, drain: int | None = None, counts: ConnectionCounts | None = None
) -> uvicorn.Config:
    """uvicorn's settings of a server whose connections are bounded by the limits.

    drain: seconds after which uvicorn cancels requests at the end; None is never. Only HTTP is
    spoken. h11 bounds heads; it is the parser that uvicorn always has.
    """
    protocol: Any = partial(Connection, ConnectionPool(limits, counts))
    return uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, http=protocol, ws="none",
        timeout_keep_alive=limits.idle,  # pyright: ignore[reportArgumentType]
        timeout_graceful_shutdown=drain,
    )  # fmt: skip


def reserve_files(connections: int) -> int:
    """How many connections the open files of this process allow; raises its own limit if it can."""
    try:
        import resource  # not on Windows
    except ImportError:
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft not in (resource.RLIM_INFINITY, hard) and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return connections
    return max(CROWD, min(connections, soft - SPARE_FILES))


async def _serve_health(
    app: App, counts: ConnectionCounts, scope: Message, receive: Receive, send: Send
) -> None:
    """Pass on requests for the service's health; refuse all others."""
    if scope["path"] in OPEN:
        return await app(scope, receive, send)
    counts.refused["too_many"] += 1
    error = _too_many()
    headers = error.headers | {"Connection": "close"}
    await JSONResponse(error.body, error.status, headers)(scope, receive, send)


def _too_many() -> ApiError:
    return ApiError(503, "too many connections are open", "too_many_connections", retry=1)


def _to_response(error: ApiError) -> bytes:
    """An error as a whole HTTP response, after which the connection is closed."""
    body = json.dumps(error.body).encode()
    headers = {
        "Content-Type": "application/json", "Content-Length": len(body), "Connection": "close"
    } | error.headers  # fmt: skip
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
