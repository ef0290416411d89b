"""Requests as the clients' own documentation writes them: model names, nulls, every parameter."""

import base64
import doctest
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx2
import openai
import pytest
from huggingface_hub import InferenceClient
from openai import OpenAI
from openai.types.image_edit_params import ImageEditParamsNonStreaming
from openai.types.image_generate_params import ImageGenerateParamsNonStreaming
from openai.types.image_model import ImageModel

from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.commands.serve import ServeOptions
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.serve.fields import EditFields, GenerationFields, IgnoredFields
from mdp_lite.serve.ignored import HEADER
from mdp_lite.serve.options import read_settings
from mdp_lite.serve.settings import ServiceSettings, check_settings
from support.inverting import picture
from support.openai_cases import FILE, catch_error, image_of, pixels
from support.serving import WAIT, RunningService, open_client, read_image, run_service

QUICK = {"num_inference_steps": 2, "seed": 1}
NAMES = ("mdp-lite", "ORG/house-painter")
UPLOADS = {"image", "mask", "markup"}
GENERATE, EDIT = (
    get_type_hints(one) for one in (ImageGenerateParamsNonStreaming, ImageEditParamsNonStreaming)
)


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor, alias=NAMES[0], more_aliases=NAMES[1:]) as one:
        yield one


@pytest.fixture(scope="module")
def client(at: RunningService) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{at.url}/v1", api_key="none", max_retries=0, timeout=WAIT) as one:
        yield one


@pytest.fixture(scope="module")
def plain(at: RunningService) -> Iterator[httpx2.Client]:
    with open_client(at) as one:
        yield one


def list_nullable(hints: dict[str, Any]) -> list[str]:
    """The parameters that the SDK's types let be None."""
    return [name for name, hint in hints.items() if type(None) in get_args(hint)]


def ignored_in(answer: Any) -> set[str]:
    return set(answer.model_extra["ignored"])


@pytest.mark.parametrize("hints", [GENERATE, EDIT], ids=["generate", "edit"])
def test_every_parameter_of_the_sdk_is_known(hints: dict[str, Any]) -> None:
    ours = EditFields if "image" in hints else GenerationFields
    assert set(hints) - UPLOADS <= set(ours.model_fields)


def test_every_model_name_of_the_sdk_is_taken(client: OpenAI) -> None:
    names = get_args(ImageModel)
    assert len(names) > 5 and all(map(ServiceSettings().accepts, names))
    for name in (*NAMES, names[0]):
        assert client.models.retrieve(name).id == name
    assert [one.id for one in client.models.list()] == list(NAMES)


@pytest.mark.parametrize("name", ["gpt-5", "gpt-image-", "gpt-image-1 ", "xdall-e-2", "Dall-E-2"])
def test_other_names_are_not(client: OpenAI, name: str) -> None:
    assert not ServiceSettings().accepts(name)
    error = catch_error(lambda: client.images.generate(prompt="a", model=name))
    assert isinstance(error, openai.NotFoundError) and error.param == "model"
    assert all(repr(one) in error.message for one in NAMES)


def test_an_answer_says_which_model_made_it(client: OpenAI) -> None:
    for name in (None, *NAMES, "gpt-image-1"):
        answer = client.images.generate(prompt="a", model=name, extra_body=QUICK)
        assert answer.model_extra and answer.model_extra["model"] == NAMES[0]
        assert ignored_in(answer) == ({"model"} if name == "gpt-image-1" else set())


def test_openai_s_names_can_be_turned_off(editor: Editor) -> None:
    with (
        run_service(editor, openai_names=False) as at,
        OpenAI(base_url=f"{at.url}/v1", api_key="none", max_retries=0) as client,
    ):
        error = catch_error(lambda: client.images.generate(prompt="a", model="gpt-image-1"))
        assert isinstance(error, openai.NotFoundError) and "OpenAI" not in error.message
        assert catch_error(lambda: client.models.retrieve("gpt-image-1")).status_code == 404


@pytest.mark.parametrize("more", [("a b",), ("",), ("mdp-lite",), ("a\n",), ("é",)])
def test_bad_aliases_are_refused(more: tuple[str, ...]) -> None:
    with pytest.raises(BadInput, match="alias must be"):
        check_settings(ServiceSettings(more_aliases=more))


