"""The OpenAPI document: the fields, the answers and an example of each request."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from mdp_lite.serve.schemas import ERROR, EVENTS, FILE, IMAGES
from mdp_lite.serve.settings import ServiceSettings

Body = dict[str, Any]
FORM, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
JSON = "application/json"
MASK = FILE | {"description": "edited where it is transparent, or else white; one for all images"}
EXAMPLES: dict[str, Body] = {
    "EditFields": {"prompt": "a red tent", "source_prompt": "a red house", "strength": 0.5},
    "GenerationFields": {"prompt": "a red house on the grass", "seed": 7},
    "SourceFields": {"source_prompt": "a red house on the grass", "seed": 7},
    "SourceEditFields": {"prompt": "a red tent", "variant": "epsilon"},
    "SweepFields": {"source": "src_...", "prompts": ["a red tent"], "windows": [[47, 26]]},
    "JobFields": {
        "endpoint": "/v1/images/generations",
        "body": {"prompt": "a red house", "seed": 7},
    },
}
REFUSALS = {
    "400": "the request can't be done; param says which field",
    "401": "no API key, or a wrong one",
    "403": "another origin or host",
    "404": "no such model, source or job",
    "408": "the body came too slowly",
    "409": "the key was used for another job, or the job has no result",
    "413": "the body is too large",
    "415": "another content type",
    "429": "too much is waiting; Retry-After says how long",
    "500": "no picture came of it",
    "503": "no memory, a deadline, or shutting down",
}
OF_BODIES = ("400", "408", "413", "415")
TAGS = [
    {"name": "images", "description": "OpenAI's Images API"},
    {"name": "sources", "description": "pictures that are inverted once and edited often"},
    {"name": "jobs", "description": "requests that are computed later"},
    {"name": "inference", "description": "what Hugging Face's clients call"},
    {"name": "models", "description": "the model's names"},
    {"name": "operation", "description": "health and metrics"},
]
BEARER = "apiKey"
SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "Authorization: Bearer KEY, if the operator has set keys",
}
IMAGE_TO_IMAGE = {
    "type": "object",
    "required": ["inputs", "parameters"],
    "properties": {
        "inputs": {"type": "string", "description": "a picture in base64"},
        "parameters": {"type": "object"},
        "options": {"type": ["object", "null"], "description": "ignored"},
    },
}


def json_answer(description: str, schema: Body, *refusals: str) -> Body:
    """The answer of a request without a body."""
    answer = {"description": description, "content": {JSON: {"schema": schema}}}
    return {"responses": {"200": answer} | _refuse(*refusals)}


def text_answer(description: str, kind: str) -> Body:
    """An answer that is no JSON."""
    answer = {"description": description, "content": {kind: {"schema": {"type": "string"}}}}
    return {"responses": {"200": answer} | _refuse()}


def image_answer() -> Body:
    """The answer of a picture's file."""
    kinds = {kind: {"schema": FILE} for kind in ("image/png", "image/jpeg", "image/webp")}
    answer = {"description": "the edited picture's file", "content": kinds}
    return {"responses": {"200": answer} | _refuse(*OF_BODIES, "404")}


def images_answer(schema: Body = IMAGES) -> Body:
    """The answer of pictures, which is a stream of events if the request says so."""
    found = json_answer("pictures", schema, *OF_BODIES, "404")
    found["responses"]["200"]["content"]["text/event-stream"] = {"schema": EVENTS}
    return found


def form_request(model: type[BaseModel], needs_image: bool) -> Body:
    """A request as a form, with its pictures; several are image[], as OpenAI's clients say it."""
    schema, example = model.model_json_schema(), EXAMPLES[model.__name__]
    several = {"type": "array", "items": FILE, "description": "several pictures"}
    files = {"image": FILE, "image[]": several, "mask": MASK} if needs_image else {"image": FILE}
    if needs_image:
        schema["anyOf"] = [{"required": ["image"]}, {"required": ["image[]"]}]
    whole = schema | {"properties": files | schema["properties"]}
    content: Body = {FORM: {"schema": whole, "example": example}}
    if not needs_image:
        content[URLENCODED] = {"schema": schema, "example": example}
    return {"requestBody": {"required": True, "content": content}}


def json_request(model: type[BaseModel]) -> Body:
    """A request as a JSON object."""
    schema = _allow_nulls(model.model_json_schema())
    content = {JSON: {"schema": schema, "example": EXAMPLES[model.__name__]}}
    return {"requestBody": {"required": True, "content": content}}


def inference_request(model: type[BaseModel]) -> Body:
    """A request of Hugging Face's clients; model has the fields of its parameters."""
    size = {
        "type": "object",
        "properties": {"width": {"type": "integer"}, "height": {"type": "integer"}},
    }
    fields = _allow_nulls(model.model_json_schema())
    both = {"anyOf": [fields["properties"]["target_size"], size]}
    fields["properties"]["target_size"] = both
    whole = IMAGE_TO_IMAGE["properties"] | {"parameters": fields}  # type: ignore[operator]
    example = {"inputs": "iVBORw0KGgo...", "parameters": {"prompt": "a red tent"}}
    content = {JSON: {"schema": IMAGE_TO_IMAGE | {"properties": whole}, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def build_document(app: FastAPI, settings: ServiceSettings, free: tuple[str, ...]) -> Body:
    """The whole document; free are the paths that need no key."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes,
        tags=TAGS,
    )  # fmt: skip
    document["components"] = {"securitySchemes": {BEARER: SCHEME}}
    needed = [{BEARER: []}] if settings.keys else [{}, {BEARER: []}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # the framework's; wrong fields are 400 here
            operation["security"] = [] if path in free else needed
    return document


def _allow_nulls(schema: Body) -> Body:
    """The schema of a JSON object in which null means the default."""
    needed, properties = schema.get("required", ()), {}
    for name, one in schema["properties"].items():
        kinds = one.get("anyOf", [one])
        says_null = any(kind.get("type") == "null" for kind in kinds)
        if name in needed or says_null or not ({"type", "anyOf", "enum"} & set(one)):
            properties[name] = one
        else:
            inner = {key: value for key, value in one.items() if key not in ABOUT_FIELD}
            outer = {key: one[key] for key in ABOUT_FIELD if key in one}
            properties[name] = {"anyOf": [inner, {"type": "null"}], **outer}
    return schema | {"properties": properties}


ABOUT_FIELD = ("title", "description", "default", "examples")


def _refuse(*statuses: str) -> Body:
    """The answers of refused requests: these, and those of every path."""
    every = sorted({*statuses, "401", "403", "429", "500", "503"})
    error = {JSON: {"schema": ERROR}}
    return {status: {"description": REFUSALS[status], "content": error} for status in every}
