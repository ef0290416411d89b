"""PIE-Bench on a fabricated folder: layout, masks, metrics with their quirks, and resuming."""

import csv
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.eval import pie_command
from mdp_lite.eval.pie import SIDE, decode_mask, open_source, parse_edit, read_edits
from mdp_lite.eval.pie_metrics import (
    METRICS,
    compare,
    compute_metrics,
    crop_square,
    mean,
    to_table_units,
)
from mdp_lite.eval.pie_parquet import convert_row

Says = Callable[[str], None]
EDITS = {
    "000000000000": {
        "image_path": "0_random_140/000000000000.jpg",
        "original_prompt": "a [red] house",
        "editing_prompt": "a [blue] house ",
        "editing_instruction": "Make the house blue",
        "editing_type_id": "6",
        "blended_word": "red blue",
        "mask": [512 * 100 + 100, 50, 512 * 101 + 100, 50],
    },
    "111000000000": {
        "image_path": "8_background/111000000000.jpg",
        "original_prompt": "a boat on the grass",
        "editing_prompt": "a boat on the [night]",
        "editing_instruction": "Change the background",
        "editing_type_id": "8",
        "blended_word": "",
        "mask": [0, 512 * 512],
    },
}


def noisy(seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8)
    return Image.fromarray(small).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pie") / "data"
    for seed, item in enumerate(EDITS.values()):
        path = folder / "annotation_images" / str(item["image_path"])
        path.parent.mkdir(parents=True)
        noisy(seed).save(path)
    (folder / "mapping_file.json").write_text(json.dumps(EDITS))
    return folder


# --- reading -----------------------------------------------------------------------------------


def test_edits_are_read_as_they_are(folder: Path) -> None:
    first, second = read_edits(folder)
    assert first.key == "000000000000" and first.picture == "0_random_140/000000000000.jpg"
    assert (first.source, first.target) == ("a red house", "a blue house ")  # brackets alone go
    assert first.type == 6 and first.blended == ("red", "blue") and second.blended == ()
    assert first.mask.sum() == 100 + 4 * 511  # two runs and the rim
    assert first.mask[100, 100:150].all() and not first.mask[100, 150]
    assert second.mask.all()


def test_a_mask_is_cut_at_the_end() -> None:
    mask = decode_mask("0", [SIDE * SIDE - SIDE - 3, 99999])
    assert mask[-2, -3:].all() and not mask[-2, -4] and mask.shape == (SIDE, SIDE)
    assert decode_mask("0", []).sum() == 4 * 511


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"mask": [1]}, "mask of 7 must be pairs"),
        ({"mask": [1, -2]}, "mask of 7 must be pairs"),
        ({"mask": "1 2"}, "mask of 7 must be pairs"),
        ({"editing_type_id": "10"}, "must be 0 to 9, got '10'"),
        ({"image_path": "../../secret.png"}, "must lie below annotation_images"),
        ({"original_prompt": None}, None),
    ],
)
def test_bad_edits_are_refused(change: dict, sentence: str | None) -> None:
    item = {**EDITS["000000000000"], **change}
    if sentence is None:
        del item["original_prompt"]
        sentence = "edit 7 must have .*, no original_prompt"
    with pytest.raises(ValueError, match=sentence):
        parse_edit("7", item)


def test_a_folder_without_a_mapping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="data must be a folder with mapping_file.json"):
        read_edits(tmp_path)
    (tmp_path / "mapping_file.json").write_text("[")
    with pytest.raises(ValueError, match="must be JSON"):
        read_edits(tmp_path)


# --- PIE-Bench++ -------------------------------------------------------------------------------

ROW = {
    "id": "000000000002",
    "source_prompt": "a [red] house",
    "target_prompt": "a [blue] house",
    "edit_action": "{}",
    "aspect_mapping": "{}",
    "blended_words": "['red,blue']",
    "mask": "0 262144",
}


