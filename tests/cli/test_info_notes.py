"""What `mdp-lite info` and other commands say of a checkpoint's configs, and of its grid."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.pipeline.runner import warn_reach
from mdp_lite_kernels import attention
from support.checkpoints import write_json

ReadInfo = Callable[..., dict[str, Any]]
SCHEDULER = "scheduler/scheduler_config.json"
REACH = (
    "334 steps start at timestep 667 of 999, which is not pure noise: this checkpoint's leading "
    "spacing suits 333 steps better"
)


@pytest.fixture
def read_info(capsys: pytest.CaptureFixture[str]) -> ReadInfo:
    """Runs `info --json` and returns the object it printed."""

    def call(*line: object) -> dict[str, Any]:
        assert main(["info", *map(str, line), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the random model to change."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


@pytest.mark.covering(1)
@pytest.mark.parametrize("name, settings", [("sd-turbo", (4, 1.0)), ("my-model", (50, 7.5))])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_a_distilled_model_takes_few_steps(
    name: str, settings: tuple[int, float], spacing: str, copy: Path, read_info: ReadInfo
) -> None:
    """By its name; the spacing of its scheduler alone proves nothing."""
    (copy / "mdp_lite.json").unlink()
    raw = json.loads((copy / SCHEDULER).read_text("utf-8"))
    write_json(copy / SCHEDULER, raw | {"timestep_spacing": spacing})
    said = read_info(copy.rename(copy.parent / name), "--no-hash")
    defaults = said["defaults"]
    assert (defaults["num_inference_steps"], defaults["guidance_scale"]) == settings
    if spacing == "trailing":  # few steps have no window; 50 have guidance
        assert said["edit"]["unet_rows"] == (4 + 4 if name == "sd-turbo" else 100 + 66)
    inferred = "by default steps 4, guidance 1: the name sd-turbo says turbo"
    inferred = f"sampled by Euler on trailing timesteps, {inferred}"
    assert said["notes"] == ([inferred] if name == "sd-turbo" else [])


def test_it_says_what_was_ignored(
    copy: Path, read_info: ReadInfo, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = json.loads((copy / SCHEDULER).read_text("utf-8"))
    solver = {"_class_name": "DPMSolverMultistepScheduler", "flow_shift": 1.0}
    write_json(copy / SCHEDULER, raw | solver | {"magic": 1})
    write_json(copy / "mdp_lite.json", {"num_inference_steps": 334})
    notes = read_info(copy, "--no-hash")["notes"]
    assert notes == [
        "sampled by DDIM, the checkpoint was saved with DPMSolverMultistepScheduler",
        "scheduler: unknown options were ignored: magic 1",
        REACH,
    ]
    assert main(["info", str(copy), "--no-hash"]) == 0
    out = capsys.readouterr().out
    assert all(note in out for note in notes)


def test_a_size_may_be_a_height_and_a_width(copy: Path, read_info: ReadInfo) -> None:
    raw = json.loads((copy / "unet/config.json").read_text("utf-8"))
    write_json(copy / "unet/config.json", raw | {"sample_size": [8, 12]})
    said = read_info(copy, "--no-hash")
    assert said["picture"] == said["edit"]["picture"] == "48x32"
    assert Editor.from_pretrained(copy, "cpu").runner.size == (48, 32)


def test_a_command_warns_once_of_a_grid_that_starts_too_low(
    work_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["generate", "a red house", "--model", "model", "--steps", "334", "--dry-run"]
    for options, lines in (([], 1), ([], 0)):  # once in a process
        warn_reach.cache_clear() if lines else None
        assert main([*line, *options]) == 0
        assert capsys.readouterr().err.count(f"mdp-lite: {REACH}\n") == lines
    warn_reach.cache_clear()
    assert main([*line, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_the_library_logs_it_once(editor: Editor, caplog: pytest.LogCaptureFixture) -> None:
    warn_reach.cache_clear()
    with caplog.at_level(logging.WARNING, "mdp_lite"):
        for n in (334, 334, 333, 50, 334):
            editor.runner.grid(n)
    assert [record.getMessage() for record in caplog.records] == [REACH]


def test_it_says_what_this_installation_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    read_info: ReadInfo,
) -> None:  # fmt: skip
    """And how to get it; a wheel that was built without a compiler has no native attention."""
    lacks = read_info("tiny", "--no-hash")["machine"]
    assert lacks == [one for one in lacks if "native" in one or "convolutions" in one]
    monkeypatch.setattr(attention, "best_path", lambda: 0)
    monkeypatch.setattr(attention, "LIBRARY", tmp_path / "a" / "b" / "_attention.so")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert main(["info", "tiny", "--no-hash"]) == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("machine")]
    assert "native" in line and "install gcc, then run `pip install " in line
