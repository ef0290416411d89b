"""Requests as Hugging Face's clients send them: a picture in base64 or a text, and parameters."""

from typing import Any, NamedTuple

from mdp_lite.serve.errors import ApiError

OPTIONS = "it is for Hugging Face's own servers"
Body = dict[str, Any]


class Inference(NamedTuple):
    """A request: its inputs, the fields of a picture, and what has no effect, with why."""

    inputs: str
    parameters: Body
    ignored: dict[str, str]


def read_inference(body: Body, what: str) -> Inference:
    """The request in a JSON object, whose inputs are what this says. Raises ApiError."""
    body = {name: value for name, value in body.items() if value is not None}
    inputs, parameters = body.pop("inputs", None), body.pop("parameters", {})
    options = body.pop("options", {})
    if not isinstance(options, dict):
        raise ApiError(400, "options must be an object", "invalid_value", "options")
    ignored = {"options": OPTIONS} if options else {}
    for name in body:
        message = f"{name} is no part of this request: put fields of the picture into parameters"
        raise ApiError(400, message, "unknown_parameter", name)
    if not isinstance(inputs, str):
        code = "missing_required_parameter" if inputs is None else "invalid_value"
        raise ApiError(400, f"inputs must be {what}", code, "inputs")
    if not isinstance(parameters, dict):
        raise ApiError(400, "parameters must be an object", "invalid_value", "parameters")
    return Inference(inputs, parameters, ignored)


def join_sides(parameters: Body) -> Body:
    """The parameters of text_to_image with its width and height as size."""
    rest = {name: value for name, value in parameters.items() if value is not None}
    width, height = rest.pop("width", None), rest.pop("height", None)
    if "scheduler" in rest:
        message = "scheduler can't be chosen: the model has its own"
        raise ApiError(400, message, "invalid_value", "scheduler")
    if "prompt" in rest:
        message = "prompt is inputs here: give it there alone"
        raise ApiError(400, message, "invalid_value", "prompt")
    if width is None and height is None:
        return rest
    if type(width) is not int or type(height) is not int:
        param = "height" if type(width) is int else "width"
        raise ApiError(
            400, f"{param} must be pixels, beside the other side", "invalid_value", param
        )
    if "size" in rest:
        message = "size says the same thing as width and height: give one of them"
        raise ApiError(400, message, "invalid_value", "size")
    return rest | {"size": f"{width}x{height}"}


def refuse_file() -> ApiError:
    """The error for a picture's file as the whole body: clients send that without a prompt."""
    message = (
        "prompt is required: send JSON with inputs, a picture in base64, and parameters with "
        "the prompt"
    )
    return ApiError(400, message, "missing_required_parameter", "prompt")


def rename_size(parameters: Body) -> Body:
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
