"""record_noise and quality of the service: edits of generated pictures as the library does."""

import base64
import json
from collections.abc import Iterator

import httpx2
import numpy as np
import pytest

from mdp_lite.editor import Editor
from mdp_lite.serve.recipes import from_bytes, to_bytes
from mdp_lite.serve.work import PromptRecipe
from support.inverting import picture
from support.serving import file_of, open_client, read_image, run_service

BODY = {"prompt": "a house", "seed": 3, "num_inference_steps": 3}


@pytest.fixture(scope="module")
def client(editor: Editor) -> Iterator[httpx2.Client]:
    with run_service(editor) as service, open_client(service) as one:
        yield one


@pytest.fixture(scope="module")
def pixels(editor: Editor) -> np.ndarray:
    """The library's edit."""
    source = editor.generate("a house", 3, 3, record_noise=True)
    return np.asarray(editor.edit(source, "a boat").picture)


def read_pixels(answer: httpx2.Response) -> np.ndarray:
    content = base64.b64decode(answer.json()["data"][0]["b64_json"])
    return np.asarray(read_image(content))


def test_a_generation_that_is_edited_at_once(client: httpx2.Client, pixels: np.ndarray) -> None:
    answer = client.post(
        "/v1/images/generations", json=BODY | {"edit_prompt": "a boat", "record_noise": True}
    )
    assert np.array_equal(read_pixels(answer), pixels)
    plain = client.post("/v1/images/generations", json=BODY | {"edit_prompt": "a boat"})
    assert not np.array_equal(read_pixels(plain), pixels)


def test_a_source_that_is_edited_later(client: httpx2.Client, pixels: np.ndarray) -> None:
    form = {"source_prompt": "a house", "seed": "3", "num_inference_steps": "3"}
    made = client.post("/v1/sources", data=form | {"record_noise": "true"}, files={})
    answer = client.post(f"/v1/sources/{made.json()['id']}/edits", json={"prompt": "a boat"})
    assert np.array_equal(read_pixels(answer), pixels)


def test_where_it_says_nothing(client: httpx2.Client) -> None:
    answer = client.post("/v1/images/generations", json=BODY | {"record_noise": True})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "record_noise")
    files = {"image": file_of(picture())}
    answer = client.post("/v1/sources", data={"record_noise": "true"}, files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "record_noise")


def test_recipes_keep_it_and_old_ones_have_none() -> None:
    recipe = PromptRecipe("a house", 3, 3, None, "", None, record_noise=True)
    assert from_bytes(to_bytes(recipe)) == recipe
    old = to_bytes(recipe).replace(b', "record_noise": true', b"")
    assert from_bytes(old) == recipe._replace(record_noise=False)


def test_a_quality_is_the_models_number_of_steps(client: httpx2.Client, editor: Editor) -> None:
    body = {"prompt": "a house", "seed": 3, "quality": "draft"}
    answer = client.post("/v1/images/generations", json=body)
    steps = editor.models.defaults.steps_of("draft")
    assert np.array_equal(read_pixels(answer), editor.generate("a house", 3, steps).image)
    form = {"source_prompt": "a house", "prompt": "a boat", "quality": "low"}
    answer = client.post("/v1/images/edits", data=form, files={"image": file_of(picture())})
    made = read_image(base64.b64decode(answer.json()["data"][0]["b64_json"]))
    assert json.loads(made.info["mdp_lite"])["num_inference_steps"] == steps
    answer = client.post("/v1/images/generations", json=body | {"num_inference_steps": 3})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "quality")
