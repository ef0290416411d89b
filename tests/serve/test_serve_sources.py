"""Sources and sweeps by the service: inverted once, edited often, owned by one key."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.pipeline.request import Request
from mdp_lite.serve.settings import Limits
from support.inverting import picture
from support.serving import (
    KEY,
    OTHER,
    RunningService,
    file_of,
    is_idle,
    open_client,
    read_image,
    run_service,
)

PICTURE = picture()
FILE = file_of(PICTURE)
LIMITS = Limits(pixels=100 * 100, steps=20, cells=8, body_bytes=200_000)


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor, limits=LIMITS) as one:
        yield one


@pytest.fixture(scope="module")
def client(at: RunningService) -> Iterator[httpx2.Client]:
    with open_client(at) as one:
        yield one


def edit(client: httpx2.Client, image: bytes = FILE, **fields: Any) -> httpx2.Response:
    data = {"prompt": "a boat", "num_inference_steps": "3"} | fields
    return client.post("/v1/images/edits", data=data, files={"image": ("../../x", image)})


def image_of(answer: httpx2.Response, k: int = 0) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return read_image(base64.b64decode(answer.json()["data"][k]["b64_json"]))


def error_of(answer: httpx2.Response, status: int = 400) -> tuple[str | None, str]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return error["param"], error["code"]


def test_a_source_is_inverted_once_and_edited_often(
    editor: Editor, at: RunningService, client: httpx2.Client
) -> None:
    data = {"source_prompt": "a red house", "num_inference_steps": "4"}
    answer = client.post("/v1/sources", data=data, files={"image": FILE})
    made = answer.json()
    assert answer.status_code == 200 and made["usage"]["total_tokens"] == 8
    source = editor.invert(PICTURE, "a red house", "edit-friendly", 4)
    for prompt in ("a blue boat", "a house"):
        before = at.service.batcher.rows
        answer = client.post(f"/v1/sources/{made['id']}/edits", json={"prompt": prompt})
        want = editor.edit(source, prompt)
        assert image_of(answer).tobytes() == want.picture.tobytes()
        assert at.service.batcher.rows - before == want.cost.unet_rows  # no inversion
    assert client.get(f"/v1/sources/{made['id']}").json()["prompt"] == "a red house"
    assert client.delete(f"/v1/sources/{made['id']}").json()["deleted"]
    assert error_of(client.get(f"/v1/sources/{made['id']}"), 404)[1] == "source_not_found"
    assert is_idle(at.service)


def test_a_source_of_a_prompt(editor: Editor, client: httpx2.Client) -> None:
    data = {"source_prompt": "a red house", "num_inference_steps": "4", "seed": "9"}
    name = client.post("/v1/sources", data=data).json()["id"]
    answer = client.post(f"/v1/sources/{name}/edits", json={"prompt": "a boat", "variant": "c"})
    want = editor.edit(editor.generate("a red house", 9, 4), "a boat", "c")
    assert image_of(answer).tobytes() == want.picture.tobytes()


def test_a_source_is_its_owner_s_alone(editor: Editor) -> None:
    with run_service(editor, keys=(KEY, OTHER)) as at, open_client(at) as client:
        mine, theirs = ({"authorization": f"Bearer {key}"} for key in (KEY, OTHER))
        data = {"source_prompt": "a house", "num_inference_steps": "2"}
        name = client.post("/v1/sources", data=data, headers=mine).json()["id"]
        assert client.get(f"/v1/sources/{name}", headers=mine).status_code == 200
        for call in (
            lambda: client.get(f"/v1/sources/{name}", headers=theirs),
            lambda: client.delete(f"/v1/sources/{name}", headers=theirs),
            lambda: client.post(f"/v1/sources/{name}/edits", json={"prompt": "a"}, headers=theirs),
            lambda: client.post(
                "/v1/sweeps", json={"source": name, "prompts": ["a"]}, headers=theirs
            ),  # fmt: skip  # noqa: E501
        ):
            assert error_of(call(), 404)[1] == "source_not_found"
        assert error_of(client.get(f"/v1/sources/{name}"), 401)
        assert error_of(client.get("/metrics"), 401)
        assert client.get("/health/ready").status_code == 200


def test_a_sweep(editor: Editor, client: httpx2.Client) -> None:
    data = {"source_prompt": "a red house", "num_inference_steps": "4", "seed": "9"}
    name = client.post("/v1/sources", data=data).json()["id"]
    body = {"source": name, "prompts": ["a boat", "a house"], "windows": [[3, 1], [3, 2]]}
    answer = client.post("/v1/sweeps", json=body)
    source = editor.generate("a red house", 9, 4)
    want = editor.edits(
        [Request(source, p, "epsilon", *w) for p in body["prompts"] for w in body["windows"]]
    )
    for k, one in enumerate(want):
        assert image_of(answer, k).tobytes() == one.picture.tobytes()
        assert answer.json()["data"][k]["settings"]["prompt"] == one.prompt
    assert answer.json()["usage"]["total_tokens"] < sum(one.cost.unet_rows for one in want)
    many = body | {"windows": [[4, 2]] * 5}
    assert error_of(client.post("/v1/sweeps", json=many))[1] == "too_expensive"
