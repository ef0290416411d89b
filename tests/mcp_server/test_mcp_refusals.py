"""What the tools refuse: each error is one sentence that says what was wrong and what is wanted.

The kinds: wrong types and bounds; fields that have no effect; pictures that are none or too large;
paths out of the folders by name, by link, by kind; files that would be replaced; limits.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, METHOD_NOT_FOUND
from PIL import Image

from mdp_lite.mcp_server.folders import check_new_file, open_folders, write_new_file
from mdp_lite.names import BadInput, CannotWrite
from support.inverting import picture
from support.mcp_clients import ToolClient, flat_png, open_tools, to_text
from support.serving import RunningService

TEXT = to_text(picture())
EDIT = {"image": TEXT, "prompt": "a boat"}
FIRST = "must be given: one of source, image, image_path"

BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "no prompt": ("edit_picture", {"image": TEXT}, "prompt is required"),
    "an empty prompt": ("edit_picture", EDIT | {"prompt": " "}, "prompt must say what"),
    "a long prompt": ("generate_picture", {"prompt": "a" * 2001}, "prompt must have at most 2000"),
    "no picture": ("edit_picture", {"prompt": "a"}, f"image {FIRST}"),
    "two pictures": ("edit_picture", EDIT | {"image_path": "a.png"}, f"image {FIRST}"),
    "two sources": ("edit_picture", EDIT | {"source": "src_a"}, "source is instead of a picture"),
    "a list as prompt": ("edit_picture", EDIT | {"prompt": ["a"]}, "prompt must be a valid string"),
    "an unknown field": ("edit_picture", EDIT | {"stepz": 3}, "stepz is not a parameter"),
    "a misspelt field": ("edit_picture", EDIT | {"strenght": 1},
                         "strenght is not a parameter of this request: did you mean strength?"),
    "an unknown variant": ("edit_picture", EDIT | {"variant": "y"}, "variant must be 'epsilon'"),
    "strength of 2": ("edit_picture", EDIT | {"strength": 2}, "strength must be less than"),
    "strength and t_m": ("edit_picture", EDIT | {"strength": 0.5, "t_m": 1}, "strength "),
    "no steps": ("edit_picture", EDIT | {"num_inference_steps": 0}, "num_inference_steps must be"),
    "many steps": ("generate_picture", {"prompt": "a", "num_inference_steps": 201},
                   "num_inference_steps must be at most 200, got 201"),
    "quality and steps": ("edit_picture", EDIT | {"quality": "draft", "num_inference_steps": 3},
                       "quality and num_inference_steps both say"),
    "a late deadline": ("edit_picture", EDIT | {"deadline": 1e6}, "deadline must be at most 600"),
    "no deadline": ("edit_picture", EDIT | {"deadline": 0}, "deadline must be greater than 0"),
    "a huge side": ("generate_picture", {"prompt": "a", "size": "4096x64"}, "size must be"),
    "no size": ("generate_picture", {"prompt": "a", "size": "big"}, "size must be WIDTHxHEIGHT"),
    "a format": ("generate_picture", {"prompt": "a", "output_format": "gif"},
                 "output_format must be png, jpeg or webp"),
    "a feather": ("edit_picture", EDIT | {"feather": 2}, "feather is for the edge of a mask"),
    "two masks": ("edit_picture", EDIT | {"mask": TEXT, "mask_path": "m.png"}, "mask and "),
    "mask_auto too": ("edit_picture", EDIT | {"mask": TEXT, "mask_auto": True}, "mask_auto finds"),
    "a mask's size": ("edit_picture", EDIT | {"mask": flat_png(3, 5)}, "mask must have the"),
    "no base64": ("edit_picture", EDIT | {"image": "%%%"}, "image must be a picture in base64"),
    "no picture file": ("edit_picture", EDIT | {"image": "aGVsbG8="}, "picture "),
    "an address": ("edit_picture", EDIT | {"image": "https://a.example/b.png"},
                   "image must be a picture in base64; addresses are never fetched"),
    "a bomb": ("edit_picture", EDIT | {"image": flat_png(30_000, 30_000)}, "picture "),
    "a bomb as mask": ("edit_picture", EDIT | {"mask": flat_png(30_000, 30_000)}, "mask "),
    "a web page": ("invert_picture", {"image": "data:text/html,hello"}, "image must be a picture"),
    "an unknown source": ("edit_picture", {"source": "src_a", "prompt": "a"}, "no source 'src_a'"),
    "a source's steps": ("edit_picture", {"source": "src_a", "prompt": "a", "seed": 3},
                         "seed is of the source, which exists: leave it out"),
    "a null-text source": ("invert_picture", {"image": TEXT, "inversion": "null-text"},
                           "inversion must be 'replay'"),
    "no prompts": ("sweep_edits", {"source": "src_a", "prompts": []}, "prompts must have at least"),
    "65 cells": ("sweep_edits", {"source": "src_a", "prompts": ["a"] * 13, "guidance_scales":
                 [1, 2, 3, 4, 5]}, "a sweep has at most 64 pictures, got 65"),
    "a field of nothing": ("describe_model", {"model": "a"}, "model is not a parameter"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_sentence(stdio: ToolClient, case: str) -> None:
    tool, arguments, sentence = BAD[case]
    assert stdio.refuse(tool, **arguments).startswith(sentence)
    assert stdio.make("describe_model").structured_content["model"] == "random"


def test_an_unknown_tool_is_an_error_of_the_protocol(stdio: ToolClient) -> None:
    with pytest.raises(MCPError, match="no tool 'draw': there are edit_picture, ") as error:
        stdio.call("draw")
    assert error.value.code == INVALID_PARAMS
    with pytest.raises(MCPError) as error:
        stdio.run(stdio.client.list_prompts())
    assert error.value.code == METHOD_NOT_FOUND


OUTSIDE = "must be in "
PATHS = {
    "up": ("../secret.png", OUTSIDE),
    "up and down": ("sub/../../secret.png", OUTSIDE),
    "from the root": ("/etc/passwd", OUTSIDE),
    "a neighbour with the same beginning": ("{folder}-more/secret.png", OUTSIDE),
    "a link to a file": ("link.png", OUTSIDE),
    "through a linked folder": ("out/secret.png", OUTSIDE),
    "a loop of links": ("loop.png", ("must be a path", OUTSIDE, "can't be read")),
    "the home of a user": ("~/secret.png", "can't be read (No such file or directory)"),
    "a NUL": ("a\0.png", "must be a path"),
    "a name too long": ("a" * 5000, ("must be a path", "can't be read")),
    "the folder": (".", ("must be a file", "can't be read")),
    "nothing": ("missing.png", "can't be read (No such file or directory)"),
    "a pipe": ("pipe.png", "must be a file"),
    "an address": ("file:///etc/passwd", "can't be read"),
}


@pytest.fixture(scope="module")
def traps(pictures: Path) -> Path:
    """The folder with links out of it, beside a picture that nobody may read."""
    outside = pictures.parent / f"{pictures.name}-more"
    outside.mkdir()
    for path in (outside / "secret.png", pictures.parent / "secret.png"):
        picture().save(path)
    (pictures / "sub").mkdir()
    (pictures / "link.png").symlink_to(outside / "secret.png")
    (pictures / "out").symlink_to(outside)
    (pictures / "loop.png").symlink_to(pictures / "loop.png")
    (pictures / "nowhere.png").symlink_to(outside / "new.png")
    os.mkfifo(pictures / "pipe.png")
    picture().save(pictures / "there.png")
    return pictures


@pytest.mark.parametrize("field", ["image_path", "mask_path"])
@pytest.mark.parametrize("case", PATHS)
def test_no_path_leaves_the_folders(stdio: ToolClient, traps: Path, case: str, field: str) -> None:
    text, want = PATHS[case]
    given = {} if field == "image_path" else {"image": TEXT}
    path = text.replace("{folder}", str(traps))
    said = stdio.refuse("edit_picture", prompt="a", **given, **{field: path})
    wants = (want,) if isinstance(want, str) else want
    assert any(said.startswith(f"{field} {one}") for one in wants), said


FILES = {
    "up": ("../new.png", OUTSIDE),
    "from the root": ("/tmp/new.png", OUTSIDE),
    "through a linked folder": ("out/new.png", OUTSIDE),
    "a link to nothing": ("nowhere.png", OUTSIDE),
    "one that exists": ("there.png", "must be a new file, and 'there.png' exists"),
    "a folder": ("sub", "must end in .png"),
    "a text": ("new.txt", "must end in .png"),
    "a folder that is not there": ("more/new.png", "must be in a folder that exists"),
    "a NUL": ("a\0.png", "must be a path"),
}


@pytest.mark.parametrize("case", FILES)
def test_no_file_is_written_elsewhere_or_replaced(
    stdio: ToolClient, traps: Path, case: str
) -> None:
    text, want = FILES[case]

    def snapshot() -> list[tuple[Path, float]]:
        return sorted((p, p.lstat().st_mtime) for p in traps.parent.rglob("*"))

    before = snapshot()
    said = stdio.refuse("generate_picture", prompt="a", num_inference_steps=1, save_as=text)
    assert said.startswith(f"save_as {want}") and snapshot() == before


def test_a_name_that_is_taken_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    (folder,) = open_folders([str(tmp_path)])
    path = check_new_file((folder,), "new.png")
    path.write_bytes(b"theirs")
    with pytest.raises(CannotWrite, match="exists"):
        write_new_file(path, b"ours")
    assert path.read_bytes() == b"theirs" and list(tmp_path.iterdir()) == [path]
    linked = check_new_file((folder,), "linked.png")
    linked.symlink_to(tmp_path / "target.png")
    with pytest.raises(CannotWrite):
        write_new_file(linked, b"ours")
    assert not (tmp_path / "target.png").exists()


def test_a_folder_must_be_one(tmp_path: Path) -> None:
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    for name in (tmp_path / "missing", tmp_path / "a.png"):
        with pytest.raises(BadInput, match="folder must be a directory, got"):
            open_folders([str(name)])


@pytest.mark.parametrize("field", ["image_path", "save_as"])
def test_without_a_folder_paths_are_refused(at: RunningService, field: str) -> None:
    with open_tools(f"{at.url}/mcp") as client:
        said = client.refuse("edit_picture", prompt="a", **{field: "there.png"})
    assert said == f"{field} is not allowed here: the operator named no folder (--folder)"


@pytest.mark.filterwarnings("ignore:ping is removed")  # by the newest protocol, not by the others
def test_a_ping_is_answered(at: RunningService) -> None:
    with open_tools(f"{at.url}/mcp", "legacy") as client:
        client.run(client.client.send_ping())
