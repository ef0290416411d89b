"""Nothing is ignored in silence, and an error says which field is wrong and what it must be."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.serve.ignored import HEADER
from mdp_lite.serve.settings import Limits
from support.inverting import picture
from support.serving import file_of, open_client, run_service

FILE = file_of(picture())
MASK = file_of(Image.new("L", picture().size, 255))
STEPS = {"num_inference_steps": 2}
GENERATE, EDIT, INFER = "/v1/images/generations", "/v1/images/edits", "/v1/image-to-image"
Case = tuple[dict[str, Any], str, str]


@pytest.fixture(scope="module")
def client(editor: Editor) -> Iterator[httpx2.Client]:
    with run_service(editor, limits=Limits(images=3)) as at, open_client(at) as one:
        yield one


@pytest.fixture(scope="module")
def source(client: httpx2.Client) -> str:
    data = {"source_prompt": "a", "num_inference_steps": "2"}
    return client.post("/v1/sources", data=data).json()["id"]


def edit(client: httpx2.Client, files: Any = None, **fields: Any) -> httpx2.Response:
    data = {name: str(value) for name, value in ({"prompt": "a"} | STEPS | fields).items()}
    return client.post(EDIT, data=data, files=files or {"image": FILE})


def infer(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    body = {"inputs": base64.b64encode(FILE).decode(), "parameters": {"prompt": "a"} | STEPS}
    body["parameters"] |= fields
    return client.post(INFER, json=body)


def check_refused(answer: httpx2.Response, param: str | None, text: str) -> None:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == param, error
    assert text in error["message"] and "\n" not in error["message"]


def test_a_mask_beside_a_mask_that_is_found(client: httpx2.Client) -> None:
    both = {"image": FILE, "mask": MASK}
    check_refused(edit(client, both, mask_auto=True), "mask_auto", "give one of them")
    assert edit(client, both, mask_auto=False).status_code == 200


def test_a_feather_without_a_mask(client: httpx2.Client, source: str) -> None:
    path = f"/v1/sources/{source}/edits"
    for answer in (
        edit(client, feather=3),
        infer(client, feather=3),
        client.post(path, json={"prompt": "a", "feather": 3}),
        client.post(GENERATE, json={"prompt": "a", "edit_prompt": "b", "feather": 3}),
    ):
        check_refused(answer, "feather", "mask")
    assert edit(client, {"image": FILE, "mask": MASK}, feather=3).status_code == 200
    assert client.post(path, json={"prompt": "a", "feather": 0}).status_code == 200


def test_a_size_of_a_source_s_edit(client: httpx2.Client, source: str) -> None:
    path = f"/v1/sources/{source}/edits"
    own = client.get(f"/v1/sources/{source}").json()["size"]
    other = client.post(path, json={"prompt": "a", "size": "64x32"})
    check_refused(other, "size", f"size must be {own}, which the source has, or auto, got 64x32")
    for size in (own, "auto"):
        answer = client.post(path, json={"prompt": "a", "size": size})
        assert answer.status_code == 200 and answer.json()["size"] == own


@pytest.mark.parametrize(
    "fields",
    [{"n": 2}, {"stream": True}, {"partial_images": 1}, {"response_format": "b64_json"}],
)
def test_fields_of_json_where_the_answer_is_a_file(
    client: httpx2.Client, fields: dict[str, Any]
) -> None:
    (name,) = fields
    check_refused(infer(client, **fields), name, "here the answer is one picture's file")


def test_a_file_s_answer_lists_what_is_ignored_in_a_header(client: httpx2.Client) -> None:
    assert infer(client, n=1, stream=False).headers.get(HEADER) is None
    assert infer(client, style="vivid", user="me").headers[HEADER] == "user, style"
    body = {"inputs": base64.b64encode(FILE).decode(), "options": {"use_cache": False}}
    answer = client.post(INFER, json=body | {"parameters": {"prompt": "a"} | STEPS})
    assert answer.headers[HEADER] == "options"


@pytest.mark.parametrize(
    "fields",
    [
        {"strength": 0.3}, {"variant": "x"}, {"t_max": 2}, {"mask_auto": True}, {"feather": 2},
        {"record_noise": True}, {"weight": 0.5},
    ],
)  # fmt: skip
def test_what_steers_an_edit_where_there_is_none(
    client: httpx2.Client, fields: dict[str, Any]
) -> None:
    (name,) = fields
    answer = client.post(GENERATE, json={"prompt": "a"} | STEPS | fields)
    check_refused(answer, name, "give edit_prompt")


def test_what_a_source_of_the_other_kind_reads(client: httpx2.Client) -> None:
    def post(data: dict[str, str], files: Any = None) -> httpx2.Response:
        return client.post("/v1/sources", data=data | {"num_inference_steps": "2"}, files=files)

    prompt = {"source_prompt": "a"}
    check_refused(post(prompt | {"inversion": "ddim"}), "inversion", "give image")
    check_refused(post(prompt | {"fit": "pad"}), "fit", "give image")
    check_refused(post(prompt, {"mask": MASK}), "mask", "is for an edit")
    check_refused(post(prompt, {"image": FILE, "mask": MASK}), "mask", "is for an edit")
    check_refused(post({"record_noise": "1"}, {"image": FILE}), "record_noise", "leave out image")
    check_refused(post({}), "source_prompt", "must say what to make")
    assert post({}, {"image": FILE}).status_code == 200  # a picture may have no prompt


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"inversion": "replay", "seed": 3}, "seed"),
        ({"strength": 0.5, "t_m": 1}, "strength"),
        ({"quality": "draft"}, "quality"),
    ],
)
def test_fields_that_exclude_each_other(
    client: httpx2.Client, fields: dict[str, Any], param: str
) -> None:
    check_refused(edit(client, **fields), param, "")


def test_a_field_that_is_given_twice(client: httpx2.Client) -> None:
    form = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % part
        for part in (
            (b"prompt", b"", b"a"), (b"seed", b"", b"1"), (b"seed", b"", b"2"),
            (b"image", b'; filename="a"', FILE),
        )
    )  # fmt: skip
    head = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post(EDIT, content=form + b"--x--\r\n", headers=head)
    check_refused(answer, "seed", "must be given once")
    head = {"content-type": "application/x-www-form-urlencoded"}
    answer = client.post("/v1/sources", content=b"source_prompt=a&source_prompt=b", headers=head)
    check_refused(answer, "source_prompt", "must be given once")
    head = {"content-type": "application/json"}
    answer = client.post(GENERATE, content=b'{"prompt": "a", "prompt": "b"}', headers=head)
    check_refused(answer, "prompt", "must be given once")


def test_a_field_in_the_address(client: httpx2.Client) -> None:
    for path in (GENERATE, INFER):
        check_refused(client.post(f"{path}?seed=3", json={"prompt": "a"}), "seed", "in the body")
    check_refused(client.post(f"{EDIT}?seed=3", files={"image": FILE}), "seed", "in the body")


@pytest.mark.parametrize("prompt", ["", " ", "\n\t"])
def test_an_empty_prompt_is_refused_as_on_the_page(
    client: httpx2.Client, source: str, prompt: str
) -> None:
    check_refused(edit(client, prompt=prompt), "prompt", "must say what the picture is to show")
    for path, body, param in (
        (GENERATE, {"prompt": prompt}, "prompt"),
        (GENERATE, {"prompt": "a", "edit_prompt": prompt}, "edit_prompt"),
        (f"/v1/sources/{source}/edits", {"prompt": prompt}, "prompt"),
        ("/v1/sweeps", {"source": source, "prompts": ["a", prompt]}, "prompts.1"),
    ):
        answer = client.post(path, json=body)
        check_refused(answer, param, "must say what the picture is to show, got nothing")
    check_refused(infer(client, prompt=prompt), "prompt", "must say what")


@pytest.mark.parametrize(
    ("size", "want"),
    [
        ("64x", "WIDTHxHEIGHT"), ("x64", "WIDTHxHEIGHT"), ("64", "WIDTHxHEIGHT"),
        ("big", "WIDTHxHEIGHT"), ("64x64x64", "WIDTHxHEIGHT"), ("-64x64", "WIDTHxHEIGHT"),
        ("64X64", "WIDTHxHEIGHT"), ("auto\n", "WIDTHxHEIGHT"), ("33x32", "multiples of"),
    ],
)  # fmt: skip
def test_a_size_that_is_none(client: httpx2.Client, size: str, want: str) -> None:
    answer = client.post(GENERATE, json={"prompt": "a", "size": size})
    check_refused(answer, "size", want)
    message = answer.json()["error"]["message"]
    assert "auto" in message and "got" in message and "pattern" not in message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": "many"}, "n must be a valid integer, got 'many'"),
        ({"n": 0}, "n must be greater than or equal to 1, got 0"),
        ({"fit": "stretch"}, "fit must be 'crop', 'pad' or 'resize', got 'stretch'"),
        ({"stream": "maybe"}, "stream must be a valid boolean, got 'maybe'"),
        ({"strenght": 1}, "strenght is not a parameter of this request: did you mean strength?"),
    ],
)
def test_an_error_says_what_it_wants_and_what_it_got(
    client: httpx2.Client, fields: dict[str, Any], message: str
) -> None:
    (name,) = fields
    answer = client.post(INFER, json={"inputs": "", "parameters": {"prompt": "a"} | fields})
    check_refused(answer, name, message)


def test_more_pictures_than_allowed(client: httpx2.Client) -> None:
    for count in (4, 6, 20):
        answer = edit(client, [("image[]", FILE)] * count)
        check_refused(answer, "image", f"at most 3 image files, got {count}")
    two = [("image", FILE), ("mask", MASK), ("mask", MASK)]
    check_refused(edit(client, two), "mask", "at most 1 mask files, got 2")
    many = edit(client, [("image[]", ("a", b"x"))] * 100)
    assert many.status_code == 400 and "files" in many.json()["error"]["message"]


def test_more_fields_than_a_request_has(client: httpx2.Client) -> None:
    more = {f"field{k}": "1" for k in range(100)}
    check_refused(edit(client, **more), "field0", "field0 is not a parameter of this request")
    flood = {f"field{k}": "1" for k in range(2000)}
    assert "fields" in edit(client, **flood).json()["error"]["message"]


@pytest.mark.parametrize("length", [2001, 70_000, 1_500_000])
def test_a_long_prompt(client: httpx2.Client, length: int) -> None:
    text = f"prompt must have at most 2000 characters, got {length}"
    check_refused(edit(client, prompt="a" * length), "prompt", text)
    body = {"prompt": "a" * length}
    check_refused(client.post(GENERATE, json=body), "prompt", text)


def test_base64_in_lines_is_read(client: httpx2.Client) -> None:
    want = infer(client, seed=1)
    parameters = {"prompt": "a", "seed": 1} | STEPS
    for text in (
        base64.encodebytes(FILE).decode(),
        base64.encodebytes(FILE).decode().replace("\n", "\r\n"),
        "data:image/png;base64," + base64.encodebytes(FILE).decode(),
    ):
        got = client.post(INFER, json={"inputs": text, "parameters": parameters})
        assert got.status_code == 200 and got.content == want.content


@pytest.mark.parametrize(
    ("body", "param", "text"),
    [
        ({}, "inputs", "a picture in base64"),
        ({"inputs": 5}, "inputs", "a picture in base64"),
        ({"inputs": "HTTPS://a.example/x.png"}, "inputs", "addresses are never fetched"),
        ({"inputs": "a house"}, "inputs", "a picture in base64"),
        ({"inputs": "", "parameters": [1]}, "parameters", "must be an object"),
        ({"inputs": "", "prompt": "a"}, "prompt", "put fields of the picture into parameters"),
        ({"inputs": "", "parameters": None}, "prompt", "prompt is required"),
    ],
)
def test_what_hugging_face_s_request_needs(
    client: httpx2.Client, body: dict[str, Any], param: str, text: str
) -> None:
    check_refused(client.post(INFER, json=body), param, text)


@pytest.mark.parametrize("size", [{"width": 64}, {"width": None, "height": 64}, {"width": "64"}])
def test_a_target_size_that_is_none(client: httpx2.Client, size: dict[str, Any]) -> None:
    check_refused(infer(client, target_size=size), "target_size", "a width and a height")
    both = infer(client, target_size={"width": 64, "height": 32}, size="32x32")
    check_refused(both, "size", "give one of them")


def test_a_picture_s_file_alone(client: httpx2.Client) -> None:
    for kind in ("image/png", "application/octet-stream", ""):
        answer = client.post(INFER, content=FILE, headers={"content-type": kind})
        check_refused(answer, "prompt", "prompt is required: send JSON with inputs")
    cut = json.dumps({"inputs": ""})[:-1].encode()
    answer = client.post(INFER, content=cut, headers={"content-type": "application/json"})
    check_refused(answer, None, "the body must be JSON")
