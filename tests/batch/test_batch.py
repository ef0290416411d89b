"""mdp-lite batch: what it makes, that it makes each edit once, and what it says."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.__main__ import main
from mdp_lite.batch import manifest
from mdp_lite.models.unet import UNet
from support.batching import Run, drawn, pictures, records, table, times_done

PROMPTS = ["a red house", "a blue boat"]
ASKED = ("--prompt", PROMPTS[0], "--prompt", PROMPTS[1])


@pytest.fixture
def desk(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three drawn pictures, and the model under the name "model"."""
    monkeypatch.chdir(tmp_path)
    Path("model").symlink_to(checkpoint)
    drawn(Path("in"), 3)
    return tmp_path


@pytest.fixture
def run(desk: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a batch with --json; the object it printed and, as "code", its exit code."""

    def call(job: str, *line: str, out: str = "out", steps: int = 4) -> dict[str, Any]:
        asked = ["batch", job, "-o", out, "--model", "model", "--steps", str(steps), "--json"]
        code = main([*asked, *line])
        return json.loads(capsys.readouterr().out) | {"code": code}

    return call


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each call of the UNet had."""
    seen: list[int] = []
    forward = UNet.predict

    def counting(self: UNet, x: Any, t: Any, c: Any, *attend: Any) -> Any:
        seen.append(len(x))
        return forward(self, x, t, c, *attend)

    monkeypatch.setattr(UNet, "predict", counting)
    return seen


SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({}, ""),
    "replay": ({"method": "replay", "variant": "x"}, "--method replay --variant x"),
    "ddim": ({"method": "ddim", "guidance_scale": 2}, "--method ddim --guidance-scale 2"),
    "a window": (
        {"t_max": 4, "t_m": 2, "schedule": "cosine"},
        "--t-max 4 --t-m 2 --schedule cosine",
    ),
    "own size": ({"fit": "own", "strength": 0.7}, "--fit own --strength 0.7"),
    "a box": ({"box": "8,8,40,40", "feather": 2}, "--box 8,8,40,40 --feather 2"),
    "a mask": ({"mask": "mask.png", "paste": False}, "--mask in/mask.png --no-paste"),
    "where they differ": ({"auto_mask": True}, "--auto-mask"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_an_edit_of_a_batch_is_the_file_that_edit_writes(name: str, run: Run, desk: Path) -> None:
    settings, line = SETTINGS[name]
    (desk / "in" / "mask.png").write_bytes((desk / "in" / "002.png").read_bytes())
    row = {"image": "000.png", "source_prompt": "a house", "prompts": PROMPTS, **settings}
    assert run(table(desk / "in" / "job.jsonl", [row]))["made"] == 2
    by_prompt = {one["prompt"]: one["file"] for one in records(desk / "out")}
    edit = ["edit", "in/000.png", "--source-prompt", "a house", "--prompt", PROMPTS[1]]
    assert main([*edit, *line.split(), "--model", "model", "--steps", "4", "--quiet"]) == 0
    assert (desk / "out" / by_prompt[PROMPTS[1]]).read_bytes() == Path("edited.png").read_bytes()


def test_a_row_without_a_picture_is_edited_from_its_prompt_and_seed(run: Run, desk: Path) -> None:
    row = {"source_prompt": "a house", "seed": 5, "prompt": PROMPTS[0], "variant": "c"}
    run(table(desk / "job.jsonl", [row]))
    line = ["--source-prompt", "a house", "--seed", "5", "--variant", "c"]
    edit = ["edit", *line, "--prompt", PROMPTS[0], "--model", "model", "--steps", "4", "--quiet"]
    assert main(edit) == 0
    assert list(pictures(desk / "out").values()) == [Path("edited.png").read_bytes()]


def test_a_picture_is_inverted_once_however_many_rows_ask_for_it(
    run: Run, desk: Path, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mdp_lite.editor import Editor

    inverted: list[int] = []
    inverts = Editor.inverts

    def counting(self: Editor, images: Any, *rest: Any) -> Any:
        inverted.append(len(images))
        return inverts(self, images, *rest)

    monkeypatch.setattr(Editor, "inverts", counting)
    job = [{"image": f"in/{k}", "prompt": p} for p in PROMPTS for k in ("000.png", "001.png")]
    job.append({"image": "./in/000.png", "prompt": "a boat", "guidance_scale": 2})
    said = run(table(desk / "job.jsonl", job))
    assert (said["made"], inverted) == (5, [1, 1])
    told = records(desk / "out")
    assert said["unet_rows"] == sum(rows)
    assert sum(rows) == sum(one["unet_rows"] + one["source_rows"] for one in told)
    assert sum(one["source_rows"] > 0 for one in told) == 2


def test_a_rerun_does_nothing(run: Run, desk: Path, rows: list[int]) -> None:
    first = run("in", *ASKED)
    assert (first["made"], first["there"], first["failed"], first["code"]) == (6, 0, 0, 0)
    before, stamps, spent = pictures(desk / "out"), _stamps(desk / "out"), len(rows)
    again = run("in", *ASKED)
    assert (again["made"], again["there"], again["unet_rows"], again["code"]) == (0, 6, 0, 0)
    assert (pictures(desk / "out"), _stamps(desk / "out")) == (before, stamps)
    assert len(rows) == spent and times_done(desk / "out") == {1} and len(before) == 6


def test_only_what_is_missing_is_made(run: Run, desk: Path) -> None:
    run("in", *ASKED)
    before = pictures(desk / "out")
    lost, cut, *_ = sorted(before)
    (desk / "out" / lost).unlink()
    (desk / "out" / cut).write_bytes(before[cut][:100])
    assert run("in", *ASKED)["made"] == 2
    assert pictures(desk / "out") == before
    (desk / "in" / "003.png").write_bytes((desk / "in" / "000.png").read_bytes())
    (desk / "in" / "000.png").write_bytes((desk / "in" / "001.png").read_bytes())
    said = run("in", *ASKED)
    assert (said["made"], said["there"]) == (4, 4)  # a new picture, and one with other content
    assert run("in", *ASKED, "--strength", "0.2")["made"] == 8


def test_the_order_and_grouping_of_rows_change_no_byte(run: Run, desk: Path) -> None:
    run("in", *ASKED, out="folder")
    want = pictures(desk / "folder")
    single = [(f"{k:03d}.png", prompt) for prompt in PROMPTS for k in (2, 0, 1)]
    csv = "\n".join(["prompt,image", *(f"{prompt},{image}" for image, prompt in single)])
    (desk / "in" / "job.csv").write_text(csv, "utf-8")
    run("in/job.csv", out="csv")
    grouped = [{"image": f"{k:03d}.png", "prompts": PROMPTS[::-1]} for k in (1, 2, 0)]
    run(table(desk / "in" / "job.jsonl", grouped), out="jsonl")
    run("in/*.png", *ASKED, out="glob")
    for name in ("csv", "jsonl", "glob"):
        assert pictures(desk / name) == want
    assert len(set(want.values())) == 6


def test_rows_of_a_call_give_the_same_bytes(run: Run, desk: Path) -> None:
    run("in", *ASKED, "--guidance-scale", "3", out="alone")
    run("in", *ASKED, "--guidance-scale", "3", "--rows", "8", out="together")
    assert pictures(desk / "together") == pictures(desk / "alone")


def test_a_cache_keeps_sources_for_other_targets(run: Run, desk: Path) -> None:
    run("in", "--prompt", PROMPTS[0], "--cache", "sources")
    run("in", "--prompt", PROMPTS[1], "--cache", "sources")
    rows = {one["prompt"]: 0 for one in records(desk / "out")}
    for one in records(desk / "out"):
        rows[one["prompt"]] += one["source_rows"]
    assert rows[PROMPTS[0]] > 0 and rows[PROMPTS[1]] == 0


def test_a_dry_run_tells_what_the_run_takes_and_writes_nothing(run: Run, desk: Path) -> None:
    job = [{"image": f"in/00{k}.png", "prompts": PROMPTS} for k in range(3)]
    job += [
        {"source_prompt": "a house", "prompt": "a house", "t_max": 2, "t_m": 1},
        {"image": "in/000.png", "prompt": PROMPTS[0], "auto_mask": True},
        {"image": "in/none.png", "prompt": "a"},
        {"image": "in/000.png", "prompt": "a", "strength": 2},
    ]
    place = table(desk / "job.jsonl", job)
    before = sorted(desk.rglob("*"))
    said = run(place, "--dry-run")
    assert (sorted(desk.rglob("*")), said["code"]) == (before, 0)
    assert (said["rows"], said["asked"], said["edits"], said["bad"]) == (7, 10, 8, 2)
    assert said["sources"] == 4 and said["seconds"] > 0
    real = run(place)
    assert (real["made"], real["failed"], real["code"]) == (8, 2, 1)
    assert said["unet_rows"] == real["unet_rows"]
    after = run(place, "--dry-run")
    assert (after["edits"], after["there"], after["failed_before"]) == (0, 8, 2)
    assert (after["unet_rows"], after["seconds"]) == (0, 0)


def test_what_people_see(run: Run, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = table(desk / "job.jsonl", [{"image": "in/000.png", "prompt": "a"}, "{"])
    line = ["batch", job, "-o", "out", "--model", "model", "--steps", "4"]
    assert main(line) == 1
    out, err = capsys.readouterr()
    assert err == "mdp-lite: row 2: a line must be a JSON object, got '{'\n"
    first, cost, where = out.splitlines()
    assert first == "2 edits of 2 rows: 1 made, 0 there, 1 bad"
    assert cost.startswith("cost: ") and " UNet rows in " in cost
    assert where == "every edit has a line in out/manifest.jsonl"
    assert main(line) == 1
    out, err = capsys.readouterr()
    failed = "0 bad, 1 failed before (--retry-failed tries them again)"
    assert (out.splitlines()[0], err) == (f"2 edits of 2 rows: 0 made, 1 there, {failed}", "")
    assert main([*line, "--quiet"]) == 1
    assert capsys.readouterr() == ("", "")


def test_one_batch_at_a_time_writes_to_a_folder(
    run: Run, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with manifest.opened(desk / "out"):
        line = ["batch", "in", *ASKED, "-o", "out", "--model", "model", "--quiet"]
        assert main(line) == 2
        assert "another batch is writing to 'out'" in capsys.readouterr().err
    assert run("in", *ASKED)["made"] == 6


def _stamps(out: Path) -> dict[str, int]:
    return {name: os.stat(out / name).st_mtime_ns for name in [*pictures(out), manifest.NAME]}
