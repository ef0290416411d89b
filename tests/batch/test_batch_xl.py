"""Rows of a batch with what SDXL reads beside the prompts: its pictures, its keys, its errors."""

import csv
import hashlib
import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.batch.entries import BatchEdit, RawEntry, SourceSpec, TargetSpec, key_of, read_entry
from mdp_lite.batch.forecast import _cost_key
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from mdp_lite.pipeline.xl import XLCondition
from support.batching import draw_pictures, read_records, write_jsonl
from support.pages import find_blocks
from support.places import ROOT

STEPS, G = 2, 3.0
COMMON = ["--steps", str(STEPS), "--guidance-scale", str(G), "--strength", "0.7", "--device", "cpu"]
ROWS: list[dict[str, str]] = [
    {"source_prompt": "a house", "prompt": "a boat"},
    {"source_prompt": "a house", "prompt": "a boat", "prompt_2": "red"},
    {"source_prompt": "a house", "prompt": "a boat", "source_prompt_2": "night"},
    {"source_prompt": "a house", "prompt": "a boat", "original_size": "64x48", "crop": "8,4"},
    {"image": "000.png", "source_prompt": "a house", "prompt": "a boat", "prompt_2": "red",
     "negative_original_size": "10x20", "negative_target_size": "30x40", "negative_crop": "1,2",
     "target_size": "50x60", "negative_prompt": "night", "negative_prompt_2": "blue"},
]  # fmt: skip
READS: list[tuple[XLCondition, XLCondition]] = [  # of the sources, and of their edits
    (XLCondition(), XLCondition()),
    (XLCondition(), XLCondition("red")),
    (XLCondition("night"), XLCondition()),
    (XLCondition(None, None, (48, 64), (4, 8)), XLCondition(None, None, (48, 64), (4, 8))),
    *[
        (
            XLCondition(None, "blue", None, None, (60, 50), (20, 10), (2, 1), (40, 30)),
            XLCondition("red", "blue", None, None, (60, 50), (20, 10), (2, 1), (40, 30)),
        )
    ],
]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A folder with a picture, for jobs."""
    draw_pictures(tmp_path, 1)
    return tmp_path


def run(job: str, out: Path, model: Path, *more: str) -> int:
    return main(["batch", job, "-o", str(out), "--model", str(model), "--json", *COMMON, *more])


def write_csv(path: Path, rows: list[dict[str, str]]) -> str:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        table.writeheader()
        table.writerows(rows)
    return str(path)


def edit_by_library(editor: Editor, row: dict[str, str], reads: tuple[XLCondition, ...], at: Path):
    negative, (own, to) = row.get("negative_prompt", ""), reads
    if "image" in row:
        settings = (row["source_prompt"], "edit-friendly", STEPS, None, negative)
        source = editor.invert(at / row["image"], *settings, xl=own)
    else:
        source = editor.generate(row["source_prompt"], 0, STEPS, G, negative, xl=own)
    return editor.edit(source, row["prompt"], strength=0.7, guidance_scale=G, xl=to)


def test_rows_are_the_library_s_edits(
    job: Path, checkpoint_xl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bit for bit, with other conditions in one batch; again, nothing is made."""
    table, out = write_csv(job / "job.csv", ROWS), job / "out"
    assert run(table, out, checkpoint_xl, "--dry-run") == 0
    dry = json.loads(capsys.readouterr().out)
    assert run(table, out, checkpoint_xl) == 0
    real = json.loads(capsys.readouterr().out)
    assert (dry["edits"], dry["sources"]) == (5, 4)  # the first two rows share one
    assert (dry["unet_rows"], real["written"]) == (real["unet_rows"], 5)
    editor = Editor.from_pretrained(checkpoint_xl, "cpu")
    records = sorted(read_records(out), key=lambda one: one["row"])
    for row, reads, record in zip(ROWS, READS, records, strict=True):
        want = edit_by_library(editor, row, reads, job)
        with Image.open(out / record["file"]) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(want.picture)), row
        said = images.read_settings(out / record["file"])
        assert said.get("xl", {}) == want.xl.describe()
        assert said.get("source_xl", {}) == reads[0].describe()
        assert record.get("xl", {}) == reads[1].describe()
    assert len({record["sha256"] for record in records}) == 5
    assert run(table, out, checkpoint_xl) == 0
    assert json.loads(capsys.readouterr().out)["there"] == 5


