"""batch --dry-run names what fails, with the exit code of the run; it agrees with the run."""

import errno
import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.batch import manifest
from mdp_lite.cli.memory import describe_memory, estimate_edit, format_memory
from mdp_lite.editor import Editor
from support.batching import (
    BAD_ENTRIES,
    fill_folder,
    read_records,
    write_bad_files,
    write_jsonl,
)

FAST = ["--model", "model", "--steps", "2", "--json"]

# What fails in other ways than BAD_ENTRIES: by what is in a mask, a text, or a name.
MORE_BAD: list[dict[str, Any]] = [
    {"image": "000.png", "prompt": "a", "mask": "small.png"},
    {"image": "000.png", "prompt": "a", "mask": "black.png"},
    {"image": "000.png", "prompt": "a", "mask": "cut.png"},
    {"image": "000.png", "prompt": "a", "mask": "folder.png", "feather": 3},
    {"image": "000.png", "prompt": "a \ud800"},
    {"image": "000.png", "prompt": "a\0b \ud800", "negative_prompt": "c"},
    {"source_prompt": "alone \ud800", "prompt": "a"},
    {"source_prompt": "alone", "prompt": "a \ud800"},
    {"image": "001.png", "prompt": "a", "box": [0, 0, 900, 10], "steps": 2},
    {"image": "000.png", "prompt": "a", "source_prompt": "\udfff"},
    {"image": "000.png", "prompt": "a", "negative_prompt": "b \ud800"},
    {"image": "000.png", "prompts": ["a good one", "another \ud800"]},
    {"image": "000.png", "prompt": "a", "name": "manifest.jsonl/a"},
    {"image": "000.png", "prompt": "a", "name": "manifest.jsonl/deep/a"},
    {"image": "000.png", "prompt": "a", "name": "é\ud800"},
    {"image": "000.png", "prompt": "a", "feather": 3},
    {"image": "000.png", "prompt": "a", "fit": "round"},
    {"image": "000.png", "prompt": "a", "guidance_scale": 1000},
    {"image": "000.png", "prompt": "a", "fit": "own", "width": 32},
    {"source_prompt": "a", "prompt": "a", "seed": -1},
    {"source_prompt": "a", "prompt": "a", "seed": 2**70},
    {"source_prompt": "a", "prompt": "a", "box": [0, 0, 900, 10]},
    {"source_prompt": "a", "prompt": "a", "mask": "small.png"},
    {"prompt": "a"},
]
BAD = [*(row for row, _ in BAD_ENTRIES), *MORE_BAD]
GOOD: list[dict[str, Any]] = [
    {"image": "000.png", "prompt": "a"},
    {"image": "001.png", "prompts": ["a", "b"], "mask": "half.png"},
    {"image": "001.png", "prompt": "a", "name": "deep/er/a"},
    {"source_prompt": "a", "prompt": "b", "auto_mask": True},
    {"image": "000.png", "prompt": "a long one " * 40, "method": "ddim"},
]


