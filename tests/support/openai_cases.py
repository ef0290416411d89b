"""The real OpenAI SDK against a service: cases that hold on one process and on a Ray cluster.

A test module that imports them needs a fixture `client` of a service with the tiny random model and
limits of 3 images and 10 to 20 steps.
"""

import base64
from typing import Any

import openai
import pytest
from openai import OpenAI
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.pipeline.inversion_methods import Inversion
from support.inverting import picture
from support.serving import file_of, read_image

PICTURE = picture()
FILE = file_of(PICTURE)
SHORT = {"num_inference_steps": 4, "source_prompt": "a red house"}


def image_of(data: Any) -> Image.Image:
    return read_image(base64.b64decode(data.b64_json))


def pixels(image: Image.Image) -> tuple[tuple[int, int], bytes]:
    return image.size, image.convert("RGB").tobytes()


def edit_alone(
    editor: Editor, image: Image.Image, prompt: str, seed: int = 0, steps: int = 4, **how: Any
) -> Any:
    """The same edit by the library."""
    source = editor.invert(image, "a red house", Inversion("edit-friendly", seed=seed), steps)
    return pixels(editor.edit(source, prompt, **how).picture)


def test_an_edit_is_the_library_s_own(editor: Editor, client: OpenAI) -> None:
    own = SHORT | {"seed": 3}  # no other test's, which a cache might hold
    answer = client.images.edit(image=FILE, prompt="a blue boat", extra_body=own)
    assert answer.data and len(answer.data) == 1
    assert pixels(image_of(answer.data[0])) == edit_alone(editor, PICTURE, "a blue boat", 3)
    assert answer.size == "32x32" and answer.output_format == "png"
    assert answer.usage and answer.usage.total_tokens > 4
    assert answer.created > 1_700_000_000


def test_a_list_of_pictures_and_several_of_each(editor: Editor, client: OpenAI) -> None:
    other = picture(1, 40, 24)
    answer = client.images.edit(
        image=[FILE, file_of(other, "WEBP", lossless=True)], prompt="a boat", n=2, extra_body=SHORT
    )
    assert answer.data
    want = [edit_alone(editor, one, "a boat", seed) for one in (PICTURE, other) for seed in (0, 1)]
    assert [pixels(image_of(one)) for one in answer.data] == want


def test_a_mask_is_where_it_is_transparent(editor: Editor, client: OpenAI) -> None:
    mask = Image.new("RGBA", PICTURE.size, (9, 9, 9, 255))
    mask.paste((9, 9, 9, 0), (0, 0, 16, 32))
    answer = client.images.edit(image=FILE, mask=file_of(mask), prompt="a boat", extra_body=SHORT)
    assert answer.data
    got = image_of(answer.data[0])
    assert pixels(got) == edit_alone(editor, PICTURE, "a boat", mask=(0, 0, 16, 32))
    right = (16, 0, 32, 32)
    assert got.crop(right).tobytes() == PICTURE.crop(right).tobytes()


def test_every_setting_arrives(editor: Editor, client: OpenAI) -> None:
    how = {"variant": "x", "t_max": 4, "t_m": 2.5, "schedule": "cosine", "guidance_scale": 2.0}
    answer = client.images.edit(
        image=FILE, prompt="a boat", extra_body=SHORT | how | {"negative_prompt": "a house"}
    )
    assert answer.data
    source = editor.invert(PICTURE, "a red house", "edit-friendly", 4, None, "a house")
    want = editor.edit(source, "a boat", **how, negative_prompt="a house")  # type: ignore[arg-type]
    assert pixels(image_of(answer.data[0])) == pixels(want.picture)


@pytest.mark.parametrize("inversion", ["replay", "ddim", "negative-prompt", "direct"])
def test_other_inversions(editor: Editor, client: OpenAI, inversion: str) -> None:
    answer = client.images.edit(
        image=FILE, prompt="a boat", extra_body=SHORT | {"inversion": inversion}
    )
    assert answer.data
    want = editor.edit(editor.invert(PICTURE, "a red house", inversion, 4), "a boat")
    assert pixels(image_of(answer.data[0])) == pixels(want.picture)


def test_a_generation_and_one_that_is_edited_at_once(editor: Editor, client: OpenAI) -> None:
    fields = {"seed": 5, "num_inference_steps": 4}
    answer = client.images.generate(prompt="a red house", n=2, extra_body=fields)
    sources = [editor.generate("a red house", seed, 4) for seed in (5, 6)]
    assert answer.data
    assert [pixels(image_of(one)) for one in answer.data] == [pixels(s.image) for s in sources]
    answer = client.images.generate(
        prompt="a red house", extra_body=fields | {"edit_prompt": "a blue house"}
    )
    assert answer.data
    want = editor.edit(sources[0], "a blue house")
    assert pixels(image_of(answer.data[0])) == pixels(want.picture)


