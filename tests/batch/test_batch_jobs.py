"""Jobs: reading entries from folders, globs and tables, and the errors of bad ones."""

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.batch.entries import (
    BatchEdit,
    RawEntry,
    SourceSpec,
    TargetSpec,
    check_name,
    default_name,
    key_of,
    read_entry,
)
from mdp_lite.batch.jobs import read_job
from mdp_lite.batch.run import plan_batch

OUT = Path("out")


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures in folders, and other files."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.png", "in/a.JPG", "in/deep/c.webp", "in/.hidden.png", "in/out/a-1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(name, "PNG")
    Path("in/notes.txt").write_text("a")
    return tmp_path


def images(place: str, out: Path = OUT) -> list[str]:
    return [raw.values["image"] for raw in read_job(place, out).entries]


def test_a_folder_s_pictures_in_order_without_an_earlier_run_s(cwd: Path) -> None:
    assert images("in") == ["a.JPG", "b.png", "deep/c.webp", "out/a-1.png"]
    assert images("in", Path("in/out")) == ["a.JPG", "b.png", "deep/c.webp"]
    assert read_job("in", OUT).base == Path("in")


def test_a_glob_is_relative_to_its_fixed_part(cwd: Path) -> None:
    assert images("in/*.png") == ["b.png"]
    assert images("in/**/*.*", Path("in/out")) == ["a.JPG", "b.png", "deep/c.webp"]
    assert images("in/d*/*") == ["deep/c.webp"]
    assert read_job("in/d*/*", OUT).base == Path("in")
    assert images(str(cwd / "in" / "*.png")) == ["b.png"]
    assert images("in/b.png") == ["b.png"] and read_job("in/b.png", OUT).base == Path("in")


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a folder one that can't be listed, for root too."""
    scan = os.scandir

    def call(folder: str) -> None:
        def scan_others(path: Any = ".") -> Any:
            if Path(os.fsdecode(path)).resolve() == Path(folder).resolve():
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return scan(path)

        monkeypatch.setattr(os, "scandir", scan_others)

    return call


@pytest.mark.parametrize(
    "place", ["in", "in/**/*", "in/*/*.webp", "in/**/*.webp", "in/[d]*/*", "*/deep/*", "**/*.webp"]
)
def test_a_folder_that_can_t_be_listed_is_a_row_that_fails(
    place: str, cwd: Path, lock: Callable[[str], None]
) -> None:
    lock("in/deep")
    base = Path() if place.startswith("*") else Path("in")
    bad = [raw for raw in read_job(place, OUT).entries if raw.problem]
    assert [base / raw.values["image"] for raw in bad] == [Path("in/deep")]
    assert "can be listed, got 'Permission denied' for" in str(bad[0].problem)


def test_a_folder_that_is_not_searched_is_no_row(cwd: Path, lock: Callable[[str], None]) -> None:
    lock("in/deep")
    assert images("in/*.png") == ["b.png"]
    lock("in/out")
    assert images("in", Path("in/out")) == ["a.JPG", "b.png", "deep/c.webp"]


@pytest.mark.parametrize("place", ["in", "in/*.png", "in/**"])
def test_a_job_that_can_t_be_listed_is_refused(
    place: str, cwd: Path, lock: Callable[[str], None]
) -> None:
    lock("in")
    want = "job must be a folder that can be listed, got 'Permission denied' for 'in'"
    with pytest.raises(ValueError, match=want):
        read_job(place, OUT)


def test_a_picture_that_can_t_be_looked_at_is_a_row(cwd: Path) -> None:
    Path("in/gone.png").symlink_to("nowhere.png")
    Path("in/round.png").symlink_to("round.png")
    assert images("in/*.png") == ["b.png", "gone.png", "round.png"]


def test_tables_of_all_kinds_give_equal_entries(cwd: Path) -> None:
    wide = 'image,prompts,strength,box,paste,seed,mask\nb.png,a house|a boat,0.5,"1,2,3,4",no,,\n'
    Path("in/job.csv").write_text("\ufeff" + wide + ",a house,,,,7,\n", "utf-8")
    lines = [
        {"image": "b.png", "prompts": ["a house", "a boat"], "strength": 0.5, "box": [1, 2, 3, 4],
         "paste": False},
        {"prompts": ["a house"], "seed": 7, "image": None},
    ]  # fmt: skip
    Path("in/job.jsonl").write_text("\n\n".join(map(json.dumps, lines)), "utf-8")
    found = [
        [
            read_entry(raw, {"source_prompt": "a"})._replace(number=0)
            for raw in read_job(name, OUT).entries
        ]
        for name in ("in/job.csv", "in/job.jsonl")
    ]
    assert found[0] == found[1]
    first, second = found[0]
    assert first.source == SourceSpec("b.png", "a") and first.name == "b"
    box = (1, 2, 3, 4)
    assert first.targets == tuple(
        TargetSpec(prompt, strength=0.5, box=box, paste=False) for prompt in ("a house", "a boat")
    )
    assert second.source == SourceSpec(None, "a", 7) and second.name == "generated"


