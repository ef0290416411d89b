"""The OpenAPI document: the fields, the answers and an example of each request."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from mdp_lite.serve.fields import EditFields, GenerationFields
from mdp_lite.serve.schemas import ERROR, EVENTS, FILE, IMAGES
from mdp_lite.serve.settings import ServiceSettings

Body = dict[str, Any]
FORM, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
JSON = "application/json"
MASK = FILE | {"description": "edited where it is transparent, or else white; one for all images"}
EXAMPLES: dict[str, Body] = {
    "EditFields": {"prompt": "a red tent", "source_prompt": "a red house", "strength": 0.5},
    "GenerationFields": {"prompt": "a red house on the grass", "seed": 4},
    "SourceFields": {"source_prompt": "a red house on the grass", "seed": 4},
    "SourceEditFields": {"prompt": "a red tent", "variant": "epsilon"},
    "SweepFields": {"source": "src_...", "prompts": ["a red tent"], "windows": [[47, 26]]},
    "JobFields": {
        "endpoint": "/v1/images/generations",
        "body": {"prompt": "a red house", "seed": 4},
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
PICTURE = (  # a grey PNG of 8x8 pixels
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mNsaGhgwAaYGHCAwSkBADAXAZDUexXGAAAA"
    "AElFTkSuQmCC"
)
RETRY = {
    "Retry-After": {
        "description": "seconds after which another try may help",
        "schema": {"type": "integer", "minimum": 1},
    }
}
HEADERS: dict[str, Body] = {  # of refusals
    "401": {
        "WWW-Authenticate": {
            "description": "how to send a key", "required": True,
            "schema": {"type": "string", "enum": ["Bearer"]},
        }
    },
    "429": {"Retry-After": RETRY["Retry-After"] | {"required": True}},
    "503": RETRY,
}  # fmt: skip
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
SIDE = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}
SIDES = {  # of a picture, as Hugging Face's clients say its size
    "type": "object",
    "required": ["width", "height"],
    "additionalProperties": False,
    "properties": {"width": {"type": "integer"}, "height": {"type": "integer"}},
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
    answer = {"description": "the picture's file", "content": kinds}
    return {"responses": {"200": answer} | _refuse(*OF_BODIES, "404")}


def images_answer(schema: Body = IMAGES) -> Body:
    """The answer of pictures, which is a stream of events if the request says so."""
    found = json_answer("pictures", schema, *OF_BODIES, "404")
    found["responses"]["200"]["content"]["text/event-stream"] = {"schema": EVENTS}
    return found


def form_request(model: type[BaseModel], needs_image: bool) -> Body:
    """A request as a form, with its pictures; several are image[], as OpenAI's clients say it."""
    schema, example = _drop_nulls(model.model_json_schema()), EXAMPLES[model.__name__]
    several = {"type": "array", "items": FILE, "minItems": 1, "description": "several pictures"}
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


def image_inference_request() -> Body:
    """A request of Hugging Face's image_to_image."""
    fields = _allow_nulls(EditFields.model_json_schema())
    fields["properties"]["target_size"] = {"anyOf": [fields["properties"]["target_size"], SIDES]}
    example = {"inputs": PICTURE, "parameters": {"prompt": "a red tent"}}
    return _inference_request("a picture in base64", fields, example)


def text_inference_request() -> Body:
    """A request of Hugging Face's text_to_image."""
    fields = _allow_nulls(GenerationFields.model_json_schema())
    del fields["properties"]["prompt"]
    sides = dict.fromkeys(("width", "height"), SIDE | {"description": "in pixels, both or none"})
    fields = fields | {"required": [], "properties": sides | fields["properties"]}
    example = {"inputs": "a red house on the grass", "parameters": {"seed": 4}}
    return _inference_request("the prompt", fields, example)


def _inference_request(inputs: str, parameters: Body, example: Body) -> Body:
    needed = ["inputs", *(["parameters"] if parameters["required"] else [])]
    schema: Body = {
        "type": "object",
        "required": needed,
        "additionalProperties": False,
        "properties": {
            "inputs": {"type": "string", "description": inputs},
            "parameters": parameters if "parameters" in needed else _or_null(parameters),
            "options": {"type": ["object", "null"], "description": "ignored"},
        },
    }
    content = {JSON: {"schema": schema, "example": example}}
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


def _or_null(schema: Body) -> Body:
    return {"anyOf": [schema, {"type": "null"}]}


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


def _drop_nulls(schema: Body) -> Body:
    """The schema of a form, whose texts can't say null: a field that is left out says that."""
    properties = {}
    for name, one in schema["properties"].items():
        kinds = [kind for kind in one.get("anyOf", ()) if kind.get("type") != "null"]
        rest = {key: value for key, value in one.items() if key != "anyOf"}
        if rest.get("default", 0) is None:
            del rest["default"]
        properties[name] = rest | (
            kinds[0] if len(kinds) == 1 else {"anyOf": kinds} if kinds else {}
        )
    return schema | {"properties": properties}


ABOUT_FIELD = ("title", "description", "default", "examples")


def _refuse(*statuses: str) -> Body:
    """The answers of refused requests: these, and those of every path."""
    every = sorted({*statuses, "401", "403", "429", "500", "503"})
    error = {JSON: {"schema": ERROR}}
    return {
        status: {"description": REFUSALS[status], "content": error}
        | ({"headers": HEADERS[status]} if status in HEADERS else {})
        for status in every
    }
