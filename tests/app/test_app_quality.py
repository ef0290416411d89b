"""The qualities of the page: they set the steps and the window, and the result says the cost."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mdp_lite.app.form import CASES, EditForm, build_request, default_form
from mdp_lite.app.quality import (
    build_qualities,
    choose_steps,
    compare_quality,
    list_qualities,
    name_quality,
)
from mdp_lite.app.sessions import Session
from mdp_lite.app.studio import Studio
from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.editor import Editor
from support.studios import GENERATED, REAL, edit, picture, submission

STEPS = {
    Defaults(50, 3.0): {"draft": 8, "standard": 20, "best": 50},
    Defaults(20, 3.0): {"draft": 8, "best": 20},
    Defaults(10, 3.0): {"draft": 8, "best": 10},
    Defaults(4, 1.0, distilled=True): {"draft": 2, "best": 4},
    Defaults(1, 1.0, distilled=True): {"best": 1},
    Defaults(8): {"best": 8},
    Defaults(5): {"best": 5},
}


def change_defaults(editor: Editor, defaults: Defaults) -> Editor:
    return Editor(replace(editor.models, defaults=defaults), editor.device)


@pytest.fixture
def studio(editor: Editor, tmp_path: Path) -> Studio:
    """A studio over a model of 50 steps."""
    return Studio(change_defaults(editor, Defaults(50, 3.0)), tmp_path)


@pytest.fixture
def visitor(studio: Studio) -> Session:
    return studio.sessions.get_or_create("one")


@pytest.mark.parametrize("defaults, steps", STEPS.items(), ids=str)
def test_the_choice_is_shown_if_a_quality_has_fewer_steps(
    defaults: Defaults, steps: dict[str, int], editor: Editor
) -> None:
    changed = change_defaults(editor, defaults)
    assert list_qualities(changed) == steps
    field = build_qualities(changed)
    assert field["choices"] == [(f"{name}: {n} steps", name) for name, n in steps.items()]
    assert field["visible"] == (len(steps) > 1) and field["value"] == "best"
    named = {n: name_quality(changed, n)["value"] for n in (*steps.values(), 3)}
    assert named == {**{n: name for name, n in steps.items()}, 3: None}


@pytest.mark.parametrize("case", CASES)
def test_a_click_sets_the_steps_and_their_window_and_another_the_default(
    case: str, studio: Studio
) -> None:
    for quality, steps in (("draft", 8), ("standard", 20), ("best", 50), (None, 50)):
        n, t_max, t_m = choose_steps(studio.editor, case, quality)
        form = default_form(studio.editor, case, steps)
        assert n == steps == form.steps
        assert (t_max, t_m) == (form.t_max, form.t_m)  # plain values: the fields have no limits
        assert steps >= t_max >= t_m
    assert default_form(studio.editor, case) == default_form(studio.editor, case, 50)


@pytest.mark.covering(1)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("steer", ["strength", "window"])
def test_the_result_says_rows_and_seconds_of_both(
    case: str, steer: str, studio: Studio, visitor: Session
) -> None:
    written = REAL if case == "picture" else GENERATED
    window = default_form(studio.editor, case, 8)
    form = replace(written, steps=8, steer=steer, t_max=window.t_max, t_m=window.t_m)
    result, _ = edit(studio, visitor, form)
    (line,) = compare_quality(studio, visitor, submission(form), result)
    assert count_rows(line, "A draft: (\\d+) UNet rows") == rows_of(studio.editor, form)
    slow = replace(form, steps=50)
    if steer == "window":
        usual = default_form(studio.editor, case)
        slow = replace(slow, t_max=usual.t_max, t_m=usual.t_m)
    assert count_rows(line, "The best, of 50 steps: (\\d+) rows") == rows_of(studio.editor, slow)
    here, there = map(float, re.findall(r"about ([\d.]+) s\b", line))
    assert here <= there
    again, _ = edit(studio, visitor, form)  # its source is there, the comparison is the same
    assert again.reused
    (later,) = compare_quality(studio, visitor, submission(form), again)
    assert re.sub(r"about [\d.]+ s", "", later) == re.sub(r"about [\d.]+ s", "", line)


def count_rows(line: str, pattern: str) -> int:
    found = re.search(pattern, line)
    assert found is not None, line
    return int(found[1])


def rows_of(editor: Editor, form: EditForm) -> int:
    """What the Editor says that the source and the edit of a form take."""
    if form.case == "picture":
        source = editor.invert(picture(), form.source_prompt, num_inference_steps=form.steps)
    else:
        source = editor.generate(form.source_prompt, 0, form.steps, form.guidance_scale)
    made = editor.edits([build_request(source, form, None)])[0]
    return source.cost.unet_rows + made.cost.unet_rows


def test_other_steps_compare_nothing(studio: Studio, visitor: Session) -> None:
    for steps in (7, 9):
        form = replace(REAL, steps=steps)
        result, _ = edit(studio, visitor, form)
        assert compare_quality(studio, visitor, submission(form), result) == []