def test_none_is_the_default_of_each_parameter(client: OpenAI) -> None:
    """A request with all of the SDK's nullable parameters at None is one without them."""
    want = client.images.generate(prompt="a", extra_body=QUICK)
    nulls: dict[str, Any] = dict.fromkeys(list_nullable(GENERATE))
    assert {"n", "size", "model", "quality", "frame_count"} <= set(nulls)
    got = client.images.generate(prompt="a", **nulls, extra_body=QUICK)
    assert (
        want.data and got.data and pixels(image_of(got.data[0])) == pixels(image_of(want.data[0]))
    )
    assert ignored_in(got) == set()
    edited = client.images.edit(image=FILE, prompt="a", extra_body=QUICK)
    nulls = dict.fromkeys(list_nullable(EDIT))
    again = client.images.edit(image=FILE, prompt="a", **nulls, extra_body=QUICK)
    assert edited.data and again.data
    assert pixels(image_of(again.data[0])) == pixels(image_of(edited.data[0]))


def test_null_is_the_default_of_each_field_of_ours(plain: httpx2.Client) -> None:
    fields = (
        dict.fromkeys(set(GenerationFields.model_fields) - {"prompt"}) | {"prompt": "a"} | QUICK
    )
    assert plain.post("/v1/images/generations", json=fields).status_code == 200
    data = {name: "" for name in EditFields.model_fields if name not in ("prompt", *QUICK)}
    body = data | {"prompt": "a"} | {name: str(value) for name, value in QUICK.items()}
    answer = plain.post("/v1/images/edits", data=body, files={"image": FILE, "mask": ("", b"")})
    assert answer.status_code == 200, answer.text
    assert answer.json()["ignored"] == {}
    source = plain.post("/v1/sources", data={"source_prompt": "a", "num_inference_steps": "2"})
    sweep = {"source": source.json()["id"], "prompts": ["a"], "windows": [None], "variants": None}
    sweep |= {"schedules": [None], "guidance_scales": None, "model": None}
    assert plain.post("/v1/sweeps", json=sweep).status_code == 200
    path = f"/v1/sources/{sweep['source']}/edits"
    nulls = {"prompt": "b", "n": None, "size": None, "strength": None}
    assert plain.post(path, json=nulls).status_code == 200
    missing = plain.post(path, json={"prompt": None}).json()["error"]
    assert (missing["param"], missing["code"]) == ("prompt", "missing_required_parameter")


CALLS: list[tuple[dict[str, Any], set[str]]] = [
    ({"model": "gpt-image-1"}, {"model"}),
    (
        {"model": "gpt-image-1.5", "quality": "auto", "background": "opaque",
         "output_format": "jpeg", "output_compression": 50},
        {"model"},
    ),
    ({"model": "dall-e-3", "size": "64x64", "n": 1, "response_format": "b64_json"}, {"model"}),
    (
        {"user": "user-1234", "safety_identifier": "5f4dcc", "complexity": "low"},
        {"user", "safety_identifier", "complexity"},
    ),
    ({"frame_count": 9, "frame_duration_ms": 200}, {"frame_count", "frame_duration_ms"}),
    ({"svg": {"model": "m", "reasoning": {"effort": "low"}}}, {"svg"}),
    ({"output_compression": 80}, {"output_compression"}),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "ignored"), CALLS)
def test_what_says_nothing_is_ignored_and_listed(
    client: OpenAI, fields: dict[str, Any], ignored: set[str]
) -> None:
    made = client.images.with_raw_response.generate(prompt="a", **fields, extra_body=QUICK)
    edited = client.images.with_raw_response.edit(
        image=FILE, prompt="a", **fields, extra_body=QUICK
    )
    for answer in (made, edited):
        reasons = answer.parse().model_extra["ignored"]  # type: ignore[index]
        assert set(reasons) == ignored and all(reasons.values())
        assert set(answer.headers.get(HEADER, "").split(", ")) == ignored


def test_those_of_one_call_alone(client: OpenAI) -> None:
    made = client.images.generate(prompt="a", style="vivid", moderation="low", extra_body=QUICK)
    assert ignored_in(made) == {"style", "moderation"}
    edited = client.images.edit(image=FILE, prompt="a", input_fidelity="high", extra_body=QUICK)
    assert ignored_in(edited) == {"input_fidelity"}


