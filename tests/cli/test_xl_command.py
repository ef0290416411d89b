"""The options of SDXL on the command line: the same pictures as the library's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from mdp_lite.pipeline.xl import XLCondition
from support.sdxl import pipeline_xl

SIZES = (
    "--original-size 384x512 --crop 8,16 --negative-original-size 40x30 "
    "--negative-crop 1,2 --negative-target-size 50x60"
)
XL = XLCondition("d", "f", (512, 384), (16, 8), None, (30, 40), (2, 1), (60, 50))
COMMON = "--prompt-2 d --negative-prompt-2 f --negative-prompt h --steps 2 --guidance-scale 3"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xl") / "model"
    pipeline_xl(1).save_pretrained(folder)
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def run(line: str, model: Path, out: Path) -> int:
    return main([*line.split(), "--model", str(model), "--device", "cpu", "-o", str(out)])


def test_generate_and_edit(model: Path, tmp_path: Path) -> None:
    editor, out = Editor.from_pretrained(model, "cpu"), tmp_path / "out.png"
    assert run(f"generate a {COMMON} {SIZES}", model, out) == 0
    source = editor.generate("a", 0, 2, 3.0, "h", xl=XL)
    assert np.array_equal(pixels(out), np.asarray(source.image))
    assert images.read_settings(out)["xl"] == XL.describe()
    line = f"edit --source-prompt a --source-prompt-2 e --prompt b {COMMON} {SIZES} --strength 0.7"
    assert run(line, model, out) == 0
    source = editor.generate("a", 0, 2, 3.0, "h", xl=XLCondition("e", *list(vars(XL).values())[1:]))
    edit = editor.edit(source, "b", guidance_scale=3.0, negative_prompt="h", strength=0.7, xl=XL)
    assert np.array_equal(pixels(out), np.asarray(edit.picture))
    said = images.read_settings(out)
    assert said["xl"] == XL.describe() and said["source_xl"]["prompt_2"] == "e"


@pytest.mark.parametrize(
    ("line", "message"),
    {
        "--original-size 5": "--original-size must be WIDTHxHEIGHT such as 1024x768, got '5'",
        "--crop 1x2": "--crop must be X,Y such as 0,128, got '1x2'",
        "--negative-target-size 8x8": "--negative-target-size must be given together",
        "--original-size 0x8": "--original-size must be two whole numbers from 1 to 1048576, got "
        "'0x8'",
        "--negative-crop 1,1048577": "--negative-crop must be two whole numbers from 0 to 1048576",
        f"--crop {'9' * 5000},1": "--crop must be X,Y such as 0,128, got '999",
    }.items(),
)
def test_bad_ones(
    line: str, message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"generate a {line}", model, tmp_path / "out.png") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    {
        "generate a --crop 1,2": "--crop is for Stable Diffusion XL, the model reads no sizes",
        "edit --source-prompt a --prompt b --prompt-2 c": "--prompt-2 is for a second",
        "edit --source-prompt a --prompt b --source-prompt-2 c": "--source-prompt-2 is for a",
    }.items(),
)
def test_other_models(
    line: str, message: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence that names the option, when no weight has been read yet."""
    assert run(line, checkpoint, tmp_path / "out.png") == 2
    assert capsys.readouterr().err.startswith(f"mdp-lite: {message}")
