"""One mask file is one edit: by the Editor, the command, a batch, the service, and on the page."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.app.studio import mask_from_layers
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from mdp_lite.pipeline.inpainting import mask_of_source
from mdp_lite.serve.pictures import read_mask as read_served_mask
from support.batching import read_records, write_jsonl
from support.mask_pictures import SIZE, ellipse, grey, random_rgb, with_alpha
from support.serving import RunningService, open_client, read_image, run_service

PROMPT, SOURCE = "a blue boat", "a red house"
# Each mask has the same region in another way.
MASKS = {
    "white on black": grey(),
    "black is 1": grey(1, 253),
    "a canvas": with_alpha(grey().convert("RGB"), Image.new("L", SIZE, 255)),
    "a hole": with_alpha(random_rgb(), grey(255, 0)),
    "white with a hole": with_alpha("white", grey(252, 2)),
}


@pytest.fixture(scope="module", params=["checkpoint", "checkpoint_inpaint"])
def model(request: pytest.FixtureRequest) -> Path:
    """A model whose UNet reads no mask, and one whose UNet does."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def editor(model: Path) -> Editor:
    return Editor.from_pretrained(model, device="cpu")


@pytest.fixture(scope="module")
def at(editor: Editor) -> Iterator[RunningService]:
    with run_service(editor) as one:
        yield one


@pytest.fixture
def folder(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MDP_LITE_CACHE", raising=False)
    (tmp_path / "model").symlink_to(model)
    random_rgb().save("photo.png")
    return tmp_path


def edit_by_command() -> Image.Image:
    line = ["edit", "photo.png", "--prompt", PROMPT, "--source-prompt", SOURCE, "--strength", "1"]
    assert main([*line, "--mask", "mask.png", "--model", "model", "--steps", "4"]) == 0
    return images.open_picture("edited.png")


def edit_by_batch() -> Image.Image:
    row = {"image": "photo.png", "source_prompt": SOURCE, "prompt": PROMPT, "mask": "mask.png"}
    job = write_jsonl(Path("job.jsonl"), [row | {"strength": 1}])
    line = ["batch", job, "-o", "out", "--model", "model", "--steps", "4", "--quiet"]
    assert main(line) == 0
    (record,) = read_records(Path("out"))
    return images.open_picture(Path("out") / record["file"])


def edit_by_service(at: RunningService) -> Image.Image:
    fields = {"prompt": PROMPT, "source_prompt": SOURCE, "num_inference_steps": "4"}
    files = {name: Path(f"{file}.png").read_bytes() for name, file in
             (("image", "photo"), ("mask", "mask"))}  # fmt: skip
    with open_client(at) as client:
        answer = client.post("/v1/images/edits", data=fields | {"strength": "1"}, files=files)
    assert answer.status_code == 200, answer.text
    return read_image(base64.b64decode(answer.json()["data"][0]["b64_json"]))


@pytest.mark.covering(1)
@pytest.mark.parametrize("name", MASKS)
def test_one_mask_is_one_edit_on_every_surface(
    name: str, editor: Editor, at: RunningService, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    MASKS[name].save("mask.png")
    own = mask_of_source(editor.models, "mask.png")
    source = editor.invert("photo.png", SOURCE, num_inference_steps=4, mask=own)
    edit = editor.edit(source, PROMPT, strength=1, mask="mask.png")
    plain = editor.edit(source, PROMPT, strength=1, mask=ellipse())
    assert edit.mask is not None and ((np.asarray(edit.mask) > 0) == ellipse()).all()
    assert edit.picture.tobytes() == plain.picture.tobytes()
    for picture in (edit_by_command(), edit_by_batch(), edit_by_service(at)):
        assert picture.tobytes() == plain.picture.tobytes()
    note = "mdp-lite: the mask marks by transparency, transparent is edited: 'mask.png'\n"
    assert capsys.readouterr().err.count(note) == ("hole" in name)


def test_an_empty_mask_is_refused_on_every_surface(
    editor: Editor, at: RunningService, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", SIZE, 9).save("mask.png")
    sentence = "mask must be white somewhere, got only black (levels up to 12 of 255 are black)"
    source = editor.invert("photo.png", SOURCE, num_inference_steps=2)
    with pytest.raises(ValueError, match="^mask must be white somewhere, got only black"):
        editor.edit(source, PROMPT, mask="mask.png")
    line = ["--prompt", PROMPT, "--mask", "mask.png", "--model", "model", "--steps", "2"]
    assert main(["edit", "photo.png", *line]) == 2
    assert sentence in capsys.readouterr().err
    assert main(["batch", "photo.png", "-o", "out", *line, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["failed"] == 1
    assert read_records(Path("out"))[0]["error"] == sentence
    files = {"image": Path("photo.png").read_bytes(), "mask": Path("mask.png").read_bytes()}
    with httpx2.Client(base_url=at.url) as client:
        answer = client.post("/v1/images/edits", data={"prompt": PROMPT}, files=files)
    error = answer.json()["error"]
    found = answer.status_code, error["param"], error["code"]
    assert found == (400, "mask", "invalid_image")


def test_strokes_on_the_page_are_where_to_edit(editor: Editor) -> None:
    """A layer of strokes is opaque where it is painted, so the page turns it to white on black."""
    strokes = with_alpha("red", grey())
    mask = mask_from_layers([strokes], SIZE)
    assert mask is not None and mask.tobytes() == grey().tobytes()
    source = editor.invert(random_rgb(), SOURCE, num_inference_steps=2)
    edits = [editor.edit(source, PROMPT, strength=1, mask=one) for one in (mask, ellipse())]
    assert edits[0].picture.tobytes() == edits[1].picture.tobytes()


@pytest.mark.parametrize("name", MASKS)
def test_the_service_reads_a_mask_as_the_library_does(name: str, tmp_path: Path) -> None:
    MASKS[name].save(tmp_path / "mask.png")
    found = read_served_mask((tmp_path / "mask.png").read_bytes(), 10**6)
    assert found.tobytes() == grey().tobytes()
