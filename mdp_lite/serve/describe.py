"""The OpenAPI document: the fields, the answers and an example of each request."""

from typing import Any

from pydantic import BaseModel

from mdp_lite.serve.fields import form_schema

Body = dict[str, Any]
FILE = {"type": "string", "format": "binary", "description": "a PNG, JPEG or WebP"}
EXAMPLES: dict[str, Body] = {
    "EditFields": {"prompt": "a red tent", "source_prompt": "a red house", "strength": 0.5},
    "GenerationFields": {"prompt": "a red house on the grass", "seed": 7},
    "SourceFields": {"source_prompt": "a red house on the grass", "seed": 7},
    "SourceEditFields": {"prompt": "a red tent", "variant": "epsilon"},
    "SweepFields": {"source": "src_...", "prompts": ["a red tent"], "windows": [[47, 26]]},
}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
REFUSALS = {
    "400": "the request can't be done; param says which field",
    "401": "no API key, or a wrong one",
    "403": "another origin or host",
    "404": "no such model or source",
    "408": "the body came too slowly",
    "413": "the body is too large",
    "415": "another content type",
    "429": "too much is waiting; Retry-After says how long",
    "500": "no picture came of it",
    "503": "no memory, a deadline, or shutting down",
}
IMAGE_TO_IMAGE = {
    "type": "object",
    "required": ["inputs", "parameters"],
    "properties": {
        "inputs": {"type": "string", "description": "a picture in base64"},
        "parameters": {"type": "object", "description": "prompt, and any field of an edit"},
    },
}


def no_body() -> Body:
    """A request without a body."""
    return {"responses": _responses()}


def form_request(model: type[BaseModel], needs_image: bool) -> Body:
    """A request as a multipart form, with its pictures."""
    files = {"image": FILE} | ({"mask": FILE} if needs_image else {})
    schema = form_schema(model, files, ["image"] if needs_image else [])
    return _body("multipart/form-data", schema, EXAMPLES.get(model.__name__))


def json_request(model: type[BaseModel] | None) -> Body:
    """A request as a JSON object; None is the one of Hugging Face's clients."""
    if model is None:
        return _body("application/json", IMAGE_TO_IMAGE, None)
    return _body("application/json", model.model_json_schema(), EXAMPLES.get(model.__name__))


def _body(kind: str, schema: Body, example: Body | None) -> Body:
    content: Body = {"schema": schema} | ({"example": example} if example else {})
    return {"requestBody": {"required": True, "content": {kind: content}}} | no_body()


def _responses() -> Body:
    error = {"application/json": {"schema": ERROR}}
    return {status: {"description": text, "content": error} for status, text in REFUSALS.items()}
