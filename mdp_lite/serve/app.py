"""The application: its routes, its error answers, and the gate around all of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mdp_lite.editor import Editor
from mdp_lite.names import DeadlineExceeded, Stopped
from mdp_lite.serve import fields, routes
from mdp_lite.serve.describe import form_request, json_request, no_body
from mdp_lite.serve.errors import EXPECTED, ApiError, error_of_status, to_api_error
from mdp_lite.serve.gate import Gate
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import ServiceSettings, check_settings
from mdp_lite.version import __version__

Route = tuple[str, str, Callable[..., Any], dict[str, Any]]
BorrowEditor = Callable[[], AbstractContextManager[Editor]]
# Adds a page to the application; edits of the page borrow an editor.
Page = Callable[[FastAPI, Editor, BorrowEditor], AbstractContextManager[None]]
NAMES = fields.field_names(fields.EditFields, fields.GenerationFields, fields.SweepFields)
ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/images/edits", routes.edits, form_request(fields.EditFields, True)),
    ("POST", "/v1/images/generations", routes.generations, json_request(fields.GenerationFields)),
    ("POST", "/v1/image-to-image", routes.image_to_image, json_request(None)),
    ("POST", "/v1/sources", routes.make_source, form_request(fields.SourceFields, False)),
    ("GET", "/v1/sources/{source}", routes.get_source, no_body()),
    ("DELETE", "/v1/sources/{source}", routes.drop_source, no_body()),
    (
        "POST", "/v1/sources/{source}/edits", routes.source_edits,
        json_request(fields.SourceEditFields),
    ),
    ("POST", "/v1/sweeps", routes.sweeps, json_request(fields.SweepFields)),
    ("GET", "/v1/models", routes.models, no_body()),
    ("GET", "/v1/models/{name:path}", routes.model, no_body()),
    ("GET", "/health/live", routes.live, no_body()),
    ("GET", "/health/ready", routes.ready, no_body()),
    ("GET", "/metrics", routes.metrics, no_body()),
)  # fmt: skip
ERRORS = (
    HTTPException, ApiError, Stopped, DeadlineExceeded, ValueError, RuntimeError, MemoryError,
    Exception,
)  # fmt: skip
log = logging.getLogger("mdp_lite.serve")


def application(editor: Editor, settings: ServiceSettings) -> FastAPI:
    """The service of an editor as an ASGI application. Raises BadInput for unsafe settings."""
    service = Service(editor, check_settings(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await asyncio.to_thread(service.close)  # requests may still send their last words

    app = FastAPI(
        title="mdp_lite", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Editing pictures by text, behind the OpenAI Images API.",
    )  # fmt: skip
    app.state.service = service
    for method, path, handler, about in ROUTES:
        app.add_api_route(
            path, handler, methods=[method], operation_id=handler.__name__, openapi_extra=about,
            response_model=None,
        )  # fmt: skip
    for kind in ERRORS:
        app.add_exception_handler(kind, handle_error)
    app.add_middleware(Gate, service=service)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )  # fmt: skip
    return app


@contextmanager
def add_page(app: FastAPI, page: Page | None) -> Iterator[FastAPI]:
    """The service with a page in front of it, if there is one; both use the same batcher."""
    if page is None:
        yield app
        return
    outer = FastAPI(openapi_url=None, lifespan=app.router.lifespan_context)
    outer.router.default = app  # answers every path that the page does not
    service: Service = app.state.service
    with page(outer, service.editor, service.borrow_editor):
        yield outer


async def handle_error(request: Request, error: Exception) -> JSONResponse:
    """The error answer to any exception; details of an unexpected one are only logged."""
    if isinstance(error, HTTPException):
        api_error = error_of_status(error.status_code, str(error.detail))
    else:
        api_error = to_api_error(error, NAMES)
    if api_error.status >= 500 and api_error.code not in EXPECTED:
        log.error("request %s failed", request.scope["state"].get("id"), exc_info=error)
    headers = api_error.headers
    if isinstance(error, HTTPException) and error.headers:
        headers |= error.headers
    return JSONResponse(api_error.body, api_error.status, headers)
