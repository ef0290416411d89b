"""Errors in the form that OpenAI's clients read: {"error": {message, type, param, code}}."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mdp_lite.batcher.batcher import out_of_memory
from mdp_lite.cli.values import find_near
from mdp_lite.names import DeadlineExceeded, NotFinite, Stopped

M = TypeVar("M", bound=BaseModel)
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
EXPECTED = ("shutting_down", "deadline_exceeded")  # codes that are no failure of the server
SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not a parameter of this request",
}
ERROR_CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
}
SHOWN = 60  # characters of a wrong value that its error shows
CLIENT_LEFT = 499  # nobody reads this answer


class ApiError(Exception):
    """An error answer. retry: seconds after which to try again, or False for never."""

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None,
        retry: float | bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status, self.code, self.retry = status, code, retry
        self.message, self.param = to_valid_utf8(message), param and to_valid_utf8(param)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else None)
        error = {"message": self.message, "type": kind or "invalid_request_error"}
        return {"error": error | {"param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """The headers that say how to be let in, or whether and when another try may help."""
        if self.retry is None:
            return {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        if self.retry is False:
            return {"x-should-retry": "false"}
        return {"Retry-After": str(max(1, round(self.retry)))}


def to_api_error(error: BaseException, fields: tuple[str, ...] = ()) -> ApiError:
    """Any exception as an error answer. If its message begins with one of fields, that is param."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValidationError):
        return _validation_error(error)
    if isinstance(error, DeadlineExceeded):
        message = "the deadline passed before there was a picture"
        return ApiError(503, message, "deadline_exceeded", retry=False)
    if isinstance(error, NotFinite):
        return ApiError(500, f"no picture came of it: {error}", "not_finite", retry=False)
    if out_of_memory(error):
        return ApiError(503, "the device has no memory left for this", "out_of_memory", retry=10)
    if isinstance(error, ValueError):
        message = " ".join(str(error).split())
        first = message.split(" ")[0]
        return ApiError(400, message, "invalid_value", first if first in fields else None)
    if isinstance(error, Stopped):
        return ApiError(503, "the service is shutting down", "shutting_down", retry=5)
    return ApiError(500, "the server failed", "internal_error", retry=False)


def error_of_status(status: int, message: str) -> ApiError:
    """An error of the framework: an unknown path or method, or a body that can't be read."""
    code = CODES.get(status, "invalid_request" if status < 500 else "internal_error")
    return ApiError(status, message, code)


def validate(kind: type[M], values: Any, **how: Any) -> M:
    """The fields of a request, as pydantic's model_validate reads them. Raises ApiError.

    The error for a field that there is none of names the one that was meant, if one is near.
    """
    try:
        return kind.model_validate(values, **how)
    except ValidationError as error:
        raise _validation_error(error, tuple(kind.model_fields)) from None


def suggest(name: str, names: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: which of the names was meant, if one is near."""
    near = find_near(name, names)
    return f": did you mean {near}?" if near else ""


def _validation_error(error: ValidationError, names: Iterable[str] = ()) -> ApiError:
    """The first of the wrong fields, in one sentence: which, what it must be, and what it was.

    names are those of all fields, of which a misspelt one may be near to one.
    """
    first = error.errors(include_url=False, include_context=False)[0]
    param, kind = ".".join(str(part) for part in first["loc"]) or None, first["type"]
    code = ERROR_CODES.get(kind, "invalid_value")
    if kind in SENTENCES:
        is_unknown = kind == "extra_forbidden" and len(first["loc"]) == 1
        text = SENTENCES[kind] + (suggest(str(param), names) if is_unknown else "")
    elif kind == "value_error":  # a check of field_types.py, which says what it got
        text = first["msg"].removeprefix("Value error, ")
    else:
        want = re.sub(
            r"^\w+ should ", "must ", re.split(", (?:unable|got)| after ", first["msg"])[0]
        )
        text = f"{want[:1].lower()}{want[1:]}, got {_shorten(first['input'])}"
    return ApiError(400, f"{param or 'the body'} {text}", code, param)


def _shorten(value: Any) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def to_valid_utf8(text: str) -> str:
    """The text with "?" for each character that UTF-8 can't encode, such as a lone surrogate."""
    return text.encode("utf-8", "replace").decode("utf-8")
