"""Jobs of a service: submitted, waited for, and compared with direct requests."""

import base64
from typing import Any

import httpx2

from support.inverting import picture
from support.serving import file_of

PICTURE = file_of(picture())
ENCODED = base64.b64encode(PICTURE).decode()
STEPS = 2
EDIT = {"prompt": "a boat", "num_inference_steps": STEPS, "image": ENCODED}
MADE = {"prompt": "a house", "num_inference_steps": STEPS, "seed": 3}
GENERATIONS, EDITS = "/v1/images/generations", "/v1/images/edits"


def submit(client: httpx2.Client, endpoint: str = GENERATIONS, **fields: Any) -> dict[str, Any]:
    """A new job; by default a small generation."""
    if not {"body", "rows"} & set(fields):
        fields["body"] = MADE
    key = fields.pop("key", None)
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post("/v1/jobs", json={"endpoint": endpoint, **fields}, headers=headers)
    assert answer.status_code in (200, 202), answer.text
    return answer.json()


def wait_for_end(client: httpx2.Client, job: dict[str, Any]) -> dict[str, Any]:
    """The job once it has ended."""
    while True:
        answer = client.get(f"/v1/jobs/{job['id']}", params={"wait": 20})
        assert answer.status_code == 200, answer.text
        if answer.json()["ended_at"]:
            return answer.json()


def read_result(client: httpx2.Client, job: dict[str, Any], **query: Any) -> httpx2.Response:
    """The result of a job that has ended."""
    wait_for_end(client, job)
    return client.get(f"/v1/jobs/{job['id']}/result", params=query)


def error_of(answer: httpx2.Response, status: int) -> tuple[str | None, str]:
    """(param, code) of an error in OpenAI's form."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error["param"], error["code"]


def drop_times(body: dict[str, Any]) -> dict[str, Any]:
    """An answer without what says when it was made, and how long that took."""
    return {name: value for name, value in body.items() if name not in ("created", "timings")}
