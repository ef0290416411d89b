"""What schemathesis found: requests and answers are as the OpenAPI document says."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from mdp_lite.editor import Editor
from support.inverting import picture
from support.json_schemas import find_faults
from support.serving import KEY, RunningService, file_of, open_client, run_service

FILE = file_of(picture())
GENERATIONS = "/v1/images/generations"
BODY = {"prompt": "a", "num_inference_steps": 2}


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor, keys=(KEY,)) as one:
        yield one


@pytest.fixture(scope="module")
def client(at: RunningService) -> Iterator[httpx2.Client]:
    with open_client(at) as one:
        one.headers["Authorization"] = f"Bearer {KEY}"
        yield one


@pytest.fixture(scope="module")
def document(client: httpx2.Client) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def test_a_wrong_method_is_told_all_that_there_are(
    client: httpx2.Client, document: dict[str, Any]
) -> None:
    for path, methods in document["paths"].items():
        answer = client.request("PATCH", path.replace("{source}", "x").replace("{name}", "x"))
        assert answer.status_code == 405, path
        assert set(answer.headers["allow"].split(", ")) == {one.upper() for one in methods}


def test_a_missing_key_is_told_the_scheme(client: httpx2.Client, document: dict[str, Any]) -> None:
    refusal = document["paths"]["/v1/models"]["get"]["responses"]["401"]
    assert refusal["headers"]["WWW-Authenticate"]["required"]
    for key in ("", "Bearer wrong"):
        answer = client.get("/v1/models", headers={"Authorization": key})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", "1"), ("n", True), ("stream", "true"), ("stream", 0), ("seed", 1.5), ("prompt", 5),
        ("guidance_scale", "2"), ("deadline", "9"), ("partial_images", False),
    ],
)  # fmt: skip
def test_json_has_the_document_s_types(client: httpx2.Client, field: str, value: object) -> None:
    answer = client.post(GENERATIONS, json=BODY | {field: value})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == field


@pytest.mark.parametrize("field", [{"guidance_scale": 2}, {"deadline": 9}, {"stream": False}])
def test_a_whole_number_is_a_number(client: httpx2.Client, field: dict[str, object]) -> None:
    assert client.post(GENERATIONS, json=BODY | field).status_code == 200


def test_flags_of_forms(client: httpx2.Client) -> None:
    texts = {"prompt": "a", "num_inference_steps": "2"}
    for text, status in (("True", 200), ("false", 200), ("1", 200), ("yes", 400), ("null", 400)):
        data = texts | {"mask_auto": text}
        answer = client.post("/v1/images/edits", data=data, files={"image": FILE})
        assert answer.status_code == status, text


def test_options_are_an_object(client: httpx2.Client) -> None:
    body = {"inputs": "a", "parameters": None, "options": [1]}
    error = client.post("/v1/text-to-image", json=body).json()["error"]
    assert error["param"] == "options"


def test_events_have_their_schema(client: httpx2.Client, document: dict[str, Any]) -> None:
    content = document["paths"][GENERATIONS]["post"]["responses"]["200"]["content"]
    schema = content["text/event-stream"]["schema"]
    answer = client.post(GENERATIONS, json=BODY | {"stream": True, "partial_images": 1})
    events = [
        dict(line.split(": ", 1) for line in event.split("\n"))
        for event in answer.text.strip().split("\n\n")
    ]
    assert events and all(find_faults(one, schema) == [] for one in events)