def test_parquet_gives_equal_entries_or_fails(cwd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("job.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"needs pyarrow: pip install 'mdp-lite\[ray\]'"):
        read_job("job.parquet", OUT)
    monkeypatch.undo()
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"image": "b.png", "prompts": ["a"], "seed": None}, {"image": None, "prompts": ["b"]}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), cwd / "job.parquet")
    raws = read_job(str(cwd / "job.parquet"), OUT).entries
    found = [read_entry(raw, {"source_prompt": "a"}) for raw in raws]
    assert [entry.source.image for entry in found] == ["b.png", None]
    Path(cwd / "cut.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cut.parquet is no readable Parquet file"):
        read_job(str(cwd / "cut.parquet"), OUT)


BAD_JOBS: dict[str, str] = {
    "none": "a table (.csv, .jsonl, .parquet), or - for JSON lines, got no such file: 'none'",
    "none.csv": "got no such file: 'none.csv'",
    "in/notes.txt": "got another file: 'in/notes.txt'",
    "in/*.tif": "job must have at least one picture",
    "empty": "job must have at least one picture",
    "empty.csv": ", got none",
    "empty.jsonl": "job must have at least one row, got none in 'empty.jsonl'",
    "head.csv": "job must have at least one row",
    "typo.csv": "typo.csv: unknown column: got 'strenght', did you mean strength? columns must be",
    "twice.csv": "each column once, got 'image'",
    "latin.csv": "latin.csv must be CSV in UTF-8",
}


@pytest.mark.parametrize("place", BAD_JOBS)
def test_a_bad_job_is_an_error(place: str, cwd: Path, says_one_line: Callable[[str], None]) -> None:
    Path("empty").mkdir()
    for name, text in (
        ("empty.csv", ""), ("empty.jsonl", "\n"), ("head.csv", "image,prompt\n"),
        ("typo.csv", "image,strenght\na,1\n"), ("twice.csv", "image,image\na,b\n"),
        ("latin.csv", "image,prompt\ncaf\xe9,a\n"),
    ):  # fmt: skip
        Path(name).write_text(text, "latin-1")
    before = sorted(cwd.rglob("*"))
    assert main(["batch", place, "-o", "out", "--prompt", "a"]) == 2
    says_one_line(BAD_JOBS[place])
    assert sorted(cwd.rglob("*")) == before


