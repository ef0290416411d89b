"""The application: routes, what errors become, and the gate around all of it."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mdp_lite.batcher.batcher import Stopped
from mdp_lite.editor import Editor
from mdp_lite.serve import fields, routes
from mdp_lite.serve.describe import forms_of, json_of, plain
from mdp_lite.serve.errors import Refused, of_status, refused
from mdp_lite.serve.gate import Gate
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import Settings, checked
from mdp_lite.version import __version__

Route = tuple[str, str, Callable[..., Any], dict[str, Any]]
Lend = Callable[[], AbstractContextManager[Editor]]
Page = Callable[[FastAPI, Editor, Lend], AbstractContextManager[None]]  # puts one into the first
NAMES = fields.named(fields.EditFields, fields.GenerationFields, fields.SweepFields)
ROUTES: tuple[Route, ...] = (
    ("POST", "/v1/images/edits", routes.edits, forms_of(fields.EditFields, True)),
    ("POST", "/v1/images/generations", routes.generations, json_of(fields.GenerationFields)),
    ("POST", "/v1/image-to-image", routes.image_to_image, json_of(None)),
    ("POST", "/v1/sources", routes.make_source, forms_of(fields.SourceFields, False)),
    ("GET", "/v1/sources/{source}", routes.get_source, plain()),
    ("DELETE", "/v1/sources/{source}", routes.drop_source, plain()),
    ("POST", "/v1/sources/{source}/edits", routes.source_edits, json_of(fields.SourceEditFields)),
    ("POST", "/v1/sweeps", routes.sweeps, json_of(fields.SweepFields)),
    ("GET", "/v1/models", routes.models, plain()),
    ("GET", "/v1/models/{name:path}", routes.model, plain()),
    ("GET", "/health/live", routes.live, plain()),
    ("GET", "/health/ready", routes.ready, plain()),
    ("GET", "/metrics", routes.metrics, plain()),
)
log = logging.getLogger("mdp_lite.serve")


def application(editor: Editor, settings: Settings) -> FastAPI:
    """The service of an editor as an ASGI application; settings that are unsafe are an error."""
    service = Service(editor, checked(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            service.close()

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
    for kind in (HTTPException, Refused, Stopped, ValueError, RuntimeError, MemoryError, Exception):
        app.add_exception_handler(kind, told)
    app.add_middleware(Gate, service=service)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )  # fmt: skip
    return app


@contextmanager
def paged(app: FastAPI, page: Page | None) -> Iterator[FastAPI]:
    """The service with a page before it, which has the models by the same desk."""
    if page is None:
        yield app
        return
    whole = FastAPI(openapi_url=None, lifespan=app.router.lifespan_context)
    whole.router.default = app  # all that the page does not answer
    service: Service = app.state.service
    with page(whole, service.editor, service.lent):
        yield whole


async def told(request: Request, error: Exception) -> JSONResponse:
    """Any error as the client gets it; what nobody foresaw is logged and not told."""
    if isinstance(error, HTTPException):
        answer = of_status(error.status_code, str(error.detail))
    else:
        answer = refused(error, NAMES)
    if answer.status >= 500:
        log.error("request %s failed", request.scope["state"].get("id"), exc_info=error)
    headers = answer.headers
    if isinstance(error, HTTPException) and error.headers:
        headers |= error.headers
    return JSONResponse(answer.body, answer.status, headers)
