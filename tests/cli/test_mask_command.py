"""mdp-lite edit with --mask, --box, --auto-mask, --fit: what it writes, costs and refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from mdp_lite.pipeline.masks import MASK_STEPS

EDIT = ("edit", "photo.png", "--prompt", "a blue boat", "--source-prompt", "a", "--strength", "1")

Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def folder(work_folder: Path) -> Path:
    """The working folder with a picture and a mask of it."""
    Image.effect_noise((48, 40), 60).convert("RGB").save("photo.png")
    mask = Image.new("L", (48, 40))
    mask.paste(255, (10, 12, 30, 25))
    mask.save("mask.png")
    return work_folder


def changed() -> np.ndarray:
    """The pixels of edited.png that are not those of photo.png."""
    pictures = [np.asarray(images.open_picture(name)) for name in ("edited.png", "photo.png")]
    return (pictures[0] != pictures[1]).any(2)


@pytest.mark.parametrize("where", [("--mask", "mask.png"), ("--box", "10,12,30,25")])
def test_pixels_outside_stay(run: Run, where: tuple[str, str]) -> None:
    said = run(*EDIT, *where, "--save-mask", "used.png", "--sheet", "edited.sheet.png")
    inside = np.asarray(images.open_picture("mask.png")) > 0
    assert said["files"] == ["edited.png", "edited.sheet.png", "used.png"]
    assert not changed()[~inside].any() and changed()[inside].mean() > 0.9
    assert (np.asarray(images.open_picture("used.png")) > 0).tobytes() == inside.tobytes()
    assert said["settings"]["weights"].keys() <= {"eps"}
    assert images.open_picture("edited.sheet.png").width == 3 * 5 * 48 + 4 * 16


def test_no_paste_and_feather_reach_the_editor(run: Run, editor: Editor) -> None:
    source = editor.invert(images.open_picture("photo.png"), "a")
    for line, options in ((["--no-paste"], {"paste": False}), (["--feather", "3"], {"feather": 3})):
        run(*EDIT, "--box", "10,12,30,25", *line)
        want = editor.edit(source, "a blue boat", strength=1, mask=(10, 12, 30, 25), **options)  # type: ignore[arg-type]
        assert images.open_picture("edited.png").tobytes() == want.picture.tobytes()


def test_an_automatic_mask_is_saved_and_paid_for(run: Run) -> None:
    plain = run(*EDIT)
    said = run(*EDIT, "--auto-mask", "--save-mask", "used.png")
    dry = run(*EDIT, "--auto-mask", "--save-mask", "used.png", "--dry-run")
    assert said["cost"]["unet_rows"] == plain["cost"]["unet_rows"] + 2 * MASK_STEPS
    assert (dry["cost"], dry["files"]) == (said["cost"], said["files"])
    used = np.asarray(images.open_picture("used.png"))
    assert 0 < used.mean() < 255 and not changed()[used == 0].any()


@pytest.mark.parametrize(
    ("fit", "done"),
    [
        ("crop", "cropped at the centre and resized to 32x32"),
        ("pad", "resized and padded to 32x32"),
        ("resize", "resized to 32x32"),
    ],
)
def test_a_fit_is_described_and_undone(
    fit: str, done: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*EDIT, "--model", "model", "--fit", fit]) == 0
    assert capsys.readouterr().err == f"mdp-lite: the picture of 48x40 was {done}\n"
    assert images.open_picture("edited.png").size == (48, 40)
    assert images.read_settings("edited.png")["fit"] == fit


def test_own_and_invert_keep_the_size(run: Run) -> None:
    assert run(*EDIT, "--fit", "own")["settings"]["size"] == "48x40"
    said = run("invert", "photo.png", "--fit", "pad")
    assert images.open_picture("reconstruction.png").size == (48, 40)
    assert said["psnr_to_vae"] is None


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (["--box", "1,2,3"], "must be X0,Y0,X1,Y1 in pixels, got '1,2,3'"),
        (["--box", "1,2,3,nan"], "must be X0,Y0,X1,Y1 in pixels, got '1,2,3,nan'"),
        (["--box", "0,0,99,9"], "a box must have 0 <= x0 < x1 <= 48 and 0 <= y0 < y1 <= 40"),
        (["--mask", "mask.png", "--auto-mask"], "--mask and --auto-mask say the same thing"),
        (["--mask", "gone.png"], "got no such file: 'gone.png'"),
        (["--feather", "3"], "feather needs a mask: give --mask, --box or --auto-mask"),
        (["--save-mask", "a.png"], "save-mask needs a mask: give --mask, --box or --auto-mask"),
        (["--auto-mask", "--save-mask", "edited.png"], "save-mask must be another file than the"),
        (["--mask", "mask.png", "-o", "mask.png"], "output must not be the input picture"),
        (["--fit", "own", "--width", "32"], "fit own is the picture's own size"),
    ],
)
def test_bad_lines_are_one_sentence(
    line: list[str], sentence: str, folder: Path, says_one_line: Callable[[str], None]
) -> None:
    before = sorted(folder.iterdir())
    assert main([*EDIT, *line, "--model", "model", "--quiet"]) == 2
    says_one_line(sentence)
    assert sorted(folder.iterdir()) == before


def test_a_fit_needs_a_picture(folder: Path, says_one_line: Callable[[str], None]) -> None:
    line = ["edit", "--source-prompt", "a", "--prompt", "b", "--fit", "pad", "--model", "model"]
    assert main(line) == 2
    says_one_line("fit is for inverting a PICTURE, got 'pad' without one")