BAD_LINES: dict[str, str] = {
    "in -o in": "output must be another folder than the pictures', got 'in'",
    "in -o in/notes.txt": "output must be a folder, got a file: ",
    "in --rows -1": "--rows must be 0 or more, got -1",
    "in --workers 2": "--workers is for --engine ray, got 2 without it",
    "in --engine ray --worker-cpus 0": "worker-cpus must be 1 or more, got 0",
    "in --strength 2": "--strength must be from 0 to 1, got 2.0",
    "in --seed -1": "seed must be from 0 to 2^63 - 1, got -1",
    "in --variant all": "variant must be one of epsilon, c, x, beta, got 'all'",
    "in --feather 3": "feather needs a mask",
    "in --steps 0": "--steps must be from 1 to 1000, got 0",
    "in --engine steam": "--engine",
    "in --save-mask a.png": "--save-mask",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_an_error_of_the_whole_job_is_no_record(
    line: str, cwd: Path, checkpoint: Path, says_one_line: Callable[[str], None]
) -> None:
    before = sorted(cwd.rglob("*"))
    words = ["batch", *line.split(), "--prompt", "a", "--model", str(checkpoint)]
    assert main(words if "-o" in words else [*words, "-o", "out"]) == 2
    says_one_line(BAD_LINES[line])
    assert sorted(cwd.rglob("*")) == before


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "a"}, "a row needs an image or a source_prompt, got neither"),
    ({"image": "a.png"}, "a row needs a prompt or prompts, got none"),
    ({"image": "a.png", "prompt": "a", "prompts": ["b"]}, "give one of them"),
    ({"image": "a.png", "prompts": [1]}, "prompts must be a list of texts, got [1]"),
    ({"image": 3, "prompt": "a"}, "image must be a text, got 3"),
    ({"source_prompt": "a", "prompt": "a", "fit": "pad"}, "fit is for inverting an image"),
    ({"image": "a.png", "prompt": "a", "steps": "many"}, "steps must be a whole number"),
    ({"image": "a.png", "prompt": "a", "steps": True}, "steps must be a whole number, got True"),
    ({"image": "a.png", "prompt": "a", "steps": 2.5}, "steps must be a whole number, got 2.5"),
    ({"image": "a.png", "prompt": "a", "t_m": "x"}, "t_m must be a number, got 'x'"),
    ({"image": "a.png", "prompt": "a", "t_m": 10**400}, "t_m must be a number, got 1000"),
    ({"image": "a.png", "prompt": "a", "paste": "maybe"}, "paste must be true or false"),
    ({"image": "a.png", "prompt": "a", "box": "1,2,3"}, "box must be X0,Y0,X1,Y1 in pixels"),
    ({"image": "", "source_prompt": "a", "prompt": "a"}, "image must not be empty, got ''"),
    ({"image": "a.png", "prompt": "a", "mask": ""}, "mask must not be empty, got ''"),
    ({"image": "a.png", "prompt": "a", "more than the header has": ["x"]}, "more than the header"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "why"), BAD_ROWS)
def test_a_bad_row_has_a_reason(values: dict[str, Any], why: str) -> None:
    plan = plan_batch([RawEntry(7, values)], {"prompts": []})
    assert plan.units == [] and plan.edits == 1
    ((raw, reason),) = plan.bad
    assert raw.number == 7 and why in reason


def test_a_row_s_own_settings_come_before_the_job_s() -> None:
    defaults = {"strength": 0.4, "auto_mask": True, "steps": 9, "prompts": ["b"]}
    own = read_entry(RawEntry(1, {"image": "a.png", "t_m": 3, "box": "1,2,3,4"}), defaults)
    (target,) = own.targets
    assert (target.strength, target.t_m, target.auto_mask) == (None, 3.0, False)
    assert (own.source.steps, target.prompt, target.box) == (9, "b", (1, 2, 3, 4))


def test_rows_of_one_source_are_one_unit() -> None:
    raws = [
        RawEntry(1, {"image": "a.png", "prompt": "a", "guidance_scale": 2}),
        RawEntry(2, {"image": "b.png", "prompt": "a"}),
        RawEntry(3, {"image": "./a.png", "prompt": "b", "guidance_scale": 3}),
        RawEntry(4, {"image": "a.png", "prompt": "b", "method": "ddim", "guidance_scale": 3}),
    ]
    units = plan_batch(raws, {}).units
    assert [[one.number for one in unit.edits] for unit in units] == [[1, 3], [2], [4]]
    assert units[2].source.guidance_scale == 3.0  # ddim is sampled under it


@pytest.mark.parametrize(
    ("image", "name"),
    [("a.png", "a"), ("deep/b.c.png", "deep/b.c"), ("../a.png", "a"), ("/x/y/a.png", "a")],
)
def test_a_file_is_named_by_its_picture_and_stays_in_the_output(image: str, name: str) -> None:
    assert default_name(image) == name


@pytest.mark.parametrize("name", ["", "/a", "a//b", "../a", "a/..", ".", "a\\b", "a\nb", "x" * 201])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name must be a relative path"):
        check_name(name)


def test_a_key_is_of_content_and_settings() -> None:
    source, one = SourceSpec("a.png", "a"), BatchEdit(3, "a", TargetSpec("b"))
    key = key_of("m", source, one, "1")
    assert key == key_of("m", SourceSpec("other.png", "a"), one._replace(number=9), "1")
    others = [
        key_of("n", source, one, "1"),
        key_of("m", source, one, "2"),
        key_of("m", source, one, "1", "3"),
        key_of("m", SourceSpec("a.png", "b"), one, "1"),
        key_of("m", source, one._replace(name="b"), "1"),
        key_of("m", source, one._replace(target=TargetSpec("c")), "1"),
        key_of("m", source, one._replace(target=TargetSpec("b", t_m=1)), "1"),
    ]
    assert len({key, *others}) == 8