def encode(picture: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, form)
    return file.getvalue()


@pytest.mark.parametrize(("form", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png")])
def test_a_row_is_an_entry_with_its_picture(form: str, suffix: str, tmp_path: Path) -> None:
    row = {**ROW, "image": {"bytes": encode(noisy(0), form), "path": None}}
    edit = parse_edit(*convert_row("6_change_attribute_color_40", row))
    assert edit.picture == f"6_change_attribute_color_40/000000000002{suffix}"
    assert (edit.source, edit.target, edit.type) == ("a red house", "a blue house", 6)
    assert edit.blended == ("red", "blue") and edit.mask.all()
    assert open_source(tmp_path, edit).size == (SIDE, SIDE)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image": None}, "edit 000000000002 must have .*, no image"),
        ({"source_prompt": None}, "no source_prompt"),
        ({"image": {"bytes": None}}, "must have an id of letters and a picture's bytes"),
        ({"id": "../secret"}, "must have an id of letters"),
        ({"mask": "0 -5"}, "mask of 000000000002 must be pairs"),
        ({"mask": "7"}, "mask of 000000000002 must be pairs"),
    ],
)
def test_bad_rows_are_refused(change: dict[str, object], sentence: str) -> None:
    row = {**ROW, "image": {"bytes": encode(noisy(0), "PNG")}, **change}
    with pytest.raises(ValueError, match=sentence):
        parse_edit(*convert_row("1_change_object_80", row))


def test_its_files_need_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "1_change_object_80").mkdir()
    (tmp_path / "1_change_object_80" / "V1-00000-of-00001.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"needs pyarrow: pip install 'mdp-lite\[eval\]'"):
        read_edits(tmp_path)


def test_its_files_are_read_as_the_hub_has_them(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for kind, key in (("1_change_object_80", "1"), ("0_random_140", "0")):
        row = {**ROW, "id": key, "image": {"bytes": encode(noisy(0), "JPEG"), "path": "x.jpg"}}
        (tmp_path / kind).mkdir()
        file = tmp_path / kind / "V1-00000-of-00001.parquet"
        parquet.write_table(pyarrow.Table.from_pylist([row]), file)
    assert [(edit.key, edit.type) for edit in read_edits(tmp_path)] == [("0", 0), ("1", 1)]
    file.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="is no readable Parquet file"):
        read_edits(tmp_path)


# --- metrics -----------------------------------------------------------------------------------


def grey(level: int) -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), (level,) * 3)


def test_masked_pixels_are_black_and_count_in_the_mean() -> None:
    # A difference of 51/255 = 0.2 everywhere; a quarter of the picture is to be edited.
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[:256, :256] = True
    found = compute_metrics(grey(100), grey(151), mask)
    assert found["mse"] == pytest.approx(0.04, rel=1e-4)
    assert found["mse_unedit_part"] == pytest.approx(0.03, rel=1e-4)  # 0.75 of it
    assert found["mse_edit_part"] == pytest.approx(0.01, rel=1e-4)
    assert found["psnr_unedit_part"] == pytest.approx(10 * math.log10(1 / 0.03), abs=1e-3)
    assert found["psnr"] == pytest.approx(10 * math.log10(25), abs=1e-3)
    # Flat parts have (2ab + c) / (a^2 + b^2 + c), c = 1e-4; black ones 1; and edges between.
    a, b = 100 / 255, 151 / 255
    flat = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    assert found["ssim"] == pytest.approx(flat, abs=1e-5)
    assert found["ssim_edit_part"] == pytest.approx(0.75 + 0.25 * flat, abs=0.01)
    assert set(found) == set(METRICS)


