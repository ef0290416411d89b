"""Requests as Hugging Face's clients send them: a picture in base64, and parameters."""

from typing import Any, NamedTuple

from mdp_lite.serve import pictures
from mdp_lite.serve.errors import ApiError

OPTIONS = "it is for Hugging Face's own servers"
Body = dict[str, Any]


class Inference(NamedTuple):
    """A request: the picture's file, the fields of an edit, and what has no effect, with why."""

    picture: bytes
    parameters: Body
    ignored: dict[str, str]


def read_inference(body: Body) -> Inference:
    """The request in a JSON object. Raises ApiError."""
    body = {name: value for name, value in body.items() if value is not None}
    inputs, parameters = body.pop("inputs", None), body.pop("parameters", {})
    ignored = {"options": OPTIONS} if body.pop("options", None) else {}
    for name in body:
        message = f"{name} is no part of this request: put fields of the edit into parameters"
        raise ApiError(400, message, "unknown_parameter", name)
    if not isinstance(inputs, str):
        code = "missing_required_parameter" if inputs is None else "invalid_value"
        raise ApiError(400, "inputs must be a picture in base64", code, "inputs")
    if not isinstance(parameters, dict):
        raise ApiError(400, "parameters must be an object", "invalid_value", "parameters")
    return Inference(pictures.from_base64(inputs, "inputs"), _rename_size(parameters), ignored)


def refuse_file() -> ApiError:
    """The error for a picture's file as the whole body: clients send that without a prompt."""
    message = (
        "prompt is required: send JSON with inputs, a picture in base64, and parameters with "
        "the prompt"
    )
    return ApiError(400, message, "missing_required_parameter", "prompt")


def _rename_size(parameters: Body) -> Body:
    """The parameters with the client's target_size as size; a text is SDXL's target_size."""
    size = parameters.get("target_size")
    if not isinstance(size, dict):
        return parameters
    width, height = size.get("width"), size.get("height")
    if set(size) != {"width", "height"} or not all(type(one) is int for one in (width, height)):
        message = f"target_size must have a width and a height in pixels, got {str(size)[:60]}"
        raise ApiError(400, message, "invalid_value", "target_size")
    if parameters.get("size") is not None:
        message = "size and target_size say the same thing: give one of them"
        raise ApiError(400, message, "invalid_value", "size")
    rest = {name: value for name, value in parameters.items() if name != "target_size"}
    return rest | {"size": f"{width}x{height}"}
