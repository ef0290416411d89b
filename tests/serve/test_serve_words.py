"""Words that the bundled model does not know: told to who sent them, and kept out of the log."""

import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from mdp_lite.app.form import default_form
from mdp_lite.app.handlers import Handlers
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from mdp_lite.eval import world
from mdp_lite.pipeline.warn import WORDS
from mdp_lite.serve.logs import log_requests
from support.serving import open_client, run_service

STEPS = {"num_inference_steps": 2}


@pytest.fixture(scope="module")
def tiny() -> Editor:
    return Editor.from_pretrained("tiny", "cpu")


@pytest.fixture(scope="module")
def client(tiny: Editor) -> Iterator[httpx2.Client]:
    with run_service(tiny) as one, open_client(one) as opened:
        yield opened


@pytest.mark.parametrize(
    ("prompt", "words"), [("a red house", []), ("a striped zebra", ["striped", "zebra"])]
)
def test_an_answer_names_unknown_words(
    prompt: str, words: list[str], client: httpx2.Client
) -> None:
    made = client.post("/v1/images/generations", json={"prompt": prompt} | STEPS)
    assert made.raise_for_status().json()["unknown_words"] == words
    source = client.post("/v1/sources", data={"source_prompt": "a house", "num_inference_steps": 2})
    name = source.raise_for_status().json()["id"]
    edited = client.post(f"/v1/sources/{name}/edits", json={"prompt": prompt})
    assert edited.raise_for_status().json()["unknown_words"] == words


def test_a_stream_ends_with_them(client: httpx2.Client) -> None:
    body = {"prompt": "a zebra", "stream": True} | STEPS
    answer = client.post("/v1/images/generations", json=body).raise_for_status()
    assert '"unknown_words": ["zebra"]' in answer.text


def to_png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("is_scene", [True, False], ids=["scene", "noise"])
def test_an_answer_says_that_an_edit_is_blurred(is_scene: bool, client: httpx2.Client) -> None:
    levels = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    picture = world.draw(world.sample(5)) if is_scene else Image.fromarray(levels)
    form = {"prompt": "a house", "num_inference_steps": "2"}
    made = client.post("/v1/images/edits", data=form, files={"image": to_png(picture)})
    notes = made.raise_for_status().json()["notes"]
    assert len(notes) == (0 if is_scene else 1)
    assert all("looks like none of them: the result will be blurred" in one for one in notes)
    stream = client.post(
        "/v1/images/edits", data=form | {"stream": "true"}, files={"image": to_png(picture)}
    )
    assert ("will be blurred" in stream.raise_for_status().text) == (not is_scene)


def test_a_generated_picture_has_no_note(client: httpx2.Client) -> None:
    made = client.post("/v1/images/generations", json={"prompt": "a house"} | STEPS)
    assert made.raise_for_status().json()["notes"] == []


def test_the_models_are_listed_with_their_words(client: httpx2.Client) -> None:
    (one,) = client.get("/v1/models").raise_for_status().json()["data"]
    assert one["pictures"] == "synthetic scenes" and one["size"] == "64x64"
    assert len(one["words"]) == 41 and {"house", "blue"} <= set(one["words"])


def test_the_log_of_a_service_holds_none(caplog: pytest.LogCaptureFixture) -> None:
    root, level = logging.getLogger(), logging.getLogger("mdp_lite.serve").level
    handlers = list(root.handlers)
    try:
        log_requests(quiet=False)
        logging.getLogger(WORDS).warning("a zebra")
        logging.getLogger("mdp_lite").warning("another warning")
    finally:
        root.handlers[:] = handlers
        logging.captureWarnings(False)
        logging.getLogger(WORDS).setLevel(logging.NOTSET)
        logging.getLogger("mdp_lite.serve").setLevel(level)
    assert caplog.messages == ["another warning"]


def test_the_page_names_them(tiny: Editor, tmp_path: Path) -> None:
    handlers, form = Handlers(Studio(tiny, tmp_path)), default_form(tiny, "prompt")
    form = replace(form, source_prompt="a house", prompt="a striped zebra")
    (sentence,) = handlers.describe_unknown_words(form)
    assert '"striped", "zebra"' in sentence and sentence[0].isupper() and sentence.endswith(".")
    assert not handlers.describe_unknown_words(replace(form, prompt="a red house"))
