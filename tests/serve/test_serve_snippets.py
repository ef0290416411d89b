"""Programs as users of the SDKs write them: only the address, the key and file names are ours."""

import asyncio
import base64
import builtins
import doctest
import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import openai
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from openai import AsyncOpenAI
from openai.resources.images import Images

from mdp_lite.editor import Editor
from mdp_lite.serve.fields import EditFields, GenerationFields, IgnoredFields
from mdp_lite.serve.settings import Limits
from support.inverting import picture
from support.openai_cases import catch_error
from support.serving import KEY, RunningService, read_image, run_service

STEPS = 4  # of the model by default, as the programs can't say it
REFUSED = {"markup"}  # with a why: test_serve_clients.py sends it
FILES = {"image", "mask"}
OF_CLIENT = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}
OPENED: list[Any] = []
PROMPT = "A red house with a blue door, drawn for a children's book"


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    defaults = replace(editor.models.defaults, num_inference_steps=STEPS)
    quick = Editor(replace(editor.models, defaults=defaults), editor.device)
    with run_service(quick, keys=(KEY,), limits=Limits(side=256)) as one:
        yield one


@pytest.fixture
def folder(at: RunningService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a program, and its environment, which has the address and the key."""
    monkeypatch.setenv("OPENAI_BASE_URL", f"{at.url}/v1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # this machine's server
    monkeypatch.chdir(tmp_path)
    for name in ("house", "lotion", "candle", "sunlit"):
        picture().save(f"{name}.png")
    picture().save("cat.jpg")
    mask = picture().convert("RGBA")
    mask.putalpha(0)
    mask.save("mask.png")
    yield tmp_path
    while OPENED:
        OPENED.pop().close()


def OpenAI(**how: Any) -> openai.OpenAI:
    """A client, which programs do not close; the test does."""
    OPENED.append(openai.OpenAI(**how))
    return OPENED[-1]


def open(name: str, mode: str) -> BinaryIO:
    """The builtin one; programs leave the file open, and the test closes it."""
    OPENED.append(builtins.open(name, "rb"))
    assert mode == "rb"
    return OPENED[-1]


def save(text: str | None, name: str) -> None:
    """What every program of OpenAI's pages does with a picture."""
    assert text
    Path(name).write_bytes(base64.b64decode(text))
    assert read_image(Path(name).read_bytes()).size


def generate_plain() -> None:
    client = OpenAI()
    result = client.images.generate(model="gpt-image-1", prompt=PROMPT)
    save(result.data[0].b64_json, "house.png")  # type: ignore[index]


def generate_with_all() -> None:
    client = OpenAI()
    result = client.images.generate(
        model="gpt-image-1.5", prompt=PROMPT, size="256x256", quality="high", n=2,
        background="opaque", output_format="webp", output_compression=50, moderation="low",
        user="user-1234",
    )  # fmt: skip
    assert result.data and len(result.data) == 2 and result.usage
    save(result.data[1].b64_json, "house.webp")


def generate_as_dalle() -> None:
    client = OpenAI()
    response = client.images.generate(
        model="dall-e-3", prompt=PROMPT, size="256x256", quality="standard", style="vivid", n=1,
        response_format="b64_json",
    )  # fmt: skip
    save(response.data[0].b64_json, "house.png")  # type: ignore[index]


def generate_in_parts() -> None:
    client = OpenAI()
    stream = client.images.generate(
        prompt=PROMPT, model="gpt-image-1", stream=True, partial_images=1
    )
    kinds = []
    for event in stream:
        kinds.append(event.type)
        save(event.b64_json, f"part{len(kinds)}.png")
    assert kinds == ["image_generation.partial_image", "image_generation.completed"]


def edit_one() -> None:
    client = OpenAI()
    with open("house.png", "rb") as image:
        result = client.images.edit(model="gpt-image-1", image=image, prompt=PROMPT)
    save(result.data[0].b64_json, "edited.png")  # type: ignore[index]


def edit_several() -> None:
    client = OpenAI()
    result = client.images.edit(
        model="gpt-image-1",
        image=[open(f"{one}.png", "rb") for one in ("house", "lotion", "candle")],
        prompt="Generate a photorealistic image of a gift basket",
    )
    assert result.data and len(result.data) == 3  # one for each, where OpenAI joins them
    save(result.data[0].b64_json, "gift-basket.png")


def edit_with_mask() -> None:
    client = OpenAI()
    result = client.images.edit(
        model="gpt-image-1", image=open("sunlit.png", "rb"), mask=open("mask.png", "rb"),
        prompt="A sunlit indoor lounge area with a pool", input_fidelity="high",
    )  # fmt: skip
    save(result.data[0].b64_json, "lounge.png")  # type: ignore[index]


def edit_as_dalle() -> None:
    client = OpenAI()
    response = client.images.edit(
        model="dall-e-2", image=open("sunlit.png", "rb"), mask=open("mask.png", "rb"), n=1,
        prompt="A sunlit indoor lounge area", size="256x256", response_format="b64_json",
    )  # fmt: skip
    save(response.data[0].b64_json, "lounge.png")  # type: ignore[index]


def edit_in_parts() -> None:
    client = OpenAI()
    stream = client.images.edit(
        model="gpt-image-1", image=[open("house.png", "rb")], prompt=PROMPT, stream=True,
        partial_images=1,
    )  # fmt: skip
    kinds = [event.type for event in stream]
    assert kinds == ["image_edit.partial_image", "image_edit.completed"]


def edit_paths_and_tuples() -> None:
    client = OpenAI()
    named = ("house.png", Path("house.png").read_bytes(), "image/png")
    for image in (Path("house.png"), Path("house.png").read_bytes(), named):
        assert client.images.edit(image=image, prompt=PROMPT).data


def use_raw_responses() -> None:
    client = OpenAI()
    response = client.images.with_raw_response.generate(prompt=PROMPT, model="gpt-image-1")
    assert response.headers["x-request-id"] and response.parse().data
    with client.images.with_streaming_response.edit(
        image=open("house.png", "rb"), prompt=PROMPT
    ) as streamed:
        assert streamed.headers["server-timing"]
        assert b"b64_json" in b"".join(streamed.iter_bytes())


def use_the_async_client() -> None:
    async def main() -> None:
        async with AsyncOpenAI() as client:
            made = await client.images.generate(model="gpt-image-1", prompt=PROMPT)
            save(made.data[0].b64_json, "house.png")  # type: ignore[index]
            image = open("house.png", "rb")
            stream = await client.images.edit(
                image=image, prompt=PROMPT, stream=True, partial_images=2
            )
            assert [event.type async for event in stream][-1] == "image_edit.completed"
            raw = await client.images.with_raw_response.generate(prompt=PROMPT)
            assert (await _resolve(raw.parse())).data

    asyncio.run(main())


async def _resolve(value: Any) -> Any:
    """The parsed answer, which some versions of the SDK give at once."""
    return await value if inspect.isawaitable(value) else value


def catch_errors() -> None:
    client = OpenAI(max_retries=0)
    try:
        client.images.generate(prompt="")
    except openai.BadRequestError as error:
        assert error.param == "prompt" and error.request_id
    try:
        OpenAI(api_key="sk-wrong").images.generate(prompt=PROMPT)
    except openai.AuthenticationError as error:
        assert error.status_code == 401


PROGRAMS: list[Callable[[], None]] = [
    generate_plain, generate_with_all, generate_as_dalle, generate_in_parts, edit_one,
    edit_several, edit_with_mask, edit_as_dalle, edit_in_parts, edit_paths_and_tuples,
    use_raw_responses, use_the_async_client, catch_errors,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda one: one.__name__)
def test_programs(folder: Path, program: Callable[[], None]) -> None:
    program()


@pytest.mark.parametrize(
    ("call", "ours"), [(Images.edit, EditFields), (Images.generate, GenerationFields)]
)
def test_each_keyword_of_the_sdk_is_read_ignored_or_refused(
    call: Callable[..., Any], ours: type[EditFields | GenerationFields]
) -> None:
    read = (set(ours.model_fields) - set(IgnoredFields.model_fields)) | FILES
    known = read | set(IgnoredFields.model_fields) | REFUSED | OF_CLIENT
    new = set(inspect.signature(call).parameters) - known
    assert not new, (
        f"openai {openai.__version__}: images.{call.__name__} has {sorted(new)}: read it, list it "
        "in IgnoredFields with the reason, or refuse it with a why"
    )
    assert not (read & REFUSED)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_variations_are_refused_with_a_why(folder: Path) -> None:
    client = OpenAI(max_retries=0)
    error = catch_error(lambda: client.images.create_variation(image=open("house.png", "rb")))
    assert isinstance(error, openai.NotFoundError) and "/docs" in error.message


def test_the_example_of_text_to_image(at: RunningService, folder: Path) -> None:
    """The first of its docstring, as it stands but for the address; a scheduler is refused."""
    examples = doctest.DocTestParser().get_examples(InferenceClient.text_to_image.__doc__ or "")
    code = "".join(one.source for one in examples).split("from huggingface_hub")[1]
    code = "from huggingface_hub" + code
    url = f"{at.url}/v1/text-to-image"
    assert code.count("InferenceClient()") == 1 and code.count(".text_to_image(") == 2
    own = f"InferenceClient(model={url!r}, token={KEY!r})"
    exec(code.replace("InferenceClient()", own).replace('"stabilityai/', f'"{url}" or "'), {})
    for name in ("astronaut.png", "better_astronaut.png"):
        assert read_image(Path(name).read_bytes()).size == (32, 32)


def test_every_parameter_of_text_to_image(at: RunningService, folder: Path) -> None:
    client = InferenceClient(model=f"{at.url}/v1/text-to-image", token=KEY)
    every: dict[str, Any] = {
        "negative_prompt": "blurry", "height": 64, "width": 32, "num_inference_steps": 1,
        "guidance_scale": 2.0, "seed": 3,
    }  # fmt: skip
    got = [client.text_to_image("a house", **every) for _ in range(2)]
    assert got[0].size == (32, 64) and got[0].tobytes() == got[1].tobytes()
    more = client.text_to_image("a house", extra_body={"output_format": "jpeg"}, **every)
    assert more.format == "JPEG"
    known = {"self", "prompt", "model", "scheduler", "extra_body", *every}
    new = set(inspect.signature(InferenceClient.text_to_image).parameters) - known
    assert not new, f"huggingface_hub: text_to_image has {sorted(new)}"
    for fields, param in (
        ({"scheduler": "DDIM"}, "scheduler"),
        ({"width": 32}, "height"),
        ({"height": 32}, "width"),
        ({"width": 32, "height": 32, "extra_body": {"size": "32x32"}}, "size"),
        ({"extra_body": {"n": 2}}, "n"),
        ({"extra_body": {"prompt": "b"}}, "prompt"),
    ):
        with pytest.raises(Exception, match=rf"{param} .*"):
            client.text_to_image("a house", **fields)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # its own call of httpx2
def test_the_async_client_of_hugging_face(at: RunningService, folder: Path) -> None:
    async def main() -> None:
        url = f"{at.url}/v1/image-to-image"
        async with AsyncInferenceClient(model=url, token=KEY) as client:
            made = await client.image_to_image("cat.jpg", prompt="turn the cat into a tiger")
        assert made.size == picture().size

    asyncio.run(main())
