"""The page with SDXL: second prompts and sizes in forms, sources, snippets, restored pictures."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.__main__ import main
from mdp_lite.app.fields import FIELD_NAMES
from mdp_lite.app.form import XL_FIELDS, EditForm, build_form_xl, check_bounds
from mdp_lite.app.handlers import Handlers
from mdp_lite.app.restore import restore_form
from mdp_lite.app.runs import source_key
from mdp_lite.app.sessions import Session
from mdp_lite.app.snippets import python_code, shell_command
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from mdp_lite.pipeline.xl import XLCondition
from support.studios import GENERATED, REAL, edit, picture

FAST: dict[str, Any] = {"steps": 3, "t_max": 3, "t_m": 2}
SIZES = {
    "original_size": "64x48", "crop": "8,4", "target_size": "50x60",
    "negative_original_size": "10x20", "negative_crop": "1,2", "negative_target_size": "30x40",
}  # fmt: skip
SECONDS = {"source_prompt_2": "night", "prompt_2": "red", "negative_prompt_2": "it's blue"}
FORMS = {
    "picture": replace(REAL, **FAST, **SIZES, **SECONDS, negative_prompt="grass"),
    "prompt": replace(GENERATED, **FAST, **SECONDS, seed=7),
    "sizes": replace(GENERATED, **FAST, **SIZES),
    "its prompt is the negative one": replace(
        REAL, **FAST, source_prompt_2="night", method="negative-prompt"
    ),
}


@pytest.fixture(scope="module")
def xl_editor(checkpoint_xl: Path) -> Editor:
    return Editor.from_pretrained(checkpoint_xl, "cpu")


@pytest.fixture
def xl_studio(xl_editor: Editor, tmp_path: Path) -> Studio:
    return Studio(xl_editor, tmp_path / "studio")


@pytest.fixture
def visitor(xl_studio: Studio) -> Session:
    return xl_studio.sessions.get_or_create("one")


def test_a_form_is_what_the_library_reads() -> None:
    pairs = (None, (48, 64), (4, 8), (60, 50), (20, 10), (2, 1), (40, 30))
    assert build_form_xl(replace(REAL, **SIZES)) == XLCondition(None, *pairs)
    one = replace(REAL, **SECONDS)
    assert build_form_xl(one) == XLCondition("red", "it's blue")
    assert build_form_xl(one, "source_prompt_2") == XLCondition("night", "it's blue")
    assert build_form_xl(REAL) == XLCondition()


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.slow] * (one != "picture")) for one in FORMS]
)
def test_it_is_the_same_elsewhere_and_comes_back(
    name: str, xl_studio: Studio, visitor: Session, checkpoint_xl: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The command line, the Python code and the restored form make the same picture."""
    form = FORMS[name]
    result, _ = edit(xl_studio, visitor, form)
    plain, _ = edit(xl_studio, visitor, replace(form, **dict.fromkeys(XL_FIELDS, "")))
    want = (
        images.open_picture(result.edit_file).tobytes() if False else result.edit.picture.tobytes()
    )
    assert want != plain.edit.picture.tobytes() and not plain.reused
    monkeypatch.chdir(tmp_path)
    Path("random").symlink_to(checkpoint_xl)
    picture().save("photo.png")
    words = shlex.split(shell_command(form, "photo.png", "random"))[1:]
    assert main([*words, "--quiet"]) == 0
    assert images.open_picture("edited.png").tobytes() == want
    said = images.read_settings("edited.png")
    assert (said.get("xl"), said.get("source_xl")) == tuple(
        result.settings.get(key) for key in ("xl", "source_xl")
    )
    Path("edited.png").unlink()
    exec(python_code(form, "photo.png", "random"), {})
    assert images.open_picture("edited.png").tobytes() == want
    images.save_png(result.edit.picture, Path("page.png"), result.settings)
    restored, notes = restore_form("page.png", EditForm(crop="9,9", prompt_2="old"), "random")
    assert {k: getattr(restored, k) for k in XL_FIELDS} == {k: getattr(form, k) for k in XL_FIELDS}
    assert restored.negative_prompt == form.negative_prompt
    assert not any("Stable Diffusion XL" in one or "second" in one for one in notes)
    _, notes = restore_form("page.png", EditForm(), "random", reads_xl=False)
    assert "What Stable Diffusion XL read beside the prompts was left out." in notes


