"""Requests that the service reads and refuses: formats, bodies, sources, sweeps, metadata."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from huggingface_hub import InferenceClient
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
    wait_until,
)  # fmt: skip

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


def test_pictures_of_all_modes_are_read(client: httpx2.Client) -> None:
    for mode in ("L", "P", "LA", "RGBA", "1"):
        assert image_of(edit(client, file_of(PICTURE.convert(mode)))).size == PICTURE.size
    assert image_of(edit(client, file_of(PICTURE.convert("CMYK"), "JPEG"))).mode == "RGB"


def test_a_picture_is_turned_upright_and_its_metadata_does_not_leak(client: httpx2.Client) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x9003] = 6, "at my home", "2020:01:01 00:00:00"
    data = file_of(picture(0, 40, 24), "JPEG", exif=exif)
    for kind in ("png", "jpeg", "webp"):
        made = image_of(edit(client, data, output_format=kind))
        assert made.size == (24, 40)
        assert b"home" not in file_of(made) and "at my home" not in str(dict(made.getexif()))


@pytest.mark.parametrize(
    "data",
    [
        b"", b"hello", b"<svg/>", FILE[:100], FILE[:-30], file_of(PICTURE, "GIF"),
        file_of(PICTURE, "BMP"), file_of(PICTURE, "TIFF"), file_of(Image.new("L", (101, 100))),
        file_of(PICTURE, "GIF", save_all=True, append_images=[picture(1)]),
        file_of(PICTURE, "WEBP", save_all=True, append_images=[picture(1)]),
    ],
)  # fmt: skip
def test_files_that_are_no_still_picture_are_refused(client: httpx2.Client, data: bytes) -> None:
    assert error_of(edit(client, data)) == ("image", "invalid_image")


def test_a_picture_of_many_pixels_and_few_bytes_is_refused(client: httpx2.Client) -> None:
    for side in (101, 5000, 20000):
        data = file_of(Image.new("1", (side, side)))
        assert error_of(edit(client, data)) == ("image", "invalid_image")


def test_a_picture_says_how_it_was_made(client: httpx2.Client) -> None:
    made = image_of(edit(client, seed="3"))
    found = json.loads(made.info["mdp_lite"])  # type: ignore[arg-type]
    assert found["prompt"] == "a boat" and found["ai_generated"] and found["model"] == "mdp-lite"
    assert found["inversion"] == {"seed": 3} and "Steps: 3" in made.info["parameters"]
    for kind in ("jpeg", "webp"):
        exif = image_of(edit(client, output_format=kind)).getexif()
        assert json.loads(exif[0x010E])["mdp_lite"]["prompt"] == "a boat"
        comment = exif.get_ifd(0x8769)[0x9286]
        assert comment.startswith(b"UNICODE\0") and "Steps: 3" in comment[8:].decode("utf-16-be")


def test_unless_the_operator_turns_that_off(editor: Editor) -> None:
    with run_service(editor, metadata=False) as at, open_client(at) as client:
        assert image_of(edit(client)).info == {"srgb": 0}
        assert dict(image_of(edit(client, output_format="jpeg")).getexif()) == {}


def test_the_answer_says_how_long_each_stage_took(client: httpx2.Client) -> None:
    answer = edit(client)
    stages = [part.split(";dur=")[0] for part in answer.headers["server-timing"].split(", ")]
    assert stages == ["decode", "queue", "invert", "edit", "encode"]
    assert answer.headers["x-request-id"].startswith("req_")
    assert list(answer.json()["timings"]) == stages


def test_bodies_that_are_no_form(client: httpx2.Client) -> None:
    post = client.post
    assert error_of(post("/v1/images/edits", json={"prompt": "a"}), 415)[1] == "unsupported_media_type"  # fmt: skip  # noqa: E501
    assert error_of(post("/v1/images/edits", data={"prompt": "a"})) == (
        "image", "missing_required_parameter"
    )  # fmt: skip
    assert error_of(post("/v1/images/edits", files={"image": FILE})) == (
        "prompt", "missing_required_parameter"
    )  # fmt: skip
    head = {"content-type": "multipart/form-data; boundary=x"}
    for body in (b"", b"--x", b"--x\r\n\r\n", b"\0" * 100, b'--x\r\nContent-Disposition: form-data; name="a"'):  # fmt: skip  # noqa: E501
        assert error_of(post("/v1/images/edits", content=body, headers=head))
    assert error_of(post("/v1/images/edits", content=b"x", headers={"content-type": "multipart/form-data"}))  # fmt: skip  # noqa: E501


def test_a_picture_s_address_is_never_fetched(client: httpx2.Client) -> None:
    data = {"prompt": "a", "image": "http://127.0.0.1:1/x.png"}
    assert error_of(client.post("/v1/images/edits", data=data)) == ("image", "invalid_image")
    body = {"inputs": "http://127.0.0.1:1/x.png", "parameters": {"prompt": "a"}}
    assert error_of(client.post("/v1/image-to-image", json=body))[1] == "invalid_image"


def test_bodies_that_are_no_json(client: httpx2.Client) -> None:
    path, head = "/v1/images/generations", {"content-type": "application/json"}
    for body in (b"", b"{", b"[]", b"\xff", b"1", b"[" * 100_000, b'{"prompt": "\\ud800"}'):
        assert error_of(client.post(path, content=body, headers=head))
    half = b'{"prompt": "a", "\\ud800x": 1}'
    assert error_of(client.post(path, content=half, headers=head))
    nan = b'{"prompt": "a", "guidance_scale": NaN}'
    assert error_of(client.post(path, content=nan, headers=head))[0] == "guidance_scale"
    assert error_of(client.post(path, data={"prompt": "a"}), 415)


def test_a_body_without_a_length_is_counted(client: httpx2.Client) -> None:
    def parts() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(100):
            yield bytes(10_000)

    head = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/v1/images/edits", content=parts(), headers=head)
    assert error_of(answer, 413)[1] == "too_large"


def test_unknown_paths_and_methods(client: httpx2.Client) -> None:
    assert error_of(client.get("/v1/nothing"), 404)[1] == "not_found"
    assert error_of(client.get("/v1/images/edits"), 405)[1] == "method_not_allowed"
    assert error_of(client.post("/v1/images/variations", data={"n": "1"}), 404)


def test_pages_of_other_origins_and_other_names_are_refused(client: httpx2.Client) -> None:
    assert error_of(client.get("/v1/models", headers={"origin": "https://evil.example"}), 403)
    assert error_of(client.get("/v1/models", headers={"host": "evil.example"}), 403)
    assert client.get("/v1/models", headers={"host": "localhost:1"}).status_code == 200


def test_an_origin_that_is_allowed_gets_its_headers(editor: Editor) -> None:
    page = "https://page.example"
    with run_service(editor, origins=(page,), keys=(KEY,)) as at, open_client(at) as client:
        asks = {"origin": page, "access-control-request-method": "POST"}
        answer = client.options("/v1/images/edits", headers=asks)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == page
        assert error_of(client.get("/v1/models", headers={"origin": page}), 401)


def test_health_and_metrics(client: httpx2.Client) -> None:
    assert client.get("/health/live").status_code == client.get("/health/ready").status_code == 200
    edit(client)
    text = client.get("/metrics").text
    assert 'mdp_lite_requests_total{route="/v1/images/edits",status="200"}' in text
    for name in ("unet_rows_total", "waiting_rows", "sources", "cancelled_total"):
        assert f"mdp_lite_{name} " in text


def test_the_document_is_whole(client: httpx2.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    form = paths["/v1/images/edits"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert {"image", "mask", "prompt", "source_prompt", "strength"} <= set(form["schema"]["properties"])  # fmt: skip  # noqa: E501
    assert form["example"]["prompt"] and "/v1/sweeps" in paths and "$ref" not in json.dumps(form)


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
    wait_until(lambda: is_idle(at.service))


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


def test_hugging_face_s_client(
    editor: Editor, at: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # this machine's server
    client = InferenceClient(model=f"{at.url}/v1/image-to-image")
    got = client.image_to_image(FILE, "a boat", num_inference_steps=4, guidance_scale=2.0)
    want = editor.edit(editor.invert(PICTURE, "", "edit-friendly", 4), "a boat", guidance_scale=2.0)
    assert got.tobytes() == want.picture.tobytes()


def test_a_hook_may_refuse_pictures(editor: Editor) -> None:
    counts: list[int] = []

    def hook(images: Any) -> list[bool]:
        counts.append(len(images))
        return [len(counts) > 1]

    with run_service(editor, safety_hook=hook) as at, open_client(at) as client:
        assert edit(client).status_code == 200
        assert error_of(edit(client))[1] == "content_policy_violation"
    assert counts == [1, 1]


def test_a_deadline_gives_the_best_so_far(client: httpx2.Client) -> None:
    answer = edit(client, deadline="0.001", num_inference_steps="20")
    if answer.status_code == 200:
        assert not answer.json()["data"][0]["finished"]
    else:
        assert error_of(answer, 503)[1] == "deadline_exceeded"
    assert edit(client, deadline="60").json()["data"][0]["finished"]