def test_sources_and_sweeps_list_them_too(plain: httpx2.Client) -> None:
    data = {"source_prompt": "a", "num_inference_steps": "2", "model": "gpt-image-1"}
    made = plain.post("/v1/sources", data=data)
    assert set(made.json()["ignored"]) == {"model"} and made.headers[HEADER] == "model"
    path, name = f"/v1/sources/{made.json()['id']}/edits", "gpt-image-2"
    edited = plain.post(path, json={"prompt": "a", "model": name, "quality": ["high"]})
    assert set(edited.json()["ignored"]) == {"model", "quality"}
    sweep = {"source": made.json()["id"], "prompts": ["a"], "model": name, "output_compression": 9}
    swept = plain.post("/v1/sweeps", json=sweep)
    assert set(swept.json()["ignored"]) == {"model", "output_compression"}


def test_aliases_of_the_command_line() -> None:
    def read(*words: str) -> ServiceSettings:
        options = read_command_line(["serve", *words])
        assert isinstance(options, ServeOptions)
        return read_settings(options)

    assert read().names == ("mdp-lite",) and read().openai_names
    both = read("--alias", "a", "--alias", "ORG/b", "--no-openai-names")
    assert both.names == ("a", "ORG/b") and not both.openai_names
    assert both.accepts("ORG/b") and not both.accepts("gpt-image-1")


def test_a_stream_lists_them_at_its_end(client: OpenAI) -> None:
    *_, last = client.images.generate(
        prompt="a", model="gpt-image-1", moderation="low", stream=True, extra_body=QUICK
    )
    assert ignored_in(last) == {"model", "moderation"}


@pytest.mark.parametrize(
    ("word", "quality", "answer"),
    [
        ("low", "draft", "low"),
        ("medium", "standard", "medium"),
        ("high", "best", "high"),
        ("hd", "best", "high"),
        ("auto", None, "auto"),
    ],
)
def test_openai_s_words_for_quality_choose_the_steps(
    client: OpenAI, editor: Editor, word: Any, quality: str | None, answer: str
) -> None:
    *_, last = client.images.generate(
        prompt="a", quality=word, stream=True, size="64x64", extra_body={"seed": 1}
    )
    steps = editor.models.defaults.steps_of(quality)
    assert last.quality == answer and ignored_in(last) == set()
    picture = read_image(base64.b64decode(last.b64_json or ""))
    assert json.loads(picture.info["mdp_lite"])["num_inference_steps"] == steps


def test_each_ignored_field_has_a_reason() -> None:
    for name, field in IgnoredFields.model_fields.items():
        assert field.description and field.description.startswith("ignored: "), name


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"background": "transparent"}, "no picture is transparent"),
        ({"response_format": "url"}, "pictures are in the answer"),
        ({"output_format": "gif"}, "no animation"),
        ({"output_format": "svg"}, "no animation or drawing"),
    ],
)
def test_what_would_change_the_picture_is_refused(
    client: OpenAI, fields: dict[str, Any], why: str
) -> None:
    for call in (
        lambda: client.images.generate(prompt="a", **fields),
        lambda: client.images.edit(image=FILE, prompt="a", **fields),
    ):
        error = catch_error(call)
        ((name, value),) = fields.items()
        assert error.status_code == 400 and error.param == name
        assert why in error.message and repr(value) in error.message
    error = catch_error(lambda: client.images.edit(image=FILE, prompt="a", markup=FILE))
    assert error.param == "markup" and "mask says where" in error.message


def test_the_example_of_hugging_face_s_client(
    editor: Editor, at: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one in its docstring, as it stands but for the address."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # this machine's server
    monkeypatch.chdir(tmp_path)
    picture().save("cat.jpg", quality=95)
    examples = doctest.DocTestParser().get_examples(InferenceClient.image_to_image.__doc__ or "")
    code = "".join(one.source for one in examples)
    assert code.count("InferenceClient()") == 1 and "image_to_image(" in code
    address = f"InferenceClient(model={f'{at.url}/v1/image-to-image'!r})"
    exec(code.replace("InferenceClient()", address), {})
    assert read_image(Path("tiger.jpg").read_bytes()).size == picture().size


def test_that_client_s_other_forms(at: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    client = InferenceClient(model=f"{at.url}/v1/image-to-image")
    size: Any = {"width": 64, "height": 32}
    got = client.image_to_image(
        FILE, "a", negative_prompt=None, num_inference_steps=2, target_size=size
    )
    assert got.size == (64, 32)
    with pytest.raises(Exception, match="prompt is required"):
        client.image_to_image(FILE)  # it sends the file alone
    with pytest.raises(Exception, match="prompt is required"):
        client.image_to_image(FILE, num_inference_steps=2)
