"""The part of the OpenAPI document that is about jobs, and their routes."""

from typing import Any

from mdp_lite.serve.describe import OF_BODIES, REFUSALS, json_answer, json_request
from mdp_lite.serve.queue import routes
from mdp_lite.serve.queue.job_fields import JobFields, JobQuery, ListQuery, ResultQuery
from mdp_lite.serve.queue.records import STATES
from mdp_lite.serve.schemas import ERROR, IMAGES, NULL, SOURCE, SWEEP, build_object

Body = dict[str, Any]
COUNT, TIME, TEXT = {"type": "integer"}, {"anyOf": [{"type": "integer"}, NULL]}, {"type": "string"}
COUNTS = {"type": "object", "additionalProperties": COUNT}
WEBHOOK = build_object(
    {
        "url": TEXT,
        "state": TEXT | {"enum": ["waiting", "pending", "delivered", "failed"]},
        "attempts": COUNT,
        "error": {"anyOf": [TEXT, NULL]},
    }
)
JOB = build_object(
    {
        "id": TEXT,
        "object": TEXT | {"enum": ["job"]},
        "endpoint": TEXT,
        "state": TEXT | {"enum": list(STATES)},
        "priority": COUNT,
        "position": COUNT | {"description": "jobs before it"},
        "estimate": {"type": "number", "description": "seconds until its end"},
        "progress": {"type": "number", "description": "the part of its work that is done"},
        "rows": {"anyOf": [COUNTS, NULL], "description": "of a batch: requests by state, total"},
        "created_at": COUNT | {"description": "seconds since 1970"},
        "started_at": TIME,
        "ended_at": TIME,
        "expires_at": TIME | {"description": "when it is deleted, with its result"},
        "error": {"anyOf": [ERROR["properties"]["error"], NULL]},
        "webhook": {"anyOf": [WEBHOOK, NULL]},
        "preview": {"anyOf": [TEXT, NULL], "description": "a PNG in base64, if asked for"},
    }
)
JOBS = build_object(
    {
        "object": TEXT | {"enum": ["list"]},
        "data": {"type": "array", "items": JOB},
        "has_more": {"type": "boolean"},
    }
)
DELETED = build_object(
    {"id": TEXT, "object": TEXT | {"enum": ["job"]}, "deleted": {"type": "boolean"}}
)
ROW = build_object(
    {
        "row": COUNT,
        "state": TEXT | {"enum": list(STATES)},
        "status": TIME,
        "body": {"anyOf": [{"type": "object", "additionalProperties": {}}, NULL]},
    }
)
ROWS = build_object({"object": TEXT | {"enum": ["list"]}, "data": {"type": "array", "items": ROW}})
RESULT = {
    "anyOf": [IMAGES, SWEEP, SOURCE, ROWS],
    "description": "what the endpoint itself answers; a list for rows",
}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": 255},
    "description": "the same key and request give the same job",
}


def _describe_query(model: type[Any]) -> Body:
    """The parameters of an address as the document has them."""
    return {
        "parameters": [
            {"name": name, "in": "query", "schema": one, "description": one["description"]}
            for name, one in model.model_json_schema()["properties"].items()
        ]
    }


def _describe_submission() -> Body:
    answer = json_answer("the job", JOB, *OF_BODIES, "404")
    responses = answer["responses"]
    responses["202"] = responses["200"] | {"description": "the new job"}
    responses["200"] = responses["200"] | {"description": "the job that this key already made"}
    responses["409"] = responses["400"] | {"description": REFUSALS["409"]}
    return json_request(JobFields) | answer | {"parameters": [KEY]}


ONE = json_answer("the job", JOB, "404")
CHANGE = build_object(
    {"event": TEXT | {"enum": ["job"]}, "data": TEXT | {"description": "the job, in JSON"}},
    id=TEXT, retry=COUNT,
)  # fmt: skip
EVENTS = {"responses": ONE["responses"] | {"200": {
    "description": "the job at each change", "content": {"text/event-stream": {"schema": CHANGE}},
}}}  # fmt: skip
LIST = _describe_query(ListQuery) | json_answer("jobs", JOBS, "400")
GET = _describe_query(JobQuery) | json_answer("the job", JOB, "400", "404")
GET_RESULT = _describe_query(ResultQuery) | json_answer("the answer", RESULT, "400", "404", "409")
DELETE = json_answer("it is deleted", DELETED, "404")
PATH = "/v1/jobs/{job}"
ROUTES: tuple[tuple[str, str, Any, str, str, Body], ...] = (
    ("POST", "/v1/jobs", routes.submit_job, "submit a job", "jobs", _describe_submission()),
    ("GET", "/v1/jobs", routes.list_jobs, "list jobs", "jobs", LIST),
    ("GET", PATH, routes.get_job, "the state of a job", "jobs", GET),
    ("DELETE", PATH, routes.delete_job, "delete a job", "jobs", DELETE),
    ("GET", f"{PATH}/result", routes.get_result, "the result of a job", "jobs", GET_RESULT),
    ("GET", f"{PATH}/events", routes.watch_job, "watch a job", "jobs", EVENTS),
    ("POST", f"{PATH}/cancel", routes.cancel_job, "cancel a job", "jobs", ONE),
)
