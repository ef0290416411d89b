"""The tools over stdin and stdout make what the library and the command make, bit for bit."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.mcp_server.fields import OF_FOLDERS
from mdp_lite.mcp_server.tools import TOOLS, describe_scope, list_tools
from mdp_lite.pictures.images import read_settings
from support.inverting import picture
from support.mcp_clients import ToolClient, pictures_of, to_text

PICTURE, STEPS = picture(), 3
SOURCE = {"source_prompt": "a red house", "num_inference_steps": STEPS}
MAKERS = ("edit_picture", "generate_picture", "invert_picture", "sweep_edits")


def test_every_tool_says_what_it_takes_and_answers(stdio: ToolClient) -> None:
    tools = {tool.name: tool for tool in stdio.run(stdio.client.list_tools()).tools}
    assert set(tools) == {one.name for one in TOOLS} >= set(MAKERS)
    for name, tool in tools.items():
        for schema in (tool.input_schema, tool.output_schema):
            jsonschema.Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
        assert tool.title and len(tool.description) > 40
        assert tool.input_schema["additionalProperties"] is False
        assert all(one.get("description") for one in tool.input_schema["properties"].values())
        notes = tool.annotations
        assert notes.open_world_hint is False
        assert notes.read_only_hint == (name in ("describe_model", "list_sources", "sweep_edits"))
        assert notes.destructive_hint == (name == "drop_source")
        assert notes.idempotent_hint == (name not in MAKERS)
    assert "source_prompt" in tools["edit_picture"].description


def test_without_a_folder_no_tool_takes_a_path(editor: Editor) -> None:
    for tool in list_tools(editor, False):
        assert not set(OF_FOLDERS) & set(tool.input_schema["properties"])
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint == (tool.name != "drop_source")


def test_descriptions_say_what_the_bundled_model_can_draw(editor: Editor) -> None:
    tiny = Editor.from_pretrained("tiny", device="cpu")
    said = {tool.name: tool.description or "" for tool in list_tools(tiny, False)}
    for name in MAKERS:
        assert "64x64 pixels" in said[name] and "house, in, left" in said[name]
    assert describe_scope(editor) == "The model's pictures are 32x32 pixels."


def test_an_edit_has_the_pixels_of_the_command(
    stdio: ToolClient, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    PICTURE.save(pictures / "photo.png")
    out, how = tmp_path / "out.png", ["--steps", str(STEPS), "--strength", "0.7"]
    words = ["--source-prompt", "a red house", "--prompt", "a blue boat", "-o", str(out)]
    model = ["--model", str(checkpoint), "--device", "cpu", "--quiet"]
    assert main(["edit", str(pictures / "photo.png"), *words, *how, *model]) == 0
    more = SOURCE | {"prompt": "a blue boat", "strength": 0.7}
    by_path = stdio.make("edit_picture", image_path="photo.png", save_as="new.png", **more)
    by_text = stdio.make("edit_picture", image=to_text(PICTURE), **more)
    by_url = stdio.make(
        "edit_picture", image=f"data:image/png;base64,{to_text(PICTURE)}", **more
    )  # fmt: skip
    want = Image.open(out)
    for answer in (by_path, by_text, by_url):
        (image,) = pictures_of(answer)
        assert image.tobytes() == want.tobytes() and image.size == PICTURE.size
    assert by_path.structured_content["saved_as"] == str(pictures / "new.png")
    assert Image.open(pictures / "new.png").tobytes() == want.tobytes()
    settings, named = read_settings(pictures / "new.png"), read_settings(out)
    assert {**settings, "model": ""} == {**named, "model": ""}


def test_a_picture_is_inverted_once_and_edited_often(stdio: ToolClient, editor: Editor) -> None:
    source = editor.invert(PICTURE, "a red house", num_inference_steps=STEPS)
    first = stdio.make("invert_picture", image=to_text(PICTURE), **SOURCE)
    back = source.fit.undo(source.image, source.picture)
    assert pictures_of(first)[0].tobytes() == back.tobytes()
    name, spent = first.structured_content["source"], first.structured_content["cost"]
    assert spent["unet_rows"] == source.cost.unet_rows
    for prompt, variant in (("a blue boat", "epsilon"), ("a cat", "x"), ("a dog", "beta")):
        want = editor.edit(source, prompt, variant)
        answer = stdio.make("edit_picture", source=name, prompt=prompt, variant=variant)
        (image,), said = pictures_of(answer), answer.structured_content
        assert image.tobytes() == want.picture.tobytes()
        assert said["source"] == name and said["settings"]["variant"] == variant
        assert said["cost"] == {
            "unet_rows": want.cost.unet_rows, "unet_calls": want.cost.unet_calls
        }  # fmt: skip


def test_a_generated_picture_is_the_librarys(stdio: ToolClient, editor: Editor) -> None:
    how = {"seed": 5, "num_inference_steps": STEPS, "guidance_scale": 3.0}
    for noisy in (False, True):
        want = editor.generate("a red house", record_noise=noisy, **how)
        answer = stdio.make("generate_picture", prompt="a red house", record_noise=noisy, **how)
        assert pictures_of(answer)[0].tobytes() == want.image.tobytes()
        name = answer.structured_content["source"]
        edited = stdio.make("edit_picture", source=name, prompt="a blue boat")
        again = editor.edit(want, "a blue boat").picture
        assert pictures_of(edited)[0].tobytes() == again.tobytes()
    random = [stdio.make("generate_picture", prompt="a", num_inference_steps=1) for _ in range(2)]
    seeds = [one.structured_content["seed"] for one in random]
    assert seeds[0] != seeds[1]


def test_a_sweep_is_the_librarys(stdio: ToolClient, editor: Editor) -> None:
    source = editor.generate("a red house", 5, STEPS)
    axes = {"prompts": ["a boat", "a cat"], "variants": ["epsilon", "c"], "windows": [[2, 1], None]}
    made = stdio.make(
        "generate_picture", prompt="a red house", seed=5, num_inference_steps=STEPS
    ).structured_content  # fmt: skip
    answer = stdio.make("sweep_edits", source=made["source"], **axes)
    windows = [(2, 1), (None, None)]
    want = editor.sweep(source, axes["prompts"], axes["variants"], windows, max_rows=0)
    images = pictures_of(answer)
    assert [one.tobytes() for one in images] == [one.picture.tobytes() for one in want.edits]
    said = answer.structured_content
    assert len(images) == len(said["pictures"]) == 8
    assert said["cost"]["unet_rows"] == want.cost.unet_rows
    assert [one["settings"]["prompt"] for one in said["pictures"]] == [e.prompt for e in want.edits]


def test_null_rows_are_left_out_as_by_the_library(stdio: ToolClient, editor: Editor) -> None:
    source = editor.generate("a red house", 5, 6, record_direction=True)
    how = {"seed": 5, "num_inference_steps": 6, "record_direction": True}
    name = stdio.make("generate_picture", prompt="a red house", **how).structured_content["source"]
    want = editor.edit(source, "a blue boat", guidance_every=2)
    edited = stdio.make("edit_picture", source=name, prompt="a blue boat", guidance_every=2)
    sweep = stdio.make("sweep_edits", source=name, prompts=["a blue boat"], guidance_every=2)
    for answer in (edited, sweep):
        assert pictures_of(answer)[0].tobytes() == want.picture.tobytes()
        assert answer.structured_content["cost"]["unet_rows"] == want.cost.unet_rows
    inverted = stdio.make(
        "invert_picture", image=to_text(PICTURE), num_inference_steps=2, record_direction=True
    )
    assert inverted.structured_content["settings"]["record_direction"] is True


@pytest.mark.parametrize("by", ["mask", "mask_path"])
def test_only_the_white_of_a_mask_changes(stdio: ToolClient, pictures: Path, by: str) -> None:
    mask = Image.new("L", PICTURE.size)
    mask.paste(255, (0, 0, PICTURE.width // 2, PICTURE.height))
    mask.save(pictures / "mask.png")
    given = {"mask": to_text(mask), "mask_path": "mask.png"}[by]
    more = SOURCE | {"image": to_text(PICTURE), "prompt": "a blue boat", by: given}
    (image,) = pictures_of(stdio.make("edit_picture", **more))
    right = (PICTURE.width // 2, 0, *PICTURE.size)
    assert image.crop(right).tobytes() == PICTURE.crop(right).tobytes()
    assert image.tobytes() != PICTURE.tobytes()


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_an_answer_can_be_smaller_than_a_png(stdio: ToolClient, kind: str) -> None:
    answer = stdio.make(
        "generate_picture", prompt="a", seed=1, num_inference_steps=1, output_format=kind
    )
    assert answer.content[0].mime_type == f"image/{kind}"  # type: ignore[union-attr]
    assert pictures_of(answer)[0].format == kind.upper()


def test_the_text_of_an_answer_is_its_structured_content(stdio: ToolClient) -> None:
    answer: Any = stdio.make("describe_model")
    (text,) = answer.content
    assert json.loads(text.text) == answer.structured_content
    assert answer.structured_content["size"] == "32x32"
    assert answer.structured_content["limits"]["steps"] == 200


def test_sources_are_listed_and_dropped(stdio: ToolClient) -> None:
    made = stdio.make("generate_picture", prompt="a cat", seed=3, num_inference_steps=1)
    name = made.structured_content["source"]
    there = stdio.make("list_sources").structured_content["sources"]
    (one,) = [one for one in there if one["source"] == name]
    assert (one["prompt"], one["seed"], one["num_inference_steps"]) == ("a cat", 3, 1)
    assert 0 < one["expires_in"] <= 3600
    assert stdio.make("drop_source", source=name).structured_content["dropped"]
    for tool, more in (("drop_source", {}), ("edit_picture", {"prompt": "a"})):
        assert stdio.refuse(tool, source=name, **more).startswith(f"no source '{name}' here")