def test_a_mask_of_everything_leaves_the_text_nan() -> None:
    found = compute_metrics(grey(10), grey(20), np.ones((SIDE, SIDE), np.bool_))
    assert found["psnr_unedit_part"] == found["mse_unedit_part"] == "nan"
    assert found["ssim_unedit_part"] == "nan" and isinstance(found["ssim_edit_part"], float)
    assert mean([1.0, "nan", 3.0]) == 2.0 and math.isnan(mean(["nan"]))


def test_the_last_picture_of_a_collage_counts() -> None:
    wide = Image.new("RGB", (4 * SIDE, SIDE))
    wide.paste(noisy(3), (3 * SIDE, 0))
    assert np.array_equal(np.array(crop_square(wide)), np.array(noisy(3)))
    assert crop_square(noisy(3)).size == (SIDE, SIDE)
    nothing = np.zeros((SIDE, SIDE), np.bool_)
    assert compute_metrics(noisy(3), wide, nothing)["mse"] == 0
    with pytest.raises(ValueError, match="one size, got"):
        compute_metrics(noisy(3), Image.new("RGB", (256, 256)), nothing)


def test_units_are_those_of_the_published_tables() -> None:
    assert to_table_units("mse_unedit_part", 0.0033) == pytest.approx(33)
    assert to_table_units("ssim_unedit_part", 0.84) == pytest.approx(84)
    assert to_table_units("psnr_unedit_part", 27.0) == 27


def test_metrics_are_those_of_torchmetrics() -> None:
    image = pytest.importorskip("torchmetrics.image")
    regression = pytest.importorskip("torchmetrics.regression")
    a, b = (torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    b = 0.7 * a + 0.3 * b
    found = compare(a, b)
    psnr = image.PeakSignalNoiseRatio(data_range=1.0)(a, b)
    ssim = image.StructuralSimilarityIndexMeasure(data_range=1.0)(a, b)
    assert found["psnr"] == pytest.approx(psnr.item(), abs=1e-4)
    assert found["ssim"] == pytest.approx(ssim.item(), abs=1e-5)
    assert found["mse"] == pytest.approx(regression.MeanSquaredError()(a, b).item(), rel=1e-5)


# --- the command -------------------------------------------------------------------------------

NAMES = "no edit,sdedit"


@pytest.mark.slow
def test_a_folder_is_edited_and_evaluated_and_resumed(
    folder: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "output"
    command = ["bench", "pie", "--model", str(checkpoint), "--device", "cpu", "--data", str(folder),
               "--results", str(out), "--steps", "2", "--methods", NAMES]  # fmt: skip
    assert main([*command, "--dry-run"]) == 0
    assert "2 edits by 2 methods, 4 to be made" in capsys.readouterr().out and not out.exists()
    assert main(command) == 0
    for name in NAMES.replace(" ", "-").split(","):
        with Image.open(out / name / "annotation_images" / "8_background/111000000000.jpg") as one:
            assert one.size == (SIDE, SIDE)
    with (out / "evaluation_result.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file_id"] for row in rows] == list(EDITS)
    assert rows[1]["sdedit|psnr_unedit_part"] == "nan" != rows[0]["sdedit|psnr_unedit_part"]
    assert float(rows[0]["no edit|psnr_unedit_part"]) > float(rows[0]["sdedit|psnr_unedit_part"])
    first = capsys.readouterr().out
    assert "| no edit" in first and "psnr_unedit_part" in first
    monkeypatch.setattr(pie_command, "run_method", None)  # nothing is made again
    assert main(command) == 0
    assert capsys.readouterr().out == first


def test_bad_input_is_refused(folder: Path, checkpoint: Path, says_one_line: Says) -> None:
    assert main(["bench", "pie"]) == 2
    says_one_line("bench pie needs --data")
    words = ["--model", str(checkpoint), "--data", str(folder)]
    assert main(["bench", "pie", *words, "--methods", "ours"]) == 2
    says_one_line("methods must be of no edit, vae, mdp-c")
    assert main(["bench", "edits", "--data", "x"]) == 2
    says_one_line("bench edits takes no data")
