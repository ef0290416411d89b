"""One call of a tool: who calls, on which service, and the sources of its session."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.types import ImageContent

from mdp_lite.batcher.turns import Share
from mdp_lite.mcp_server.results import Output
from mdp_lite.names import BadInput
from mdp_lite.pictures.fit import Size
from mdp_lite.pipeline.result import Source
from mdp_lite.serve.bodies import observe_stages
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.holdings import TOOL_COPIES, answer_bytes
from mdp_lite.serve.memory import Lease, lease_of
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.service import Service
from mdp_lite.serve.store import source_bytes

STDIO = "stdio"  # the owner of the sources of the one client
SESSION = "mcp-session-id"  # the header of a session over HTTP


class ToolCall(NamedTuple):
    """A call: folders are those whose files it may name, owner is whose sources it sees.

    has_session: whether other clients have other owners, so that sources can be listed. lease is
    the memory of the call, share its turns at the models, request that of HTTP, if it is one.
    """

    service: Service
    folders: tuple[Path, ...]
    session: ServerSession
    owner: str
    has_session: bool
    started: float
    lease: Lease
    share: Share
    request: Any

    @property
    def model(self) -> ServedModel:
        """The model of all tools: the service's first, which is always loaded."""
        return self.service.first

    def find_end(self, deadline: float | None) -> float | None:
        """A deadline of so many seconds on the monotonic clock."""
        return None if deadline is None else self.started + deadline


class ToolAnswer(NamedTuple):
    """The pictures of an answer and what it says of them."""

    images: list[ImageContent]
    output: Output


@contextmanager
def open_call(
    ctx: ServerRequestContext[Any, Any], service: Service, folders: tuple[Path, ...]
) -> Iterator[ToolCall]:
    """The call of a request. Over HTTP the owner is the session of an API key.

    Clients that speak the protocol without sessions share the owner of their key; their sources
    have ids that can't be guessed.
    """
    started, lease, share = time.monotonic(), _open_lease(ctx.request, service), Share()
    owner, has_session = STDIO, True
    if ctx.request is not None:
        share = service.users.open_share(ctx.request)
        name, key = ctx.request.headers.get(SESSION, ""), ctx.request.scope["state"]["owner"]
        owner = hashlib.sha256(f"mcp {key} {name}".encode()).hexdigest()[:32]
        has_session = bool(name)
    try:
        yield ToolCall(
            service, folders, ctx.session, owner, has_session, started, lease, share, ctx.request
        )
    finally:
        lease.close()


def _open_lease(request: Any, service: Service) -> Lease:
    """The memory of a call. Over HTTP it is the request's, which ends once the answer is sent.

    If the client has left already, and with it the request, the call has its own.
    """
    if request is None or not lease_of(request).is_open:
        return service.memory.open()
    lease_of(request).use()
    return lease_of(request)


def hold_answer(call: ToolCall, size: Size) -> None:
    """Hold an answer with a picture of this size, with all its copies. Raises ApiError."""
    answer = answer_bytes([size], call.service.settings.limits)
    call.lease.hold(answer=TOOL_COPIES * answer)


def observe(call: ToolCall, seconds: dict[str, float], kind: str | None = None) -> None:
    """Count the seconds of a call's stages, over HTTP in its log line and its trace too."""
    if call.request is None:
        call.service.metrics.observe_seconds(seconds)
    else:
        call.request.scope["state"]["kind"] = kind
        observe_stages(call.request, call.service, seconds)


def find_source(call: ToolCall, name: str) -> Source:
    """A source of the caller's. Raises a 404 for all others."""
    source = call.service.store.get(name, call.owner)
    if source is None:
        message = f"no source {name[:100]!r} here: it has expired, or is of another session"
        raise ApiError(404, f"{message}; invert or generate it again", "source_not_found")
    call.lease.hold(source=source_bytes(source))
    return source


def keep_source(call: ToolCall, source: Source, notes: list[str]) -> str | None:
    """Store a source; returns its id, or None with a note if it is too large."""
    try:
        return call.service.store.put(source, call.owner)
    except BadInput as error:
        notes.append(f"the source is not kept for further edits: {error}")
        return None
