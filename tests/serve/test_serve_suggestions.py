"""A field that there is none of gets the one that was meant, wherever a request has fields."""

from collections.abc import Iterator

import httpx2
import pytest

from mdp_lite.editor import Editor
from support.inverting import picture
from support.jobs import EDITS, GENERATIONS
from support.serving import file_of, open_client, run_service

FILE = file_of(picture())


@pytest.fixture(scope="module")
def client(editor: Editor) -> Iterator[httpx2.Client]:
    with run_service(editor) as at, open_client(at) as one:
        yield one


def check(answer: httpx2.Response, param: str, end: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "unknown_parameter", param)
    assert error["message"].startswith(f"{param} is no") and error["message"].endswith(end)


def test_in_a_form(client: httpx2.Client) -> None:
    for path, name, meant in (
        (EDITS, "strenght", "strength"), ("/v1/sources", "source_promt", "source_prompt"),
    ):  # fmt: skip
        data = {"prompt": "a", name: "1"} if path == EDITS else {name: "1"}
        answer = client.post(path, data=data, files={"image": FILE})
        check(answer, name, f"request: did you mean {meant}?")
    check(client.post(EDITS, files={"masks": FILE}), "masks", "request: did you mean mask?")


def test_in_json(client: httpx2.Client) -> None:
    body = {"prompt": "a", "num_inference_step": 2}
    for path, sent in (
        (GENERATIONS, body), ("/v1/jobs", {"endpoint": GENERATIONS, "body": body}),
    ):  # fmt: skip
        answer = client.post(path, json=sent)
        check(answer, "num_inference_step", "did you mean num_inference_steps?")


def test_in_an_address(client: httpx2.Client) -> None:
    answer = client.get("/v1/jobs", params={"limits": 2})
    check(answer, "limits", "did you mean limit?")


def test_nothing_is_near(client: httpx2.Client) -> None:
    check(client.post(GENERATIONS, json={"prompt": "a", "zzz": 1}), "zzz", "of this request")