def test_a_size_is_the_model_s_and_the_answer_s(client: OpenAI) -> None:
    answer = client.images.edit(image=FILE, prompt="a", size="64x32", extra_body=SHORT)  # type: ignore[call-overload]
    assert answer.data and image_of(answer.data[0]).size == (64, 32) and answer.size == "64x32"
    fields = {"num_inference_steps": 2, "seed": 1}
    made = client.images.generate(prompt="a", size="32x64", extra_body=fields)  # type: ignore[call-overload]
    assert made.data and image_of(made.data[0]).size == (32, 64)


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_formats(client: OpenAI, kind: Any) -> None:
    fields = {"num_inference_steps": 2}
    answer = client.images.edit(image=FILE, prompt="a", output_format=kind, extra_body=fields)
    assert answer.data and image_of(answer.data[0]).format == kind.upper()


@pytest.mark.parametrize("partial", [0, 1, 3])
def test_a_stream_of_an_edit(editor: Editor, client: OpenAI, partial: int) -> None:
    fields = SHORT | {"num_inference_steps": 8}
    events = list(
        client.images.edit(
            image=FILE, prompt="a blue boat", stream=True, partial_images=partial, extra_body=fields
        )
    )
    kinds = [one.type for one in events]
    assert kinds == ["image_edit.partial_image"] * partial + ["image_edit.completed"]
    indices = [one.partial_image_index for one in events[:-1]]  # type: ignore[union-attr]
    assert indices == list(range(partial))
    assert all(image_of(one).size == PICTURE.size for one in events)
    assert pixels(image_of(events[-1])) == edit_alone(editor, PICTURE, "a blue boat", steps=8)
    assert events[-1].usage.total_tokens > 4  # type: ignore[union-attr]


def test_a_stream_of_a_generation(editor: Editor, client: OpenAI) -> None:
    fields = {"seed": 5, "num_inference_steps": 6}
    events = list(
        client.images.generate(prompt="a house", stream=True, partial_images=2, extra_body=fields)
    )
    kinds = [one.type for one in events]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert pixels(image_of(events[-1])) == pixels(editor.generate("a house", 5, 6).image)


def catch_error(call: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"strength": 2}, "strength", "invalid_value"),
        ({"guidance_scale": "nan"}, "guidance_scale", "invalid_value"),
        ({"num_inference_steps": 21}, "num_inference_steps", "invalid_value"),
        ({"num_inference_steps": "many"}, "num_inference_steps", "invalid_value"),
        ({"t_max": 99}, "t_max", "invalid_value"),
        ({"variant": "y"}, "variant", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"size": "33x32"}, "size", "invalid_value"),
        ({"inversion": "null-text"}, "inversion", "invalid_value"),
        ({"strenght": 0.5}, "strenght", "unknown_parameter"),
        ({"partial_images": 2}, "partial_images", "invalid_value"),
        ({"n": 11}, "n", "invalid_value"),
        ({"response_format": "url"}, "response_format", "invalid_value"),
        ({"prompt": "a" * 3000}, "prompt", "invalid_value"),
    ],
)
def test_bad_requests_name_the_field(client: OpenAI, fields: Any, param: str, code: str) -> None:
    error = catch_error(
        lambda: client.images.edit(image=FILE, prompt="a", extra_body=SHORT | fields)
    )
    assert isinstance(error, openai.BadRequestError)
    assert (error.param, error.code, error.type) == (param, code, "invalid_request_error")
    assert error.message and "\n" not in error.message


def test_errors_have_their_classes(client: OpenAI) -> None:
    body = {"image": FILE, "prompt": "a"}
    wrong = client.with_options(api_key="x" * 20)
    error = catch_error(lambda: wrong.images.edit(**body))
    assert isinstance(error, openai.AuthenticationError) and error.code == "invalid_api_key"
    error = catch_error(lambda: client.images.edit(**body, model="gpt-5"))
    assert isinstance(error, openai.NotFoundError) and error.code == "model_not_found"
    error = catch_error(lambda: client.images.edit(image=b"GIF89a", prompt="a"))
    assert isinstance(error, openai.BadRequestError) and error.code == "invalid_image"
    error = catch_error(lambda: client.images.edit(image=[FILE] * 4, prompt="a"))
    assert error.status_code == 400
    error = catch_error(lambda: client.images.edit(image=FILE + bytes(25 * 2**20), prompt="a"))
    assert error.status_code == 413 and error.code == "too_large"
    error = catch_error(lambda: client.models.retrieve("other"))
    assert isinstance(error, openai.NotFoundError)


def test_models(client: OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["mdp-lite"]
    assert client.models.retrieve("mdp-lite").id == "mdp-lite"
