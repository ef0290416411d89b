"""The form of the app: its checks, its request, and the same edit elsewhere."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mdp_lite.__main__ import main
from mdp_lite.app.form import (
    CASES,
    EditForm,
    build_request,
    check_bounds,
    check_form,
    default_form,
    fill_form,
    schedule_of,
)
from mdp_lite.app.restore import restore_form
from mdp_lite.app.results import AppResult
from mdp_lite.app.runs import MASK_FILE
from mdp_lite.app.sessions import Session
from mdp_lite.app.snippets import python_code, shell_command
from mdp_lite.app.studio import Studio
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.editor import Editor
from mdp_lite.names import DEFAULT_MODEL
from mdp_lite.pictures import images
from support.studios import GENERATED, REAL, edit, picture, studio, visitor

__all__ = ["studio", "visitor"]  # fixtures

BAD = [
    ({"prompt": " "}, "the edit prompt must say"),
    ({"case": "prompt", "source_prompt": ""}, "the source prompt must say"),
    ({"prompt": "a" * 1001}, "the prompt must have at most 1000 letters, got 1001"),
    ({"prompt": None}, "prompt must be a text"),
    ({"variant": "all"}, "variant must be one of"),
    ({"steer": ""}, "steer must be one of"),
    ({"method": ["ddim"]}, "method must be one of"),
    ({"fit": "own"}, "fit must be one of crop, pad, resize"),
    ({"steps": 0}, "steps must be from 1 to 200, got 0"),
    ({"steps": 10**6}, "steps must be from 1 to 200"),
    ({"steps": 2.5}, "steps must be a whole number"),
    ({"steps": 150, "method": "null-text"}, "steps must be from 1 to 100"),
    ({"guidance_scale": 0.5}, "guidance must be from 1 to 30"),
    ({"guidance_scale": float("nan")}, "guidance must be a finite number"),
    ({"strength": 1.5}, "strength must be from 0 to 1"),
    ({"seed": -1}, "seed must be from 0"),
    ({"feather": 65}, "feather must be from 0 to 64"),
    ({"steer": "window", "t_m": 11, "t_max": 9}, "the window must have 0 <= t_m <= t_max <= 10"),
    ({"steer": "window", "t_max": "9"}, "t_max must be a finite number"),
]
FORMS = {
    "picture": REAL,
    "prompt": replace(GENERATED, seed=7, variant="x"),
    "window": replace(REAL, steer="window", t_max=8, t_m=3.5, variant="c", schedule="linear"),
    "negative": replace(REAL, negative_prompt="night", method="ddim", fit="pad"),
    "seeded": replace(REAL, seed=3, variant="beta", schedule="cosine", prompt='it\'s a "boat"'),
    "found": replace(REAL, where="found", feather=2),
    "painted": replace(REAL, where="painted", feather=1),
    "found in a generated one": replace(GENERATED, where="found", negative_prompt="the night"),
}
QUICK = [  # all of them, some behind the marker
    pytest.param(name, marks=[] if name in ("picture", "prompt", "painted") else pytest.mark.slow)
    for name in FORMS
]


@pytest.mark.parametrize(("change", "sentence"), BAD, ids=[str(one)[:40] for one, _ in BAD])
def test_a_bad_field_is_one_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_form(replace(REAL, **change))
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


@pytest.mark.parametrize("case", CASES)
def test_a_page_starts_from_the_model_s_defaults(case: str, editor: Editor) -> None:
    form = default_form(editor, case)
    assert (form.steps, form.guidance_scale, form.t_max, form.t_m) == (10, 3.0, 9, 5)
    assert check_bounds(form) == form and schedule_of(form) is None


def test_numbers_of_a_browser_may_be_floats() -> None:
    form = fill_form(REAL, {"steps": 20.0, "seed": 4.0, "strength": 1.0})
    assert (form.steps, form.seed, form.strength) == (20, 4, 1.0)
    assert isinstance(form.steps, int) and isinstance(form.strength, float)


def test_painting_nothing_is_an_error(editor: Editor) -> None:
    source = editor.generate("a", 0, 2)
    with pytest.raises(ValueError, match="paint where the edit may happen first"):
        build_request(source, replace(REAL, where="painted"), None)


def mask() -> Image.Image:
    image = Image.new("L", (48, 40))
    image.paste(255, (8, 8, 30, 30))
    return image


@pytest.fixture
def run_form(
    studio: Studio, visitor: Session, checkpoint: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:  # fmt: skip
    """Runs a form by name in an empty folder, where the model is named "random"."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    Path("random").symlink_to(checkpoint)
    picture().save("photo.png")

    def run(name: str) -> AppResult:
        form = FORMS[name]
        result, _ = edit(studio, visitor, form, mask())
        mask_file = result.edit_file.with_name(MASK_FILE)
        if mask_file.exists():
            Path(MASK_FILE).write_bytes(mask_file.read_bytes())
        return result

    return run


@pytest.mark.parametrize("name", QUICK)
def test_the_command_line_makes_the_same_picture(name: str, run_form: Any) -> None:
    result, line = run_form(name), shell_command(FORMS[name], "photo.png", "random")
    program, *words = shlex.split(line)
    assert program == "mdp-lite" and main([*words, "--quiet"]) == 0
    want = images.open_picture(result.edit_file)
    assert images.open_picture("edited.png").tobytes() == want.tobytes()


