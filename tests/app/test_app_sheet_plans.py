"""Which edits a sheet has and where they stand; windows are suggested for every number of steps."""

from dataclasses import replace

import pytest

from mdp_lite.app.form import EditForm, default_form
from mdp_lite.app.sheet_plans import (
    MAX_CELLS,
    plan_strengths,
    plan_variants,
    plan_windows,
    read_numbers,
    suggest_windows,
)
from mdp_lite.editor import Editor
from mdp_lite.names import VARIANTS
from support.studios import GENERATED, REAL


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 12, 50, 200])
def test_suggested_windows_are_different_whole_numbers(editor: Editor, steps: int) -> None:
    form = default_form(editor, "picture", steps)
    for text, own in zip(suggest_windows(form), (form.t_max, form.t_m), strict=True):
        numbers = read_numbers("t_max", text)
        assert len(numbers) == len(text.split(",")) == min(3, steps)
        assert all(1 <= one <= steps and one % 1 == 0 for one in numbers)
        assert numbers == sorted(numbers)
        assert round(own) in numbers or not 1 <= round(own) <= steps
    assert plan_windows(replace(form, prompt="a boat"), ["x"], *suggest_windows(form)).forms


@pytest.mark.parametrize(("t_max", "t_m", "want"), [
    (47, 26, ("44, 47, 50", "20, 26, 32")),
    (50, 50, ("44, 47, 50", "38, 44, 50")),
    (1, 0, ("1, 4, 7", "1, 7, 13")),
    (46.5, 17, ("43, 46, 49", "11, 17, 23")),
])  # fmt: skip
def test_windows_are_suggested_around_the_edit_s_own(t_max, t_m, want: tuple[str, str]) -> None:
    assert suggest_windows(replace(REAL, steps=50, t_max=t_max, t_m=t_m)) == want


def check_places(plan, values) -> None:
    """Assert that every form stands in the row and the column of its values."""
    seen = []
    for y, line in enumerate(plan.lines):
        assert len(line) == len(plan.columns)
        for x, k in enumerate(line):
            if k is not None:
                seen.append(k)
                row, column = values(plan.forms[k])
                assert (row, column) == (plan.rows[y], plan.columns[x])
    assert sorted(seen) == list(range(len(plan.forms)))


def test_t_max_goes_across_and_t_m_goes_down() -> None:
    plan = plan_windows(REAL, ["x"], "6, 8, 9", "3, 5, 7, 10")
    assert plan.rows == ("t_m 3", "t_m 5", "t_m 7")  # 10 is longer than every t_max
    assert plan.lines[2][0] is None
    check_places(plan, lambda form: (f"t_m {form.t_m:g}", f"t_max {form.t_max:g}"))
    assert {form.steer for form in plan.forms} == {"window"}


def test_variants_have_rows_for_themselves() -> None:
    plan = plan_windows(REAL, ["x", "c", "x"], "8, 9", "3, 5")
    check_places(plan, lambda form: (f"{form.variant}, t_m {form.t_m:g}", f"t_max {form.t_max:g}"))
    assert len(plan.forms) == 8


def test_strengths_go_across_and_variants_down() -> None:
    plan = plan_strengths(GENERATED, ["x", "c"], 5)
    check_places(plan, lambda form: (form.variant, f"strength {form.strength:g}"))


def test_a_comparison_has_the_four_variants_in_one_row() -> None:
    plan = plan_variants(REAL)
    assert plan.columns == () and plan.lines == ((0, 1, 2, 3),)
    assert [form.variant for form in plan.forms] == list(VARIANTS)
    assert {replace(form, variant=REAL.variant) for form in plan.forms} == {REAL}


def test_the_settings_of_the_edit_stay() -> None:
    form = EditForm("picture", "a house", "a boat", "beta", guidance_scale=3, steps=12, seed=4)
    for plan in (plan_windows(form, ["beta"], "9", "5"), plan_strengths(form, ["beta"], 2)):
        for one in plan.forms:
            kept = {"steer": form.steer, "t_max": form.t_max, "t_m": form.t_m}
            assert replace(one, strength=form.strength, **kept) == form


def test_a_long_list_is_refused_before_it_is_multiplied() -> None:
    many = ",".join(map(str, range(5000)))
    with pytest.raises(ValueError, match=f"t_max must be at most {MAX_CELLS} numbers, got 5000"):
        plan_windows(REAL, VARIANTS, many, many)
