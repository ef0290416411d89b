"""--record-noise on the command line and in batch rows: the library's pictures, and the errors."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mdp_lite import Editor
from mdp_lite.__main__ import main
from mdp_lite.checkpoint.load import examine
from mdp_lite.cli.application import read_command_line
from mdp_lite.cli.early import check_schedule
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from support.batching import draw_pictures, read_records, write_jsonl

SOURCE, TARGET, STEPS = "a house", "a boat", 4
COMMON = ["--steps", str(STEPS), "--device", "cpu", "--quiet"]
EDIT = ["edit", "--source-prompt", SOURCE, "--prompt", TARGET, "--record-noise"]


def run(words: list[str], model: Path, *more: str) -> int:
    return main([*words, "--model", str(model), *COMMON, *more])


@pytest.fixture(scope="module")
def pixels(editor: Editor) -> np.ndarray:
    """The library's edit."""
    source = editor.generate(SOURCE, 0, STEPS, record_noise=True)
    return np.asarray(editor.edit(source, TARGET).picture)


def test_an_edit_is_the_librarys(
    checkpoint: Path, tmp_path: Path, pixels: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.png"
    assert run(EDIT, checkpoint, "-o", str(out), "--json") == 0
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert costs["source"]["unet_rows"] == 4 * STEPS
    assert np.array_equal(np.asarray(images.open_picture(out)), pixels)
    settings = images.read_settings(out)
    assert settings["seed"] == 0 and settings["method"] == "edit-friendly"


def test_a_dry_run_says_the_real_costs(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [checkpoint, "-o", str(tmp_path / "a.png"), "--json"]
    said = []
    for more in ([], ["--dry-run"]):
        assert run(EDIT, *words, *more) == 0  # type: ignore[arg-type]
        said.append(json.loads(capsys.readouterr().out)["costs"])
    assert said[0] == said[1]


def test_a_saved_source_keeps_it(checkpoint: Path, tmp_path: Path, pixels: np.ndarray) -> None:
    file, out = tmp_path / "a.safetensors", tmp_path / "b.png"
    words = ["generate", SOURCE, "--record-noise", "-o", str(tmp_path / "a.png")]
    assert run(words, checkpoint, "--save-source", str(file)) == 0
    words = ["edit", str(file), "--prompt", TARGET, "-o", str(out), "--model", str(checkpoint)]
    assert main([*words, "--device", "cpu", "--quiet"]) == 0
    assert np.array_equal(np.asarray(images.open_picture(out)), pixels)


def test_a_sweep_has_it_too(checkpoint: Path, tmp_path: Path) -> None:
    words = ["sweep", "--source-prompt", SOURCE, "--prompt", TARGET, "--record-noise"]
    assert run(words, checkpoint, "-o", str(tmp_path), "--seed", "1,2") == 0
    cells = [json.loads(one) for one in (tmp_path / "sweep.jsonl").read_text().splitlines()]
    assert [one["method"] for one in cells] == ["edit-friendly"] * 2


@pytest.mark.parametrize(
    "words, message",
    [
        (["edit", "a.png", "--prompt", "b", "--record-noise"], "for a generated source, got PICTU"),
        (["sweep", "a.png", "--prompt", "b", "--record-noise"], "for a generated source, got PIC"),
        (["generate", "a", "--record-noise"], "not the picture: give --save-source too"),
    ],
)
def test_where_nobody_would_see_it(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_rows_of_a_batch(checkpoint: Path, tmp_path: Path, pixels: np.ndarray) -> None:
    row = {"source_prompt": SOURCE, "prompt": TARGET}
    job = write_jsonl(tmp_path / "job.jsonl", [row, row | {"record_noise": True}])
    out = tmp_path / "out"
    assert run(["batch", str(job)], checkpoint, "-o", str(out)) == 0
    plain, recorded = read_records(out)
    assert (plain["source_rows"], recorded["source_rows"]) == (2 * STEPS, 4 * STEPS)
    assert np.array_equal(np.asarray(images.open_picture(out / recorded["file"])), pixels)
    assert plain["file"] != recorded["file"]


def test_a_row_of_a_batch_with_an_image_has_none(checkpoint: Path, tmp_path: Path) -> None:
    draw_pictures(tmp_path, 1)
    row = {"image": "000.png", "prompt": TARGET, "record_noise": True}
    job = write_jsonl(tmp_path / "job.jsonl", [row])
    assert run(["batch", str(job)], checkpoint, "-o", str(tmp_path / "out")) == 1
    (record,) = read_records(tmp_path / "out")
    assert "record_noise is for a source made from a prompt" in record["error"]


@pytest.mark.parametrize("source", ["--source-prompt a --record-noise", "photo.png"])
def test_a_weight_without_a_step_to_mix_is_refused_before_the_model_is_read(
    checkpoint: Path, tmp_path: Path, source: str
) -> None:
    """In four steps the local leash has only its look: there is no window for the weight."""
    model = shutil.copytree(checkpoint, tmp_path / "model")
    (model / "mdp_lite.json").write_text("{}")
    line = f"edit {source} --prompt b --weight 0.5 --steps"
    examined = examine(model)
    with pytest.raises(BadInput, match="weight must have a step to mix"):
        check_schedule(read_command_line([*line.split(), "4"]), examined)
    check_schedule(read_command_line([*line.split(), "12"]), examined)
