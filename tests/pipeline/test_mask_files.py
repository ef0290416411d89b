"""A mask's file that can't be read is called a mask by every surface, a picture's a picture."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.app.handlers import Handlers
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.pictures.decode import decode_picture
from support.batching import png_header, read_records, write_jsonl
from support.mask_pictures import SIZE, grey, random_rgb
from support.serving import RunningService, run_service

WANT = "must be a PNG, JPEG or WebP file by its content, got something else"
# What a mask's file may hold, and the sentence that says what is wrong with it.
BAD = {
    "text": (b"a red picture must be here", WANT),
    "gif": (b"GIF89a" + bytes(40), WANT),
    "cut": (b"", "must be whole, got a damaged file"),  # what it holds is made by write_bad
    "film": (b"", "must be a still one, got 2 frames"),
    "bomb": (png_header(20000, 20000), "must have at most 64 megapixels, got far more"),
    "large": (png_header(9000, 9000), "must have at most 64 megapixels, got 9000x9000"),
}
EDIT = ["edit", "photo.png", "--prompt", "b", "--steps", "2", "--model", "model", "--device", "cpu"]
MODEL = ["--model", "model", "--steps", "2", "--quiet"]
# The page's values of a form.
VALUES = ("a", "b", "epsilon", "strength", 0.5, 2, 1, "default", 2, 2, 0, "", "painted", 0,
          "edit-friendly", "crop", *[""] * 9)  # fmt: skip


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor) as one:
        yield one


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(checkpoint)
    random_rgb().save("photo.png")
    return tmp_path


def write_bad(kind: str, path: Path) -> str:
    """Write what can't be read as a mask; the sentence that says why, from "must" on."""
    data, sentence = BAD[kind]
    file = io.BytesIO()
    if kind == "cut":
        random_rgb().save(file, "PNG")
        data = file.getvalue()[: len(file.getvalue()) // 2]
    elif kind == "film":
        grey().save(file, "WEBP", save_all=True, append_images=[grey(9, 200)])
        data = file.getvalue()
    path.write_bytes(data)
    return sentence


@pytest.mark.parametrize("kind", BAD)
def test_every_surface_calls_it_a_mask(
    kind: str, editor: Editor, at: RunningService, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = f"mask {write_bad(kind, folder / 'picture.png')}"
    with pytest.raises(BadInput) as caught:
        editor.edit(editor.generate("a", 0, 1), "b", mask="picture.png")
    assert str(caught.value).startswith(sentence)
    assert main([*EDIT, "--mask", "picture.png"]) == 2
    assert f"mdp-lite: {sentence}" in capsys.readouterr().err
    row = {"image": "photo.png", "prompt": "b", "mask": "picture.png"}
    assert main(["batch", write_jsonl(Path("job.jsonl"), [row]), "-o", "out", *MODEL]) == 1
    assert read_records(Path("out"))[0]["error"].startswith(sentence)
    error = post_mask(at, Path("picture.png").read_bytes())
    limit = kind in ("bomb", "large")  # the service's own
    assert error["message"].startswith("mask must have at most" if limit else sentence)
    assert (error["param"], error["code"]) == ("mask", "invalid_image")


def post_mask(at: RunningService, mask: bytes) -> dict[str, str]:
    """What the service says of a mask."""
    files = {"image": Path("photo.png").read_bytes(), "mask": mask}
    with httpx2.Client(base_url=at.url) as client:
        answer = client.post("/v1/images/edits", data={"prompt": "b"}, files=files)
    assert answer.status_code == 400
    return dict(answer.json()["error"])


@pytest.mark.parametrize("name, got", [("no.png", "no such file"), ("sub", "a folder")])
def test_a_mask_that_is_no_file(
    name: str, got: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "sub").mkdir()
    sentence = f"mask must be a PNG, JPEG or WebP file, got {got}: '{name}'"
    assert main([*EDIT, "--mask", name]) == 2
    assert f"mdp-lite: {sentence}\n" in capsys.readouterr().err
    row = {"image": "photo.png", "prompt": "b", "mask": name}
    job = write_jsonl(Path("job.jsonl"), [row, {"image": name, "prompt": "b"}])
    assert main(["batch", job, "-o", "out", *MODEL]) == 1
    errors = sorted(one["error"] for one in read_records(Path("out")))
    assert errors == [sentence, sentence.replace("mask", "picture", 1)]


@pytest.mark.parametrize("data", [b"", b"GIF89a"])
def test_a_mask_on_stdin_is_called_one(
    data: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main([*EDIT, "--mask", "-"]) == 2
    assert "mdp-lite: mask must be a PNG, JPEG or WebP file" in capsys.readouterr().err


def test_a_picture_stays_a_picture_whatever_its_name(folder: Path) -> None:
    write_bad("text", folder / "mask.png")
    with pytest.raises(BadInput, match=f"^picture {WANT}: mask must$"):
        decode_picture(io.BytesIO(b"no picture"), "mask must")
    assert main(["edit", "mask.png", *EDIT[2:]]) == 2


def test_the_page_asks_for_strokes(editor: Editor, tmp_path: Path) -> None:
    """Its mask is painted, not read from a file; transparent layers are no mask."""
    pytest.importorskip("gradio")
    handlers = Handlers(Studio(editor, tmp_path))
    session = handlers.studio.sessions.get_or_create("one")
    canvas = {"layers": [Image.new("RGBA", SIZE)]}
    random_rgb().save(tmp_path / "photo.png")
    line = handlers.plan(session, "picture", str(tmp_path / "photo.png"), canvas, VALUES)
    assert "paint where the edit may happen first" in line
