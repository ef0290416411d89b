"""mdp-lite batch: the pictures that it writes, each edit once, and the report that it prints."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.__main__ import main
from mdp_lite.batch import manifest
from support.batching import (
    Run,
    count_repeats,
    fill_folder,
    read_pictures,
    read_records,
    write_jsonl,
)
from support.unet_rows import record_rows

PROMPTS = ["a red house", "a blue boat"]
TWO_PROMPTS = ("--prompt", PROMPTS[0], "--prompt", PROMPTS[1])


@pytest.fixture
def cwd(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three synthetic pictures, and the model under the name "model"."""
    monkeypatch.chdir(tmp_path)
    fill_folder(tmp_path, checkpoint, 3)
    return tmp_path


@pytest.fixture
def run(cwd: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a batch with --json; returns the report with the exit code as "code"."""

    def call(job: str, *more: str, out: str = "out", steps: int = 4) -> dict[str, Any]:
        line = ["batch", job, "-o", out, "--model", "model", "--steps", str(steps), "--json"]
        code = main([*line, *more])
        return json.loads(capsys.readouterr().out) | {"code": code}

    return call


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each UNet call."""
    return record_rows(monkeypatch)


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({}, ""),
    "replay": ({"method": "replay", "variant": "x"}, "--method replay --variant x"),
    "ddim": ({"method": "ddim", "guidance_scale": 2}, "--method ddim --guidance-scale 2"),
    "a window": (
        {"t_max": 4, "t_m": 2, "schedule": "cosine"},
        "--t-max 4 --t-m 2 --schedule cosine",
    ),
    "a weight below 0": ({"variant": "beta", "weight": -0.5}, "--variant beta --weight -0.5"),
    "a local leash": ({"schedule": "local-leash"}, "--schedule local-leash"),
    "own size": ({"fit": "own", "strength": 0.7}, "--fit own --strength 0.7"),
    "a box": ({"box": "8,8,40,40", "feather": 2}, "--box 8,8,40,40 --feather 2"),
    "a mask": ({"mask": "mask.png", "paste": False}, "--mask in/mask.png --no-paste"),
    "an automatic mask": ({"auto_mask": True}, "--auto-mask"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_edit_of_a_batch_is_the_file_that_edit_writes(name: str, run: Run, cwd: Path) -> None:
    settings, line = SETTINGS[name]
    (cwd / "in" / "mask.png").write_bytes((cwd / "in" / "002.png").read_bytes())
    row = {"image": "000.png", "source_prompt": "a house", "prompts": PROMPTS, **settings}
    assert run(write_jsonl(cwd / "in" / "job.jsonl", [row]))["written"] == 2
    by_prompt = {one["prompt"]: one["file"] for one in read_records(cwd / "out")}
    edit = ["edit", "in/000.png", "--source-prompt", "a house", "--prompt", PROMPTS[1]]
    assert main([*edit, *line.split(), "--model", "model", "--steps", "4", "--quiet"]) == 0
    assert (cwd / "out" / by_prompt[PROMPTS[1]]).read_bytes() == Path("edited.png").read_bytes()


def test_a_row_without_a_picture_is_edited_from_its_prompt_and_seed(run: Run, cwd: Path) -> None:
    row = {"source_prompt": "a house", "seed": 5, "prompt": PROMPTS[0], "variant": "c"}
    run(write_jsonl(cwd / "job.jsonl", [row]))
    line = ["--source-prompt", "a house", "--seed", "5", "--variant", "c"]
    edit = ["edit", *line, "--prompt", PROMPTS[0], "--model", "model", "--steps", "4", "--quiet"]
    assert main(edit) == 0
    assert list(read_pictures(cwd / "out").values()) == [Path("edited.png").read_bytes()]


def test_a_picture_is_inverted_once_for_all_rows_that_name_it(
    run: Run, cwd: Path, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdp_lite.editor import Editor

    counts: list[int] = []
    inverts = Editor.inverts

    def counting(self: Editor, images: Any, *rest: Any) -> Any:
        counts.append(len(images))
        return inverts(self, images, *rest)

    monkeypatch.setattr(Editor, "inverts", counting)
    job = [{"image": f"in/{k}", "prompt": p} for p in PROMPTS for k in ("000.png", "001.png")]
    job.append({"image": "./in/000.png", "prompt": "a boat", "guidance_scale": 2})
    result = run(write_jsonl(cwd / "job.jsonl", job))
    assert (result["written"], counts) == (5, [1, 1])
    records = read_records(cwd / "out")
    assert result["unet_rows"] == sum(rows)
    assert sum(rows) == sum(one["unet_rows"] + one["source_rows"] for one in records)
    assert sum(one["source_rows"] > 0 for one in records) == 2


def test_a_rerun_does_nothing(run: Run, cwd: Path, rows: list[int]) -> None:
    first = run("in", *TWO_PROMPTS)
    assert (first["written"], first["there"], first["failed"], first["code"]) == (6, 0, 0, 0)
    before, stamps, spent = read_pictures(cwd / "out"), _stamps(cwd / "out"), len(rows)
    again = run("in", *TWO_PROMPTS)
    assert (again["written"], again["there"], again["unet_rows"], again["code"]) == (0, 6, 0, 0)
    assert (read_pictures(cwd / "out"), _stamps(cwd / "out")) == (before, stamps)
    assert len(rows) == spent and count_repeats(cwd / "out") == {1} and len(before) == 6


def test_only_what_is_missing_is_made(run: Run, cwd: Path) -> None:
    run("in", *TWO_PROMPTS)
    before = read_pictures(cwd / "out")
    lost, cut, *_ = sorted(before)
    (cwd / "out" / lost).unlink()
    (cwd / "out" / cut).write_bytes(before[cut][:100])
    assert run("in", *TWO_PROMPTS)["written"] == 2
    assert read_pictures(cwd / "out") == before
    (cwd / "in" / "003.png").write_bytes((cwd / "in" / "000.png").read_bytes())
    (cwd / "in" / "000.png").write_bytes((cwd / "in" / "001.png").read_bytes())
    result = run("in", *TWO_PROMPTS)
    # A new picture, and one with other content.
    assert (result["written"], result["there"]) == (4, 4)
    assert run("in", *TWO_PROMPTS, "--strength", "0.2")["written"] == 8


def test_the_order_and_grouping_of_rows_change_no_byte(run: Run, cwd: Path) -> None:
    run("in", *TWO_PROMPTS, out="folder")
    want = read_pictures(cwd / "folder")
    single = [(f"{k:03d}.png", prompt) for prompt in PROMPTS for k in (2, 0, 1)]
    csv = "\n".join(["prompt,image", *(f"{prompt},{image}" for image, prompt in single)])
    (cwd / "in" / "job.csv").write_text(csv, "utf-8")
    run("in/job.csv", out="csv")
    grouped = [{"image": f"{k:03d}.png", "prompts": PROMPTS[::-1]} for k in (1, 2, 0)]
    run(write_jsonl(cwd / "in" / "job.jsonl", grouped), out="jsonl")
    run("in/*.png", *TWO_PROMPTS, out="glob")
    for name in ("csv", "jsonl", "glob"):
        assert read_pictures(cwd / name) == want
    assert len(set(want.values())) == 6


def test_rows_of_a_call_give_the_same_bytes(run: Run, cwd: Path) -> None:
    run("in", *TWO_PROMPTS, "--guidance-scale", "3", out="alone")
    run("in", *TWO_PROMPTS, "--guidance-scale", "3", "--rows", "8", out="together")
    assert read_pictures(cwd / "together") == read_pictures(cwd / "alone")


def test_a_cache_keeps_sources_for_other_targets(run: Run, cwd: Path) -> None:
    run("in", "--prompt", PROMPTS[0], "--cache", "sources")
    run("in", "--prompt", PROMPTS[1], "--cache", "sources")
    rows = {one["prompt"]: 0 for one in read_records(cwd / "out")}
    for one in read_records(cwd / "out"):
        rows[one["prompt"]] += one["source_rows"]
    assert rows[PROMPTS[0]] > 0 and rows[PROMPTS[1]] == 0


def test_a_dry_run_reports_the_cost_of_the_run_and_writes_nothing(run: Run, cwd: Path) -> None:
    job = [{"image": f"in/00{k}.png", "prompts": PROMPTS} for k in range(3)]
    job += [
        {"source_prompt": "a house", "prompt": "a house", "t_max": 2, "t_m": 1},
        {"image": "in/000.png", "prompt": PROMPTS[0], "auto_mask": True},
        {"image": "in/none.png", "prompt": "a"},
        {"image": "in/000.png", "prompt": "a", "strength": 2},
    ]
    place = write_jsonl(cwd / "job.jsonl", job)
    before = sorted(cwd.rglob("*"))
    result = run(place, "--dry-run")
    assert (sorted(cwd.rglob("*")), result["code"]) == (before, 1)
    assert (result["rows"], result["requested"], result["edits"], result["bad"]) == (7, 10, 8, 2)
    assert result["sources"] == 4 and result["seconds"] > 0
    real = run(place)
    assert (real["written"], real["failed"], real["code"]) == (8, 2, 1)
    assert result["unet_rows"] == real["unet_rows"]
    after = run(place, "--dry-run")
    assert (after["edits"], after["there"], after["failed_before"]) == (0, 8, 2)
    assert (after["unet_rows"], after["seconds"]) == (0, 0)


def test_the_lines_for_people(run: Run, cwd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = write_jsonl(cwd / "job.jsonl", [{"image": "in/000.png", "prompt": "a"}, "{"])
    line = ["batch", job, "-o", "out", "--model", "model", "--steps", "4"]
    assert main(line) == 1
    out, err = capsys.readouterr()
    assert err == "mdp-lite: row 2: a line must be a JSON object, got '{'\n"
    first, cost, where = out.splitlines()
    assert first == "2 edits of 2 rows: 1 written, 0 already there, 1 bad"
    assert cost.startswith("cost: ") and " UNet rows in " in cost
    assert where == "every edit has a line in out/manifest.jsonl"
    assert main(line) == 1
    out, err = capsys.readouterr()
    failed = "0 bad, 1 failed before (--retry-failed tries them again)"
    assert (out.splitlines()[0], err) == (
        f"2 edits of 2 rows: 0 written, 1 already there, {failed}",
        "",
    )
    assert main([*line, "--quiet"]) == 1
    assert capsys.readouterr() == ("", "")


def test_one_batch_at_a_time_writes_to_a_folder(
    run: Run, cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with manifest.open_manifest(cwd / "out"):
        line = ["batch", "in", *TWO_PROMPTS, "-o", "out", "--model", "model", "--quiet"]
        assert main(line) == 2
        assert "another batch is writing to 'out'" in capsys.readouterr().err
    assert run("in", *TWO_PROMPTS)["written"] == 6


def _stamps(out: Path) -> dict[str, int]:
    return {name: os.stat(out / name).st_mtime_ns for name in [*read_pictures(out), manifest.NAME]}


def test_a_quality_is_its_number_of_steps(cwd: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"image": "in/000.png", "prompt": "a"},
        {"image": "in/000.png", "prompt": "b", "steps": 2},
    ]
    job = write_jsonl(cwd / "job.jsonl", rows)

    def call(*more: str) -> dict[str, Any]:
        assert main(["batch", job, "-o", "out", "--model", "model", "--json", *more]) == 0
        return json.loads(capsys.readouterr().out)

    dry = [call("--dry-run", *words.split())["unet_rows"]
           for words in ("--quality draft", "--steps 8", "--quality best", "")]  # fmt: skip
    assert dry[0] == dry[1] < dry[2] == dry[3]
    assert call("--quality", "draft")["unet_rows"] == dry[0]
    assert call("--steps", "8")["written"] == 0  # the same edits