def test_options_are_defaults_of_rows() -> None:
    defaults = {"prompt_2": "red", "original_size": (48, 64), "prompts": ["a boat"]}
    plain, own = (
        read_entry(RawEntry(1, {"source_prompt": "a house"} | more), defaults)
        for more in ({}, {"prompt_2": "blue", "original_size": "8x9", "source_prompt_2": "a"})
    )
    assert plain.targets[0].xl == XLCondition("red", original_size=(48, 64))
    assert plain.source.xl == XLCondition(original_size=(48, 64))
    assert own.targets[0].xl == XLCondition("blue", original_size=(9, 8))
    assert own.source.xl == XLCondition("a", original_size=(9, 8))


@pytest.mark.slow
def test_options_of_the_command(job: Path, checkpoint_xl: Path) -> None:
    line = "--source-prompt-2 night --prompt-2 red --negative-prompt-2 blue --crop 8,4"
    table = write_jsonl(job / "job.jsonl", [ROWS[0], ROWS[0] | {"prompt_2": "blue"}])
    assert run(table, job / "out", checkpoint_xl, *line.split()) == 0
    records = read_records(job / "out")
    for record, second in zip(records, ("red", "blue"), strict=True):
        said = images.read_settings(job / "out" / record["file"])
        crop = {"crops_coords_top_left": [4, 8], "negative_prompt_2": "blue"}
        assert said["xl"] == {"prompt_2": second, **crop}
        assert said["source_xl"] == {"prompt_2": "night", **crop}


def test_keys_of_other_rows_stay() -> None:
    """A manifest of an earlier version is still right: what is not used is no part of a key."""
    source, target = SourceSpec("a.png", "a house"), TargetSpec("a boat")
    new = ("xl", "weight", "record_noise", "record_direction", "guidance_every")
    start, aim = (
        {k: v for k, v in asdict(one).items() if k not in new} for one in (source, target)
    )
    facts = {
        "model": "m", "start": start | {"image": "i"}, "target": aim | {"mask": None}, "name": "n",
    }  # fmt: skip
    want = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    assert key_of("m", source, BatchEdit(1, "n", target), "i") == want
    for weight in (0.0, 1.0):  # 0 is a weight, not none
        assert (
            key_of("m", source, BatchEdit(1, "n", TargetSpec("a boat", weight=weight)), "i") != want
        )
    keys = {want}
    for xl in (XLCondition("x"), XLCondition(target_size=(8, 9)), XLCondition(target_size=(9, 8))):
        keys.add(key_of("m", source, BatchEdit(1, "n", TargetSpec("a boat", xl=xl)), "i"))
        own = SourceSpec("a.png", "a house", xl=xl)
        keys.add(key_of("m", own, BatchEdit(1, "n", target), "i"))
    assert len(keys) == 7


BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt_2": 5}, "prompt_2 must be a text, got 5"),
    ({"prompt_2": True}, "prompt_2 must be a text, got True"),
    ({"prompt_2": "a \ud800"}, "prompt_2 must be valid Unicode"),
    ({"source_prompt_2": "a \ud800"}, "source_prompt_2 must be valid Unicode"),
    ({"negative_prompt_2": ["a"]}, "negative_prompt_2 must be a text, got ['a']"),
    ({"original_size": [64, 48]}, "original_size must be WIDTHxHEIGHT such as 1024x768, got [64"),
    ({"original_size": 64}, "original_size must be WIDTHxHEIGHT such as 1024x768, got 64"),
    ({"original_size": float("nan")}, "original_size must be WIDTHxHEIGHT such as 1024x768, got n"),
    ({"target_size": "64x"}, "target_size must be WIDTHxHEIGHT such as 1024x768, got '64x'"),
    ({"target_size": "64"}, "target_size must be WIDTHxHEIGHT such as 1024x768, got '64'"),
    ({"target_size": "0x8"}, "target_size must be two whole numbers from 1 to 1048576, got '0x8'"),
    ({"crop": "-1,0"}, "crop must be X,Y such as 0,128, got '-1,0'"),
    ({"crop": False}, "crop must be X,Y such as 0,128, got False"),
    ({"crop": "0,1048577"}, "crop must be two whole numbers from 0 to 1048576, got '0,1048577'"),
    ({"negative_crop": "1,2"}, "negative_original_size and negative_target_size must be given"),
    ({"negative_original_size": "1x2"}, "negative_original_size and negative_target_size must be"),
    (
        {"image": "000.png", "method": "negative-prompt", "negative_prompt_2": "b"},
        "negative-prompt takes the source prompt for the negative one, got negative_prompt_2",
    ),
    ({"crops_coords_top_left": "1,2"}, "got 'crops_coords_top_left'"),
]
OTHERS: list[tuple[dict[str, Any], str]] = [  # of a model with one text encoder
    ({"prompt_2": "red"}, "prompt_2 is for a second text encoder, the model has one: 'red'"),
    ({"source_prompt_2": "red"}, "source_prompt_2 is for a second text encoder, the model has one"),
    ({"negative_prompt_2": "red"}, "negative_prompt_2 is for a second text encoder"),
    ({"crop": "1,2"}, "crop is for Stable Diffusion XL, the model reads no sizes"),
]