@pytest.fixture
def cwd(tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures and masks, good and bad, and a model."""
    monkeypatch.chdir(tmp_path)
    fill_folder(tmp_path, checkpoint, 2)
    write_bad_files(tmp_path / "in")
    for name, colour, size in (("small", 255, (9, 9)), ("black", 0, (64, 64))):
        Image.new("L", size, colour).save(tmp_path / "in" / f"{name}.png")
    half = Image.new("L", (64, 64))
    half.paste(255, (0, 0, 32, 64))
    half.save(tmp_path / "in" / "half.png")
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, dict[str, Any], str]:
    """The exit code, the report and what is on stderr."""
    capsys.readouterr()
    code = main(["batch", *line, *FAST])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def name_failures(records: list[dict[str, Any]]) -> set[tuple[int, str | None, str]]:
    return {(one["row"], one.get("prompt"), one["error"]) for one in records if "error" in one}


def check_agreement(
    rows: list[Any], cwd: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same edits fail for the same reasons, with one exit code; a dry run writes nothing."""
    job = write_jsonl(cwd / "in" / "job.jsonl", rows)
    code, dry, err = call(capsys, job, "-o", out, "--dry-run")
    assert not (cwd / out).exists()
    real_code, real, _ = call(capsys, job, "-o", out)
    want = name_failures(read_records(cwd / out))
    assert name_failures(dry["errors"]) == want
    assert (code, dry["bad"], dry["edits"]) == (real_code, real["failed"], real["written"])
    assert all(f"row {row}: {error}" in err for row, _, error in want)
    assert dry["unet_rows"] == real["unet_rows"]  # what fails costs nothing, not even a source


def test_every_kind_of_bad_row_is_named_as_in_the_run(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_agreement([row for bad in BAD for row in (bad, GOOD[0])], cwd, "out", capsys)
    failed = {row for row, *_ in name_failures(read_records(cwd / "out"))}
    assert failed == set(range(1, 2 * len(BAD), 2))


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_table_fails_in_a_dry_run_as_in_the_run(
    data: st.DataObject, cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = data.draw(st.lists(st.sampled_from([*GOOD, *BAD]), min_size=1, max_size=12))
    out = f"out-{len(list(cwd.glob('out-*')))}"
    check_agreement(rows, cwd, out, capsys)


def test_what_failed_before_has_the_exit_code_of_the_run(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_jsonl(cwd / "job.jsonl", [{"image": "none.png", "prompt": "a"}])
    assert call(capsys, job, "-o", "out")[0] == 1
    code, dry, _ = call(capsys, job, "-o", "out", "--dry-run")
    assert (code, dry["failed_before"], dry["errors"]) == (1, 1, [])
    code, dry, _ = call(capsys, job, "-o", "out", "--dry-run", "--retry-failed")
    assert (code, dry["bad"], dry["errors"][0]["row"]) == (1, 1, 1)


def test_a_name_below_a_file_of_the_output_fails(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cwd / "out").mkdir()
    (cwd / "out" / "b").write_text("a file")
    job = write_jsonl(cwd / "job.jsonl", [{"image": "in/000.png", "prompt": "a", "name": "b/c"}])
    code, dry, err = call(capsys, job, "-o", "out", "--dry-run")
    assert (code, dry["bad"]) == (1, 1) and "row 1: name must be that of a new file" in err
    assert call(capsys, job, "-o", "out")[0] == 1


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_an_output_that_can_t_be_written_fails_rehearsal_and_run(
    more: tuple[str, ...], cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    job = write_jsonl(cwd / "job.jsonl", [{"image": "in/000.png", "prompt": "a"}])
    code, _, err = call(capsys, job, "-o", "/proc/self/out", *more)
    assert code == 2 and "output must be a folder that can be written, got" in err
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # as on a disk that is full
    try:
        code, _, err = call(capsys, job, "-o", "out", *more)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2 and f"got {os.strerror(errno.EFBIG)!r}: 'out'" in err
    assert not (cwd / "out").exists()


def test_a_dry_run_finds_another_batch_in_the_folder(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_jsonl(cwd / "job.jsonl", [{"image": "in/000.png", "prompt": "a"}])
    with manifest.open_manifest(cwd / "out"):
        code, _, err = call(capsys, job, "-o", "out", "--dry-run")
    assert code == 2 and "another batch is writing to 'out'" in err
    assert call(capsys, job, "-o", "out", "--dry-run")[0] == 0


def test_a_dry_run_says_when_the_disk_may_be_too_small(
    cwd: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mdp_lite.batch.forecast.free_bytes", lambda out: 3000)
    job = write_jsonl(cwd / "job.jsonl", [{"image": "in/000.png", "prompt": "a"}])
    code, dry, err = call(capsys, job, "-o", "out", "--dry-run")
    assert (code, dry["picture_bytes"]) == (0, 32 * 32 * 3)
    assert "the disk may be too small: the pictures take up to 3.07 kB, 3 kB are free" in err


def test_a_dry_run_says_the_memory_of_the_largest_edit(
    cwd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"image": "in/000.png", "prompt": "a", "method": "ddim"}
    large = {"source_prompt": "a", "prompt": "b", "width": 64, "height": 64, "steps": 3}
    bad = {**large, "width": 640, "height": 640, "box": [0, 0, 900, 10]}
    job = write_jsonl(cwd / "job.jsonl", [small, large, bad])
    _, dry, _ = call(capsys, job, "-o", "out", "--dry-run")
    said = estimate_edit(Editor.from_pretrained("model", "cpu"), (64, 64), 3)
    assert dry["memory"] == describe_memory(said)
    assert main(["batch", job, "-o", "out", "--dry-run", *FAST[:-1]]) == 1
    assert format_memory(said) in capsys.readouterr().out
    call(capsys, job, "-o", "out")
    assert call(capsys, job, "-o", "out", "--dry-run")[1]["memory"] is None  # all is there


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_cluster_that_does_not_answer_fails_rehearsal_and_run(
    more: tuple[str, ...], cwd: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("mdp_lite.batch.cluster.check_ray", lambda: None)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    job = write_jsonl(cwd / "job.jsonl", [{"image": "in/000.png", "prompt": "a"}])
    code, _, err = call(capsys, job, "-o", "out", "--engine", "ray", *more)
    assert code == 2 and "RAY_ADDRESS must be that of a running cluster" in err
