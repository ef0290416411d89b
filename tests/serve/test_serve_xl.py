"""Requests with what SDXL reads beside the prompts: the library's pictures, and one error each."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from huggingface_hub import InferenceClient
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.pipeline.inversion_methods import Inversion
from mdp_lite.pipeline.xl import XLCondition
from mdp_lite.serve.recipes import from_bytes, to_bytes
from mdp_lite.serve.settings import Limits
from mdp_lite.serve.work import PictureRecipe, PromptRecipe
from mdp_lite.store.cache import Cache
from support.inverting import picture
from support.pages import find_blocks
from support.places import ROOT
from support.serving import (
    RunningService,
    file_of,
    is_idle,
    open_client,
    read_image,
    run_service,
    wait_until,
)

PICTURE, STEPS = picture(), 2
FILE = file_of(PICTURE)
SHARED = {
    "negative_prompt_2": "blue", "original_size": "64x48", "crop": "8,4", "target_size": "50x60",
    "negative_original_size": "10x20", "negative_crop": "1,2", "negative_target_size": "30x40",
}  # fmt: skip
PAIRS = ((48, 64), (4, 8), (60, 50), (20, 10), (2, 1), (40, 30))


def xl(prompt_2: str | None = None) -> XLCondition:
    """What SHARED says, with a second prompt."""
    return XLCondition(prompt_2, "blue", *PAIRS)


@pytest.fixture(scope="module")
def editor(checkpoint_xl: Path) -> Editor:
    return Editor.from_pretrained(checkpoint_xl, "cpu")


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor, limits=Limits(prompt=100)) as one:
        yield one


@pytest.fixture(scope="module")
def client(at: RunningService) -> Iterator[httpx2.Client]:
    with open_client(at) as one:
        yield one


@pytest.fixture(scope="module")
def plain(checkpoint: Path) -> Iterator[httpx2.Client]:
    """A client of a model with one text encoder."""
    small = Editor.from_pretrained(checkpoint, "cpu")
    with run_service(small) as one, open_client(one) as opened:
        yield opened


def generate(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    body = {"prompt": "a house", "num_inference_steps": STEPS, "seed": 5} | fields
    head = {"content-type": "application/json"}
    return client.post("/v1/images/generations", content=json.dumps(body), headers=head)


def edit(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    data = {"prompt": "a boat", "num_inference_steps": str(STEPS)} | fields
    return client.post("/v1/images/edits", data=data, files={"image": FILE})


def image_of(answer: httpx2.Response, k: int = 0) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return read_image(base64.b64decode(answer.json()["data"][k]["b64_json"]))


def error_of(answer: httpx2.Response) -> tuple[str | None, str]:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    return error["param"], error["message"]


def test_generations(editor: Editor, client: httpx2.Client) -> None:
    """Several of one request too; the file says what was read."""
    answer = generate(client, prompt_2="red", n=2, **SHARED)
    for k in range(2):
        want = editor.generate("a house", 5 + k, STEPS, xl=xl("red")).image
        found = image_of(answer, k)
        assert found.tobytes() == want.tobytes()
        assert '"crops_coords_top_left": [4, 8]' in str(found.info)
    assert image_of(generate(client)).tobytes() != image_of(answer).tobytes()


def test_a_generation_that_is_edited(editor: Editor, client: httpx2.Client) -> None:
    answer = generate(
        client, prompt_2="red", edit_prompt="a boat", edit_prompt_2="night", **SHARED
    )  # fmt: skip
    source = editor.generate("a house", 5, STEPS, xl=xl("red"))
    assert (
        image_of(answer).tobytes()
        == editor.edit(source, "a boat", xl=xl("night")).picture.tobytes()
    )


def test_edits(editor: Editor, client: httpx2.Client) -> None:
    fields = {"source_prompt": "a house", "source_prompt_2": "night", "negative_prompt": "grass"}
    answer = edit(client, prompt_2="red", **fields, **SHARED)
    source = editor.invert(
        PICTURE, "a house", "edit-friendly", STEPS, None, "grass", xl=xl("night")
    )
    want = editor.edit(source, "a boat", negative_prompt="grass", xl=xl("red"))
    assert image_of(answer).tobytes() == want.picture.tobytes()


def test_a_source_has_its_sizes(editor: Editor, client: httpx2.Client) -> None:
    """Its edits and sweeps have them too, unless they say others."""
    data = {"source_prompt": "a house", "num_inference_steps": "2", "seed": "9"}
    own = {"source_prompt_2": "night", "original_size": "64x48"}
    body = client.post("/v1/sources", data=data | own).json()
    assert body["xl"] == {"prompt_2": "night", "original_size": [48, 64]}
    assert "xl" not in client.post("/v1/sources", data=data).json()
    path = f"/v1/sources/{body['id']}/edits"
    source = editor.generate("a house", 9, STEPS, xl=XLCondition("night", original_size=(48, 64)))
    for fields, reads in (
        ({}, None),
        ({"prompt_2": "red"}, XLCondition("red")),
        ({"prompt_2": ""}, None),
        ({"original_size": "9x8", "crop": "2,1"}, XLCondition(None, None, (8, 9), (1, 2))),
    ):
        answer = client.post(path, json={"prompt": "a boat"} | fields)
        assert (
            image_of(answer).tobytes() == editor.edit(source, "a boat", xl=reads).picture.tobytes()
        )
    sweep = {"source": body["id"], "prompts": ["a boat"], "prompt_2": "red"}
    want = editor.edit(source, "a boat", xl=XLCondition("red"))
    assert image_of(client.post("/v1/sweeps", json=sweep)).tobytes() == want.picture.tobytes()


def test_hugging_face_s_target_size_is_the_picture_s(
    editor: Editor, at: RunningService, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an object it is the picture's size, as its client sends it; as a text it is SDXL's."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # this machine's server
    theirs = InferenceClient(model=f"{at.url}/v1/image-to-image")
    size = {"width": 40, "height": 24}
    got = theirs.image_to_image(FILE, "a boat", num_inference_steps=STEPS, target_size=size)  # type: ignore[arg-type]
    assert got.size == (40, 24)
    parameters = {"prompt": "a boat", "num_inference_steps": STEPS, "target_size": "50x60"}
    body = {"inputs": base64.b64encode(FILE).decode(), "parameters": parameters}
    answer = client.post("/v1/image-to-image", json=body)
    read = XLCondition(target_size=(60, 50))
    want = editor.edit(
        editor.invert(PICTURE, num_inference_steps=STEPS, xl=read), "a boat", xl=read
    )
    assert read_image(answer.content).tobytes() == want.picture.tobytes()


@pytest.mark.parametrize("max_rows", [0, pytest.param(16, marks=pytest.mark.slow)])
def test_requests_at_one_time(editor: Editor, max_rows: int) -> None:
    """Rows with different conditions share calls; each picture has the bits that it has alone."""
    fields: list[dict[str, Any]] = [
        {}, {"prompt_2": "red"}, {"crop": "8,4"}, SHARED, {"original_size": "64x48"},
        {"edit_prompt": "a boat", "edit_prompt_2": "night", "target_size": "9x9"},
    ]  # fmt: skip
    with run_service(editor, max_rows=max_rows) as one, open_client(one) as client:
        alone = [image_of(generate(client, **more)).tobytes() for more in fields]
        with ThreadPoolExecutor(len(fields)) as pool:
            ends = [pool.submit(generate, client, **more) for more in fields]
            assert [image_of(end.result()).tobytes() for end in ends] == alone
        assert len(set(alone)) == len(alone)
        wait_until(lambda: is_idle(one.service))  # the last answer ends after its client has it


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"original_size": "5"}, "original_size", "must be WIDTHxHEIGHT such as 1024x768, got '5'"),
        ({"original_size": ""}, "original_size", "must be WIDTHxHEIGHT such as 1024x768, got ''"),
        (
            {"original_size": "0x8"},
            "original_size",
            "two whole numbers from 1 to 1048576, got '0x8",
        ),
        ({"crop": "-1,0"}, "crop", "crop must be X,Y such as 0,128, got '-1,0'"),
        ({"crop": "1,"}, "crop", "crop must be X,Y such as 0,128, got '1,'"),
        (
            {"negative_crop": "1,2"},
            "negative_original_size",
            "and negative_target_size must be given",
        ),
        ({"target_size": "8x1048577"}, "target_size", "target_size must be two whole numbers from"),
        ({"target_size": "8" * 5000 + "x1"}, "target_size", "target_size must be WIDTHxHEIGHT"),
        ({"target_size": [8, 9]}, "target_size", "target_size must be a valid string, got"),
        ({"target_size": True}, "target_size", "target_size must be a valid string, got"),
        ({"crop": float("nan")}, "crop", "crop must be a valid string, got"),
        ({"prompt_2": 5}, "prompt_2", "prompt_2 must be a valid string, got"),
        ({"prompt_2": "a" * 101}, "prompt_2", "prompt_2 must have at most 100 characters, got 101"),
        ({"prompt_2": "\ud800"}, "prompt_2", "prompt_2"),
        ({"edit_prompt_2": "a"}, "edit_prompt_2", "edit_prompt_2 is for an edit: give edit_prompt"),
        ({"source_prompt_2": "a"}, "source_prompt_2", "is not a parameter of this request"),
        ({"crops_coords_top_left": "1,2"}, "crops_coords_top_left", "is not a parameter of this"),
    ],
)
def test_bad_ones(
    fields: dict[str, Any], param: str, message: str, at: RunningService,
    client: httpx2.Client,
) -> None:  # fmt: skip
    """One sentence that names the field, before any work."""
    rows = at.service.batcher.rows
    found = error_of(generate(client, n=2, **fields))
    assert found[0] == param and message in found[1]
    assert at.service.batcher.rows == rows
    wait_until(lambda: is_idle(at.service))


def test_other_models(plain: httpx2.Client) -> None:
    same = {"prompt_2": "a house", "negative_prompt_2": ""}  # changes no number
    assert image_of(generate(plain, **same)).tobytes() == image_of(generate(plain)).tobytes()
    for name, text, why in (
        ("prompt_2", "red", "is for a second text encoder, the model has one: 'red'"),
        ("edit_prompt_2", "red", "is for a second text encoder"),
        ("negative_prompt_2", "red", "is for a second text encoder"),
        ("crop", "1,2", "is for Stable Diffusion XL, the model reads no sizes"),
        ("negative_target_size", "1x2", None),
    ):
        fields = {name: text} | ({"edit_prompt": "a"} if name == "edit_prompt_2" else {})
        param, message = error_of(generate(plain, **fields))
        assert message.startswith(f"{name} {why}") if why else "negative_original_size" in message
    assert error_of(edit(plain, source_prompt_2="red"))[0] == "source_prompt_2"
    data = {"source_prompt": "a", "source_prompt_2": "b"}
    assert error_of(plain.post("/v1/sources", data=data))[0] == "source_prompt_2"


def test_a_recipe_comes_back_as_it_was(editor: Editor, tmp_path: Path) -> None:
    """Also of an earlier version, which has no such fields."""
    recipe = PromptRecipe("a house", 3, STEPS, None, "", None, xl("red"))
    assert from_bytes(to_bytes(recipe)) == recipe
    old = PictureRecipe(PICTURE, "a", Inversion("ddim"), None, None, "", None, "crop")
    data = to_bytes(old).replace(b', "xl": {}', b"", 1)
    assert b'"xl"' not in data and from_bytes(data) == old
    form = {"source_prompt": "a house", "num_inference_steps": "2"} | SHARED
    shared = [Editor(editor.models, editor.device, Cache(tmp_path)) for _ in range(2)]
    with run_service(shared[0]) as a, open_client(a) as first:
        name = first.post("/v1/sources", data=form).json()["id"]
    with run_service(shared[1]) as b, open_client(b) as second:
        source = editor.generate("a house", 0, STEPS, xl=xl())
        answer = second.post(f"/v1/sources/{name}/edits", json={"prompt": "a boat"})
        assert image_of(answer).tobytes() == editor.edit(source, "a boat").picture.tobytes()


def test_the_document_has_the_fields(client: httpx2.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, kind, more in (
        ("/v1/images/edits", "multipart/form-data", {"prompt_2", "source_prompt_2"}),
        ("/v1/images/generations", "application/json", {"prompt_2", "edit_prompt_2"}),
        ("/v1/sources", "multipart/form-data", {"source_prompt_2"}),
        ("/v1/sources/{source}/edits", "application/json", {"prompt_2"}),
        ("/v1/sweeps", "application/json", {"prompt_2"}),
    ):
        content = paths[path]["post"]["requestBody"]["content"][kind]
        known = content["schema"]["properties"]
        assert {*SHARED, *more} <= set(known)
        assert "as 0,128" in known["crop"]["description"]


def test_the_page_on_the_service(editor: Editor, at: RunningService) -> None:
    """The code of docs/service.md that needs SDXL."""
    openai = pytest.importorskip("openai")
    blocks = find_blocks((ROOT / "docs" / "service.md").read_text("utf-8"))
    (code,) = [one.code for one in blocks if "test_serve_xl.py" in one.note]
    names = {"client": openai.OpenAI(base_url=f"{at.url}/v1", api_key="none")}
    exec(code.replace('{"prompt_2"', '{"seed": 5, "num_inference_steps": 2, "prompt_2"'), names)
    (data,) = names["answer"].data
    read = XLCondition("an oil painting", None, (384, 512), (64, 0))
    want = editor.generate("a house", 5, STEPS, xl=read).image
    assert read_image(base64.b64decode(data.b64_json)).tobytes() == want.tobytes()