@pytest.mark.parametrize("name", QUICK)
def test_the_python_makes_the_same_picture(name: str, run_form: Any) -> None:
    result = run_form(name)
    exec(python_code(FORMS[name], "photo.png", "random"), {})
    want = images.open_picture(result.edit_file)
    assert images.open_picture("edited.png").tobytes() == want.tobytes()


def test_the_bundled_model_needs_no_name() -> None:
    assert "--model" not in shell_command(REAL, "photo.png", DEFAULT_MODEL)
    assert "from_pretrained()" in python_code(REAL, "photo.png", DEFAULT_MODEL)


# settings of a PNG


@pytest.mark.parametrize("name", FORMS)
def test_a_png_restores_its_form(name: str, run_form: Any) -> None:
    result = run_form(name)
    form, notes = restore_form(str(result.edit_file), EditForm(), "random")
    want = FORMS[name]
    if want.steer == "strength":  # the unused window is not in the picture
        want = replace(want, t_max=EditForm().t_max, t_m=EditForm().t_m)
    if want.where == "everywhere":
        want = replace(want, feather=form.feather)
    assert form == want
    assert any("Paint the mask again" in note for note in notes) == (name == "painted")


def test_a_png_of_the_command_line_restores_its_form(run_form: Any) -> None:
    run_form("picture")
    line = "edit photo.png --prompt boat --source-prompt a --variant all --t-m 2 --proximal 0.5"
    assert main([*line.split(), "--sheet", "edited.sheet.png", "--model", "random", "--quiet"]) == 0
    form, notes = restore_form("edited-c.png", REAL, "random")
    assert (form.variant, form.steer, form.t_m, form.prompt) == ("c", "window", 2.0, "boat")
    assert notes[0] == "proximal is not on this page and was left out."
    assert restore_form("edited.sheet.png", REAL, "random")[0].variant == "epsilon"
    assert main("generate house --seed 5 --model random --quiet".split()) == 0
    form, notes = restore_form("out.png", REAL, "other")
    assert (form.case, form.source_prompt, form.seed) == ("prompt", "house", 5)
    assert form.prompt == REAL.prompt
    assert notes == ["It was made with the model 'random', this page has 'other'."]


def test_a_png_of_recorded_noise_restores_its_prompt_and_seed(run_form: Any) -> None:
    run_form("picture")
    line = "edit --source-prompt house --prompt boat --seed 5 --record-noise --guidance-scale 2"
    assert main([*line.split(), "--model", "random", "--quiet"]) == 0
    form, notes = restore_form("edited.png", REAL, "random")
    assert (form.case, form.source_prompt, form.prompt, form.seed) == ("prompt", "house", "boat", 5)
    assert form.guidance_scale == 2
    assert notes == ["record_noise is not on this page and was left out."]


def test_a_png_of_an_edit_with_null_rows_left_out_says_so(run_form: Any) -> None:
    run_form("picture")
    line = "edit --source-prompt house --prompt boat --guidance-every 2"
    assert main([*line.split(), "--model", "random", "--quiet"]) == 0
    notes = restore_form("edited.png", REAL, "random")[1]
    assert notes == ["guidance_every is not on this page and was left out."]


@pytest.mark.parametrize("variant, local", [("epsilon", True), ("x", False)])
def test_the_default_schedule_suits_the_variant(editor: Editor, variant: str, local: bool) -> None:
    usual = Editor(replace(editor.models, defaults=Defaults(8, 3.0)), editor.device)
    form = replace(default_form(usual, "picture"), variant=variant, prompt="a boat")
    assert (form.t_max, form.t_m) == (8, 3)
    source = usual.invert(picture(), "a house", num_inference_steps=8)
    weights = usual.edits([build_request(source, form, None)])[0].weights
    assert (weights.local is not None) == local


def png(path: Path, settings: Any) -> str:
    images.save_png(picture(8, 8), path, settings)
    return str(path)


@pytest.mark.parametrize("bad", [
    {"num_inference_steps": 10**9}, {"variant": "c", "prompt": ["a"]},
    {"method": "generate", "seed": "x"}, {"method": "generate", "seed": 1.5},
    {"variant": "c", "strength": 7}, {"t_max": {}, "variant": 1},
    {"method": "magic"}, {"fit": "own"}, {"inversion": {"seed": -4}}, {"where": ["found"]},
])  # fmt: skip
def test_settings_of_a_png_are_checked(bad: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        restore_form(png(tmp_path / "a.png", bad), REAL, "tiny")
    assert "\n" not in str(caught.value)


def test_a_picture_without_settings_is_named(tmp_path: Path) -> None:
    picture(8, 8).save(tmp_path / "plain.png")
    for name in ("plain.png", "none.png"):
        with pytest.raises(ValueError, match=name) as caught:
            restore_form(str(tmp_path / name), REAL, "tiny")
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ValueError, match="give a PNG"):
        restore_form(None, REAL, "tiny")
    assert json.dumps(restore_form(png(tmp_path / "b.png", {}), REAL, "tiny")[0].seed) == "0"
