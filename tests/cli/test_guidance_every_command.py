"""--guidance-every and --record-direction on the command line and in batch rows."""

import json
from pathlib import Path

import numpy as np
import pytest

from mdp_lite import Editor
from mdp_lite.__main__ import main
from mdp_lite.pictures import images
from mdp_lite.pipeline.plan_text import describe_plan
from mdp_lite.pipeline.request import Request
from support.batching import draw_pictures, read_records, write_jsonl

SOURCE, TARGET, STEPS = "a house", "a boat", 6
COMMON = ["--steps", str(STEPS), "--device", "cpu", "--quiet"]
EDIT = ["edit", "--source-prompt", SOURCE, "--prompt", TARGET, "--guidance-every", "2"]


def run(words: list[str], model: Path, *more: str) -> int:
    return main([*words, "--model", str(model), *COMMON, *more])


@pytest.fixture(scope="module")
def request_(editor: Editor) -> Request:
    """The library's edit."""
    source = editor.generate(SOURCE, 0, STEPS, record_direction=True)
    return Request(source, TARGET, guidance_every=2)


@pytest.fixture(scope="module")
def pixels(editor: Editor, request_: Request) -> np.ndarray:
    return np.asarray(editor.edits([request_])[0].picture)


def test_an_edit_is_the_librarys_and_its_file_says_how(
    editor: Editor, checkpoint: Path, tmp_path: Path, request_: Request, pixels: np.ndarray,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out, said = tmp_path / "a.png", []
    for more in ([], ["--dry-run"]):
        assert run(EDIT, checkpoint, "-o", str(out), "--json", *more) == 0
        said.append(json.loads(capsys.readouterr().out)["costs"])
    assert said[0] == said[1]  # the dry run knows
    assert said[0]["epsilon"]["unet_rows"] == editor.plan(request_).unet_rows
    assert said[0]["source"]["unet_rows"] == 2 * STEPS
    assert np.array_equal(np.asarray(images.open_picture(out)), pixels)
    settings = images.read_settings(out)
    assert (settings["guidance_every"], settings["record_direction"]) == (2, True)
    assert run(EDIT[:-2], checkpoint, "-o", str(out)) == 0
    assert not {"guidance_every", "record_direction"} & set(images.read_settings(out))


def test_a_plan_says_which_calls_leave_the_null_row_out(
    checkpoint: Path, request_: Request, editor: Editor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *EDIT[1:], "--model", str(checkpoint), *COMMON[:-1]]) == 0
    lines, out = describe_plan(editor.plan(request_)), capsys.readouterr().out
    assert "of them without null" in out and all(line in out for line in lines)


def test_a_sweep_takes_it_for_all(checkpoint: Path, tmp_path: Path) -> None:
    words = ["sweep", *EDIT[1:], "--variants", "epsilon,c", "-o", str(tmp_path / "sweep")]
    assert run(words, checkpoint) == 0
    lines = (tmp_path / "sweep" / "sweep.jsonl").read_text("utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [one["guidance_every"] for one in records] == [2, 2]


def test_a_saved_source_has_directions_if_asked(
    editor: Editor, checkpoint: Path, tmp_path: Path, pixels: np.ndarray
) -> None:
    file, out = tmp_path / "a.safetensors", str(tmp_path / "b.png")
    saved = ["--save-source", str(file), "-o", str(tmp_path / "a.png")]
    assert run(["generate", SOURCE, *saved, "--record-direction"], checkpoint) == 0
    assert (
        main(["edit", str(file), *EDIT[3:], "--model", str(checkpoint), *COMMON[2:], "-o", out])
        == 0
    )
    assert np.array_equal(np.asarray(images.open_picture(out)), pixels)
    assert run(["generate", SOURCE, *saved], checkpoint) == 0
    assert editor.load_source(file).path.direction is None


def test_replay_takes_rows_for_them(
    editor: Editor, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (name, *_) = draw_pictures(tmp_path, 1)
    file, picture = tmp_path / "a.safetensors", str(tmp_path / name)
    words = ["invert", picture, "--prompt", "a house", "--method", "replay", "--json",
             "--save-source", str(file), "--record-direction",
             "-o", str(tmp_path / "a.png")]  # fmt: skip
    for more in (["--dry-run"], []):
        assert run(words, checkpoint, *more) == 0
        assert json.loads(capsys.readouterr().out)["cost"]["unet_rows"] == 3 * STEPS
    assert editor.load_source(file).path.direction is not None


def test_bad_values_are_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "a.png")
    assert run([*EDIT[:-1], "0"], checkpoint, "-o", out) == 2
    assert "--guidance-every must be 1 or more, got 0" in capsys.readouterr().err
    assert run(["generate", SOURCE, "--record-direction"], checkpoint, "-o", out) == 2
    assert "give --save-source too" in capsys.readouterr().err


def test_a_batch_has_a_column(checkpoint: Path, tmp_path: Path, pixels: np.ndarray) -> None:
    rows = [
        {"source_prompt": SOURCE, "seed": 0, "prompt": TARGET, "guidance_every": 2, "name": "two"},
        {"source_prompt": SOURCE, "seed": 0, "prompt": TARGET, "name": "exact"},
        {"source_prompt": SOURCE, "seed": 0, "prompt": TARGET, "guidance_every": 0, "name": "bad"},
    ]
    job = write_jsonl(tmp_path / "job.jsonl", rows)
    out = tmp_path / "out"
    assert run(["batch", str(job), "-o", str(out)], checkpoint) == 1
    records = {one["name"]: one for one in read_records(out)}
    assert "guidance_every must be 1 or more, got 0" in records["bad"]["error"]
    picture = images.open_picture(out / records["two"]["file"])
    assert np.array_equal(np.asarray(picture), pixels)
    assert records["two"]["unet_rows"] < records["exact"]["unet_rows"]
    assert images.read_settings(out / records["two"]["file"])["guidance_every"] == 2
