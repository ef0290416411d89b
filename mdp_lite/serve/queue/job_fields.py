"""The fields of requests about jobs, and what they are checked against."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.fields import RequestFields
from mdp_lite.serve.queue.internal import find_endpoint
from mdp_lite.serve.queue.runner import JobQueue

LONGEST_KEY = 255  # characters of an Idempotency-Key
LONGEST_WAIT = 60.0
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class JobFields(RequestFields):
    """POST /v1/jobs: a request that is computed later, or several of one endpoint."""

    endpoint: str
    """the path of the request: /v1/images/edits, /v1/images/generations, /v1/sources,
    /v1/sources/ID/edits or /v1/sweeps"""
    body: dict[str, Any] | None = None
    """the fields of the request; image and mask are base64 or data: URLs, image may be a list"""
    rows: Annotated[list[dict[str, Any]], Field(min_length=1)] | None = None
    """instead of body: the bodies of several requests, each with its own answer"""
    priority: Annotated[int, Field(ge=0)] = 0
    """higher ones are earlier; the operator says how high a key may go"""
    webhook: str | None = None
    """where to tell of the end, if the operator allows that host"""


class JobQuery(BaseModel):
    """What GET /v1/jobs/{id} reads from the address."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    wait: Annotated[float, Field(ge=0, le=LONGEST_WAIT, allow_inf_nan=False)] = 0.0
    """seconds to wait for the end of the job"""
    preview: bool = False
    """show the newest preview"""


class ResultQuery(BaseModel):
    """What GET /v1/jobs/{id}/result reads from the address."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    row: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """the row of a batch whose answer is wanted"""


class ListQuery(BaseModel):
    """What GET /v1/jobs reads from the address."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    state: State | None = None
    """only jobs in this state"""
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """how many jobs at most"""
    start_after: Annotated[str, Field(max_length=100)] | None = None
    """the id of the job at which the last list ended"""


class NoQuery(BaseModel):
    """An address without anything to read."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def check_job(fields: JobFields, owner: str, queue: JobQueue) -> list[dict[str, Any]]:
    """The bodies of a job whose other fields are fine. Raises ApiError."""
    limits, highest = queue.service.settings.limits, queue.highest_priority(owner)
    find_endpoint(fields.endpoint)
    if (fields.body is None) == (fields.rows is None):
        code = "missing_required_parameter" if fields.body is None else "invalid_value"
        raise ApiError(400, "give body, or rows for several requests", code, "body")
    if fields.priority > highest:
        message = f"priority must be at most {highest} with this key, got {fields.priority}"
        raise ApiError(400, message, "invalid_value", "priority")
    if fields.rows is not None and len(fields.rows) > limits.job_rows:
        message = f"rows must be at most {limits.job_rows}, got {len(fields.rows)}"
        raise ApiError(400, message, "too_expensive", "rows")
    if fields.webhook is not None:
        queue.webhooks.check_url(fields.webhook)
    if fields.rows is not None:
        return fields.rows
    return [] if fields.body is None else [fields.body]


def check_key(text: str | None) -> str | None:
    """An Idempotency-Key, or None. Raises ApiError."""
    if text is None:
        return None
    if not (0 < len(text) <= LONGEST_KEY and text.isascii() and text.isprintable()):
        message = f"Idempotency-Key must be 1 to {LONGEST_KEY} printable ASCII characters"
        raise ApiError(400, message, "invalid_value", "Idempotency-Key")
    return text
