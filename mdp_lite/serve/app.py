"""The application: its routes, its error answers, and the gate around all of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from mdp_lite.editor import Editor
from mdp_lite.model_pool.lending import ModelLender
from mdp_lite.names import DeadlineExceeded, Stopped
from mdp_lite.serve import docs_page, fields, inference_routes, model_routes, routes, schemas
from mdp_lite.serve.describe import (
    OF_BODIES,
    build_document,
    form_request,
    image_answer,
    image_inference_request,
    images_answer,
    json_answer,
    json_request,
    text_answer,
    text_inference_request,
)
from mdp_lite.serve.errors import EXPECTED, ApiError, error_of_status, to_api_error
from mdp_lite.serve.gate import FREE, Gate
from mdp_lite.serve.logs import log_failure
from mdp_lite.serve.queue import schemas as queue_schemas
from mdp_lite.serve.queue.runner import JobQueue
from mdp_lite.serve.served import ServedModel
from mdp_lite.serve.service import Service
from mdp_lite.serve.settings import ServiceSettings, check_settings
from mdp_lite.serve.traces import Tracing
from mdp_lite.version import __version__

Operation = tuple[str, str, Callable[..., Any], str, str, dict[str, Any]]
BorrowEditor = Callable[[], AbstractContextManager[Editor]]
# Adds a page to the application; edits of the page borrow an editor, or one of several models.
Page = Callable[
    [FastAPI, Editor, BorrowEditor, str, ModelLender[ServedModel] | None],
    AbstractContextManager[None],
]
AddTools = Callable[[FastAPI], None]  # adds the tools of mcp_server to the application
EDIT = form_request(fields.EditFields, True) | images_answer()
GENERATION = json_request(fields.GenerationFields) | images_answer()
INFERENCE = image_inference_request() | image_answer()
TEXT = text_inference_request() | image_answer()
SOURCE = form_request(fields.SourceFields, False) | json_answer(
    "the source", schemas.SOURCE, *OF_BODIES, "404"
)
GET_SOURCE = json_answer("the source", schemas.SOURCE, "404")
DROP_SOURCE = json_answer("it is deleted", schemas.DELETED, "404")
SOURCE_EDIT = json_request(fields.SourceEditFields) | images_answer()
SWEEP = json_request(fields.SweepFields) | json_answer("pictures", schemas.SWEEP, *OF_BODIES, "404")
MODELS = json_answer("the names", schemas.MODELS)
MODEL = json_answer("the model", schemas.MODEL, "404")
LIVE = json_answer("alive", schemas.STATUS)
READY = json_answer("ready", schemas.STATUS)
METRICS = text_answer("the metrics", "text/plain")
HOME = json_answer("what this is", schemas.ABOUT)
# Method, path, handler, what it is in a few words, its tag, its part of the document.
ROUTES: tuple[Operation, ...] = (
    ("POST", "/v1/images/edits", routes.edits, "edit pictures", "images", EDIT),
    (
        "POST", "/v1/images/generations", routes.generations, "generate pictures", "images",
        GENERATION,
    ),
    (
        "POST", "/v1/image-to-image", inference_routes.image_to_image, "edit a picture",
        "inference", INFERENCE,
    ),
    (
        "POST", "/v1/text-to-image", inference_routes.text_to_image, "generate a picture",
        "inference", TEXT,
    ),
    ("POST", "/v1/sources", routes.make_source, "make a source", "sources", SOURCE),
    ("GET", "/v1/sources/{source}", routes.get_source, "describe a source", "sources", GET_SOURCE),
    (
        "DELETE", "/v1/sources/{source}", routes.drop_source, "delete a source", "sources",
        DROP_SOURCE,
    ),
    (
        "POST", "/v1/sources/{source}/edits", routes.source_edits, "edit a source", "sources",
        SOURCE_EDIT,
    ),
    ("POST", "/v1/sweeps", routes.sweeps, "edit a source in many ways", "sources", SWEEP),
    *queue_schemas.ROUTES,
    ("GET", "/v1/models", model_routes.models, "list the models", "models", MODELS),
    ("GET", "/v1/models/{name:path}", model_routes.model, "describe a model", "models", MODEL),
    ("GET", "/health/live", routes.live, "is it alive", "operation", LIVE),
    ("GET", "/health/ready", routes.ready, "is it ready", "operation", READY),
    ("GET", "/metrics", routes.metrics, "metrics", "operation", METRICS),
    ("GET", "/", docs_page.home, "what this is", "operation", HOME),
)  # fmt: skip
ERRORS = (
    HTTPException, ApiError, Stopped, DeadlineExceeded, ValueError, RuntimeError, MemoryError,
    Exception,
)  # fmt: skip
UNKNOWN_PATH = "there is no such path here; /docs lists what there is"


def application(editor: Editor, settings: ServiceSettings) -> FastAPI:
    """The service of an editor as an ASGI application. Raises BadInput for unsafe settings."""
    service = Service(editor, check_settings(settings))

    app = FastAPI(
        title="mdp_lite", version=__version__, lifespan=run_service, openapi_url=None,
        description=docs_page.DESCRIPTION,
    )  # fmt: skip
    app.state.service, app.state.parsing = service, asyncio.Lock()
    app.state.queue = JobQueue(service, app)
    for method, path, handler, summary, tag, about in ROUTES:
        app.add_api_route(
            path, handler, methods=[method], operation_id=handler.__name__, openapi_extra=about,
            response_model=None, response_class=Response, summary=summary, tags=[tag],
        )  # fmt: skip
    app.state.document = build_document(app, settings, FREE)
    for path, handler in (("/docs", docs_page.show), ("/openapi.json", docs_page.document)):
        app.add_api_route(path, handler, include_in_schema=False, response_model=None)
    for kind in ERRORS:
        app.add_exception_handler(kind, handle_error)
    app.add_middleware(Gate, service=service)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(settings.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
        )  # fmt: skip
    return app


@asynccontextmanager
async def run_service(app: FastAPI) -> AsyncIterator[None]:
    """Start the application's service and its queue of jobs, and end both."""
    service: Service = app.state.service
    queue: JobQueue = app.state.queue
    service.start()
    service.tracing = Tracing() if service.settings.trace else None
    try:
        await queue.start()
        yield
    finally:
        await queue.stop()
        await asyncio.to_thread(service.close)  # requests may still send their last words
        if service.tracing:
            await asyncio.to_thread(service.tracing.close)