@pytest.mark.parametrize("kind", ["checkpoint_xl", "checkpoint"])
def test_bad_rows(
    kind: str, job: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run and a run name the field as it was written; good rows between them are made."""
    model, bad = request.getfixturevalue(kind), BAD if kind == "checkpoint_xl" else OTHERS
    rows = [ROWS[0] | more for one, _ in bad for more in (one, {"prompt_2": "", "crop": ""})]
    rows.append(ROWS[0] | {"prompt_2": "a boat", "source_prompt_2": "a house"})  # changes nothing
    table, out = write_jsonl(job / "job.jsonl", rows), job / "out"
    assert run(table, out, model, "--dry-run") == 1
    dry = json.loads(capsys.readouterr().out)
    assert run(table, out, model) == 1
    errors = {one["row"]: one["error"] for one in read_records(out) if "error" in one}
    assert errors == {one["row"]: one["error"] for one in dry["errors"]}
    for k, (_, message) in enumerate(bad):
        assert message in errors.pop(2 * k + 1)
    assert errors == {}


def test_options_of_another_model(
    job: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_jsonl(job / "job.jsonl", ROWS[:1])
    assert run(table, job / "out", checkpoint, "--target-size", "8x8") == 2
    assert "--target-size is for Stable Diffusion XL" in capsys.readouterr().err
    assert run(table, job / "out", checkpoint, "--prompt-2", "a boat") == 0  # as the prompt


def test_costs_are_forecast_once_for_texts_that_are_alike() -> None:
    """Sources with other words share a forecast; those with other equal or empty texts do not."""
    spec = SourceSpec(None, "a", xl=XLCondition("b"))
    alike = SourceSpec(None, "c", xl=XLCondition("d", None))
    others = [
        SourceSpec(None, "a", xl=XLCondition("a")), SourceSpec(None, "a", negative_prompt="e"),
        SourceSpec(None, "a", xl=XLCondition("b", target_size=(8, 8))),
        SourceSpec(None, "a", xl=XLCondition("b", "e")),
    ]  # fmt: skip
    assert _cost_key(spec, []) == _cost_key(alike, [])
    assert len({_cost_key(one, []) for one in (spec, *others)}) == 5


def test_the_page_on_batches(
    job: Path, checkpoint_xl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of docs/batch.md that needs SDXL, with a small one."""
    monkeypatch.chdir(job)
    Path("000.png").rename("house.png")
    table, command = [
        one.code
        for one in find_blocks((ROOT / "docs" / "batch.md").read_text("utf-8"))
        if "needs an SDXL model" in one.note
    ]
    exec(table, {})
    words = shlex.split(command.replace("stabilityai/stable-diffusion-xl-base-1.0", "random"))
    Path("random").symlink_to(checkpoint_xl)
    assert main([*words[1:], "--steps", "2", "--quiet"]) == 0
    records = read_records(Path("edited"))
    assert [one.get("xl", {}) for one in records] == [
        {}, {"prompt_2": "an oil painting"},
        {"original_size": [384, 512], "crops_coords_top_left": [64, 0]},
    ]  # fmt: skip
