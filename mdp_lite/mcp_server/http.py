"""The tools over HTTP: under /mcp of the service, behind its gate, with its keys and limits."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.routing import Route

from mdp_lite.mcp_server.folders import open_folders
from mdp_lite.mcp_server.server import build_server
from mdp_lite.serve.gate import Message, Receive, Send
from mdp_lite.serve.service import Service

PATH = "/mcp"
METHODS = ["POST", "DELETE"]  # GET is for what a server says unasked, which this one never does


def mount_tools(folders: tuple[str, ...]) -> Callable[[FastAPI], None]:
    """The function that adds the tools to a service. Raises BadInput for a folder that is none."""
    found = open_folders(folders)
    return lambda app: add_tools(app, found)


def add_tools(app: FastAPI, folders: tuple[Path, ...]) -> None:
    """Serve the tools under /mcp of a service's application, for as long as that runs."""
    service: Service = app.state.service
    limits, inner = service.settings.limits, app.router.lifespan_context
    manager = StreamableHTTPSessionManager(
        build_server(service, folders), session_idle_timeout=limits.seconds,
        max_request_body_size=limits.body_bytes, max_sessions=limits.connections,
        security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with inner(app) as state, manager.run():
            yield state

    app.router.lifespan_context = lifespan
    app.router.routes.append(Route(PATH, ToolsEndpoint(manager), methods=METHODS))


class ToolsEndpoint:
    """The ASGI application under /mcp. The service's gate has checked key, host, origin and size.

    The owner of the key becomes the user, so that a session takes requests of one key only.
    """

    path = PATH

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        self._manager = manager

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        owner, scope["route"] = scope["state"]["owner"], self  # of which the log says the path
        if owner:
            scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=owner, scopes=[]))
        await self._manager.handle_request(scope, receive, send)
