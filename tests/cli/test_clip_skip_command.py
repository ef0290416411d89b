"""--clip-skip on every command that loads a model: the picture, what it says, what `info` says."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.cli.model_options import CheckpointOptions, ModelOptions
from mdp_lite.editor import Editor
from mdp_lite.pictures import images

PROMPT, STEPS = "a red house", 2


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_a_picture(checkpoint: Path, tmp_path: Path) -> None:
    out, plain = tmp_path / "skipped.png", tmp_path / "plain.png"
    line = [
        "generate",
        PROMPT,
        "--model",
        str(checkpoint),
        "--steps",
        str(STEPS),
        "--device",
        "cpu",
    ]
    assert main([*line, "--clip-skip", "1", "-o", str(out)]) == 0
    assert main([*line, "-o", str(plain)]) == 0
    editor = Editor.from_pretrained(checkpoint, "cpu", clip_skip=1)
    want = np.asarray(editor.generate(PROMPT, num_inference_steps=STEPS).image)
    assert np.array_equal(pixels(out), want)
    assert not np.array_equal(pixels(plain), want)
    settings = [images.read_settings(path) for path in (out, plain)]
    assert settings[0]["clip_skip"] == 1 and "clip_skip" not in settings[1]


def test_info(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(checkpoint), "--clip-skip", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["clip_skip"] == 1
    assert main(["info", str(checkpoint), "--clip-skip", "1"]) == 0
    assert "clip skip     1\n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["info", "generate a"])
def test_more_than_there_are(
    command: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = [str(checkpoint)] if command == "info" else ["--model", str(checkpoint)]
    assert main([*command.split(), *place, "--clip-skip", "2"]) == 2
    assert "--clip-skip must be from 0 to 1, as the text encoder has 1 layers" in (
        capsys.readouterr().err
    )


def test_files_have_none(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(checkpoint), str(tmp_path / "out"), "--clip-skip", "1"]) == 2
    assert "--clip-skip is for running a model, not for its files" in capsys.readouterr().err


def test_whatever_loads_a_model_has_it() -> None:
    assert "clip_skip" in {field.name for field in fields(CheckpointOptions)}
    assert ModelOptions().checkpoint == CheckpointOptions()