def test_what_a_source_depends_on() -> None:
    """A stored source of other sizes or another second prompt is never taken."""
    form = replace(GENERATED, **SIZES)
    changes = [{name: "1x2"} for name in XL_FIELDS if name != "prompt_2"]
    keys = {source_key("a", replace(form, **one), None) for one in ({}, *changes)}
    assert len(keys) == 1 + len(changes)
    assert source_key("a", replace(form, prompt_2="red"), None) in keys


def test_a_source_alone_comes_back(xl_editor: Editor, tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    settings = {"prompt": "a house", "method": "generate", "xl": {"prompt_2": "night"}}
    images.save_png(picture(), path, settings)
    form, _ = restore_form(str(path), replace(GENERATED, prompt_2="red", crop="1,2"), "m")
    assert (form.source_prompt_2, form.prompt_2, form.crop) == ("night", "red", "")


@pytest.mark.parametrize(
    "bad",
    [
        {"xl": []}, {"xl": {"prompt_2": 5}}, {"xl": {"crop": [1, 2]}}, {"source_xl": "a"},
        {"xl": {"original_size": [1, 2, 3]}}, {"xl": {"original_size": [True, 2]}},
        {"xl": {"prompt_2": "a" * 1001}}, {"source_xl": {"target_size": [1e9, 2]}},
    ],
)  # fmt: skip
def test_settings_of_a_png_are_checked(bad: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    images.save_png(picture(), path, {"prompt": "a", "variant": "x", "method": "generate"} | bad)
    with pytest.raises(ValueError) as caught:
        restore_form(str(path), GENERATED, "m")
    assert "\n" not in str(caught.value)


def test_an_edit_whose_source_read_other_sizes_says_so(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    settings = {"prompt": "a", "source_prompt": "b", "variant": "x", "method": "generate"}
    images.save_png(picture(), path, settings | {"xl": {"original_size": [1, 2]}})
    form, notes = restore_form(str(path), GENERATED, "m")
    assert form.original_size == "2x1"
    assert any("Its source read other sizes" in one for one in notes)


def test_clip_skip_is_part_of_the_same_elsewhere(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio(Editor.from_pretrained(checkpoint, "cpu", clip_skip=1), tmp_path / "studio")
    form = replace(GENERATED, **FAST)
    result, _ = edit(studio, studio.sessions.get_or_create("one"), form)
    monkeypatch.chdir(tmp_path)
    Path("random").symlink_to(checkpoint)
    assert main([*shlex.split(shell_command(form, None, "random", 1))[1:], "--quiet"]) == 0
    want = result.edit.picture.tobytes()
    assert images.open_picture("edited.png").tobytes() == want
    exec(python_code(form, None, "random", 1), {})
    assert images.open_picture("edited.png").tobytes() == want
    assert Handlers(studio).clip_skip == result.settings["clip_skip"] == 1
    assert "clip_skip=1" in python_code(form, None, "tiny", 1)
    images.save_png(result.edit.picture, Path("page.png"), result.settings)
    _, notes = restore_form("page.png", form, "random", clip_skip=1)
    assert not any("clip_skip" in one for one in notes)
    _, notes = restore_form("page.png", form, "random")
    assert "It was made with clip_skip 1, this page has 0." in notes


BAD = [
    ({"original_size": "5"}, "original size must be WIDTHxHEIGHT such as 1024x768, got '5'"),
    (
        {"original_size": "0x5"},
        "original size must be two whole numbers from 1 to 1048576, got '0x5",
    ),
    ({"crop": "-1,0"}, "crop must be X,Y such as 0,128, got '-1,0'"),
    ({"crop": "1,"}, "crop must be X,Y such as 0,128, got '1,'"),
    ({"crop": float("nan")}, "crop must be X,Y such as 0,128, got nan"),
    ({"target_size": True}, "target size must be WIDTHxHEIGHT such as 1024x768, got True"),
    ({"target_size": None}, None),
    ({"target_size": "8x1048577"}, "target size must be two whole numbers from 1 to 1048576"),
    ({"negative_crop": "1,2"}, "negative original size and negative target size must be given"),
    ({"prompt_2": 5}, "prompt 2 must be a text, got int"),
    ({"source_prompt_2": "a" * 1001}, "the source prompt 2 must have at most 1000 letters, got"),
    ({"negative_prompt_2": "\ud800"}, "negative prompt 2 must be valid Unicode"),
]


@pytest.mark.parametrize(("change", "sentence"), BAD)
def test_a_bad_field_is_one_sentence(change: dict[str, Any], sentence: str | None) -> None:
    if sentence is None:  # None leaves a field as it is
        assert check_bounds(replace(REAL, **change))
        return
    with pytest.raises(ValueError) as caught:
        check_bounds(replace(REAL, **change))
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


def test_another_model(editor: Editor, tmp_path: Path) -> None:
    """One sentence before any work; what changes no number is no error."""
    studio = Studio(editor, tmp_path / "studio")
    visitor, handlers = studio.sessions.get_or_create("one"), Handlers(studio)
    assert not studio.reads_xl
    for change, sentence in (
        ({"prompt_2": "red"}, "prompt 2 is for a second text encoder, the model has one: 'red'"),
        ({"source_prompt_2": "red"}, "source prompt 2 is for a second text encoder"),
        ({"negative_prompt_2": "red"}, "negative prompt 2 is for a second text encoder"),
        ({"crop": "1,2"}, "crop is for Stable Diffusion XL, the model reads no sizes"),
    ):
        form = replace(GENERATED, **FAST, **change)
        with pytest.raises(ValueError, match=sentence):
            edit(studio, visitor, form)
        values = tuple(getattr(form, name) for name in FIELD_NAMES["prompt"])
        assert sentence in handlers.plan(visitor, "prompt", None, None, values).replace(
            "&#x27;", "'"
        )
    assert visitor.last is None
    edit(studio, visitor, replace(GENERATED, **FAST, prompt_2=GENERATED.prompt))


@pytest.mark.browser  # gradio's page is built, though not opened
@pytest.mark.parametrize("kind", ["checkpoint", "checkpoint_xl"])
def test_only_sdxl_s_page_shows_them(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    page = pytest.importorskip("mdp_lite.app.page")
    resources = pytest.importorskip("mdp_lite.app.resources")
    editor = Editor.from_pretrained(request.getfixturevalue(kind), "cpu")
    blocks = resources.call_in_loop(lambda: page.build_page(Studio(editor, tmp_path)))
    groups = [
        one
        for one in blocks.blocks.values()
        if type(one).__name__ == "Group" and len(flatten(one)) == len(XL_FIELDS)
    ]
    assert [one.visible for one in groups] == [kind == "checkpoint_xl"]
    want = {name.replace("_", " ").capitalize() for name in XL_FIELDS}
    assert {field.label for field in flatten(groups[0])} == want


def flatten(block: Any) -> list[Any]:
    """The text boxes inside a block."""
    inner = [one for child in getattr(block, "children", ()) for one in flatten(child)]
    return inner or ([block] if hasattr(block, "placeholder") else [])


def test_the_page_s_handler_takes_them(xl_studio: Studio, visitor: Session) -> None:
    handlers, form = Handlers(xl_studio), FORMS["prompt"]
    values = [getattr(form, name) for name in FIELD_NAMES["prompt"]]
    request = type("Request", (), {"session_hash": "one"})()
    *_, last = handlers.edit_prompt(*[None, *values, request])
    assert "--prompt-2 red" in last[4] and "prompt_2='night'" in last[5]
    assert visitor.last and visitor.last.form == form
