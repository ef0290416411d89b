"""guidance_every of the service: the library's pictures, in usage of fewer rows."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest

from mdp_lite.editor import Editor
from mdp_lite.serve.recipes import from_bytes, to_bytes
from mdp_lite.serve.work import PromptRecipe
from support.inverting import picture
from support.serving import file_of, open_client, read_image, run_service

STEPS = 6
BODY = {"prompt": "a house", "seed": 3, "num_inference_steps": STEPS, "edit_prompt": "a boat"}


@pytest.fixture(scope="module")
def client(editor: Editor) -> Iterator[httpx2.Client]:
    with run_service(editor) as service, open_client(service) as one:
        yield one


@pytest.fixture(scope="module")
def pixels(editor: Editor) -> np.ndarray:
    """The library's edit."""
    source = editor.generate("a house", 3, STEPS, record_direction=True)
    return np.asarray(editor.edit(source, "a boat", guidance_every=2).picture)


def read_picture(answer: httpx2.Response, k: int = 0) -> Any:
    return read_image(base64.b64decode(answer.json()["data"][k]["b64_json"]))


def test_a_generation_that_is_edited_at_once(client: httpx2.Client, pixels: np.ndarray) -> None:
    exact, half = (
        client.post("/v1/images/generations", json=BODY | {"guidance_every": k}) for k in (1, 2)
    )
    made = read_picture(half)
    assert np.array_equal(np.asarray(made), pixels)
    assert json.loads(made.info["mdp_lite"])["guidance_every"] == 2
    assert "guidance_every" not in json.loads(read_picture(exact).info["mdp_lite"])
    rows = [one.json()["usage"]["output_tokens"] for one in (half, exact)]
    assert rows[0] < rows[1]


def test_a_source_that_is_edited_later(client: httpx2.Client, pixels: np.ndarray) -> None:
    form = {"source_prompt": "a house", "seed": "3", "num_inference_steps": str(STEPS)}
    made = client.post("/v1/sources", data=form | {"record_direction": "true"}, files={}).json()
    body = {"prompt": "a boat", "guidance_every": 2}
    answer = client.post(f"/v1/sources/{made['id']}/edits", json=body)
    assert np.array_equal(np.asarray(read_picture(answer)), pixels)
    sweep = {"source": made["id"], "prompts": ["a boat"], "guidance_every": 2}
    answer = client.post("/v1/sweeps", json=sweep)
    assert np.array_equal(np.asarray(read_picture(answer)), pixels)
    bare = client.post("/v1/sources", data=form, files={}).json()
    answer = client.post(f"/v1/sources/{bare['id']}/edits", json=body)
    assert answer.status_code == 200  # it keeps its direction


def test_a_picture_that_is_edited(client: httpx2.Client, editor: Editor) -> None:
    form = {"prompt": "a boat", "source_prompt": "a house", "num_inference_steps": str(STEPS)}
    files = {"image": file_of(picture())}
    answer = client.post("/v1/images/edits", data=form | {"guidance_every": "2"}, files=files)
    source = editor.invert(
        picture(), "a house", num_inference_steps=STEPS, fit="crop", record_direction=True
    )
    want = editor.edit(source, "a boat", guidance_every=2)
    got = np.asarray(read_picture(answer))
    assert json.loads(read_picture(answer).info["mdp_lite"])["record_direction"] is True
    assert got.shape == np.asarray(want.picture).shape


@pytest.mark.parametrize("value", [0, -1, 1.5, "two"])
def test_bad_values_are_refused(client: httpx2.Client, value: Any) -> None:
    answer = client.post("/v1/images/generations", json=BODY | {"guidance_every": value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "guidance_every")


def test_without_an_edit_it_says_nothing(client: httpx2.Client) -> None:
    body = {key: value for key, value in BODY.items() if key != "edit_prompt"}
    answer = client.post("/v1/images/generations", json=body | {"guidance_every": 2})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "guidance_every")


def test_recipes_keep_it_and_old_ones_have_none() -> None:
    recipe = PromptRecipe("a house", 3, 3, None, "", None, record_direction=True)
    assert from_bytes(to_bytes(recipe)) == recipe
    old = to_bytes(recipe).replace(b', "record_direction": true', b"")
    assert from_bytes(old) == recipe._replace(record_direction=False)