@contextmanager
def add_page(app: FastAPI, page: Page | None) -> Iterator[FastAPI]:
    """The service with a page in front of it, if there is one; both use the same batcher."""
    if page is None:
        yield app
        return

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app.router.lifespan_context(app):
            yield

    outer = FastAPI(openapi_url=None, lifespan=lifespan)
    outer.router.default = app  # answers every path that the page does not
    service: Service = app.state.service
    settings = service.settings
    lender = service.make_lender() if settings.others else None
    with page(outer, service.editor, service.borrow_editor, settings.alias, lender):
        yield outer


async def handle_error(request: Request, error: Exception) -> JSONResponse:
    """The error answer to any exception; details of an unexpected one are only logged."""
    if isinstance(error, HTTPException):
        message = UNKNOWN_PATH if error.status_code == 404 else str(error.detail)
        api_error = error_of_status(error.status_code, message)
    else:
        api_error = to_api_error(error, fields.NAMES)
    if api_error.status >= 500 and api_error.code not in EXPECTED:
        log_failure("a request failed", request.scope["state"].get("id"), error)
    headers = api_error.headers
    if isinstance(error, HTTPException) and error.headers:
        headers |= error.headers
    if api_error.status == 405:  # the framework names the methods of the first route alone
        headers["Allow"] = ", ".join(list_methods(request))
    return JSONResponse(api_error.body, api_error.status, headers)


def list_methods(request: Request) -> list[str]:
    """The methods that the path of a request has."""
    found = [
        route.methods
        for route in request.app.routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
    ]
    return sorted({method for one in found for method in one or ()})
