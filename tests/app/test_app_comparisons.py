"""The same edit from each inversion of its picture: what each costs, and which can't be."""

from dataclasses import replace

import pytest

from mdp_lite import joins
from mdp_lite.app.results import EditSheet
from mdp_lite.app.sessions import Session
from mdp_lite.app.sheet_forecast import count_sheet_rows
from mdp_lite.app.sheet_plans import plan_variants
from mdp_lite.app.sheet_start import find_start
from mdp_lite.app.sheet_value import count_rows, describe_sheet, sheet_value
from mdp_lite.app.sheets import Others, make_sheet
from mdp_lite.app.streaming import StoppedByVisitor
from mdp_lite.app.studio import Studio
from mdp_lite.pictures import images
from support.studios import GENERATED, REAL, edit, rows, run_to_end, studio, visitor

__all__ = ["rows", "studio", "visitor"]  # fixtures

METHODS = ("replay", "ddim", "negative-prompt", "direct", REAL.method)


def compare(studio: Studio, visitor: Session, *methods: str) -> EditSheet:
    """The variants, and the shown edit from these inversions."""
    plan = plan_variants(find_start(visitor).form)
    sheet, _ = run_to_end(make_sheet(studio, visitor, plan, "compare", Others((), methods)))
    return sheet


def test_each_inversion_is_the_edit_that_the_page_would_make(
    studio: Studio, visitor: Session, rows: list[int]
) -> None:
    edit(studio, visitor, REAL)
    rows.clear()
    sheet = compare(studio, visitor, *METHODS)
    assert sum(rows) == sheet.cost.unet_rows and len(rows) == sheet.cost.unet_calls
    cells = sheet.cells[4:]
    assert [one.form.method for one in cells] == [one.name for one in cells] == list(METHODS)
    assert sheet.table.rows == ("Variants", "Inversions")
    assert sheet.table.lines[1] == tuple(range(4, 9))
    for one in cells:
        rows.clear()
        again, _ = edit(studio, visitor, one.form)
        assert images.open_picture(again.edit_file).tobytes() == (
            images.open_picture(one.file).tobytes()
        )
        assert one.source_cost == again.last.source.cost and one.cost == again.edit.cost
        if one.form != REAL:
            assert count_rows(one) == sum(rows)  # what the edit takes by itself
            assert one.is_measured and one.seconds and one.seconds > 0
    assert cells[-1].seconds is None  # its source was there already
    assert len({one.file.read_bytes() for one in cells}) == len(METHODS)


def test_the_visitor_s_own_source_stays(studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, REAL)
    compare(studio, visitor, *METHODS)
    assert edit(studio, visitor, replace(REAL, prompt="a green boat"))[0].reused


def test_an_inversion_that_can_t_be_is_left_out_with_its_reason(
    studio: Studio, visitor: Session
) -> None:
    edit(studio, visitor, replace(REAL, negative_prompt="a car"))
    sheet = compare(studio, visitor, "replay", "negative-prompt")
    assert [one.name for one in sheet.cells[4:]] == ["replay"]
    (note,) = sheet.notes
    assert note.startswith("negative-prompt is left out: ") and "'a car'" in note


def test_a_picture_made_from_words_has_no_inversion(studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, GENERATED)
    sheet = compare(studio, visitor, "replay")
    assert len(sheet.cells) == 4 and "no picture to invert" in sheet.notes[0]


def test_it_is_stopped_while_it_inverts(studio: Studio, visitor: Session, rows: list[int]) -> None:
    edit(studio, visitor, REAL)
    run = make_sheet(studio, visitor, plan_variants(REAL), "compare", Others((), ["ddim"]))
    with pytest.raises(StoppedByVisitor):
        for one in run:
            if one.stage == "ddim: inverting the picture":
                visitor.stop()
                calls = len(rows)
    assert len(rows) <= calls + 1 and "compare" not in visitor.sheets


def test_the_value_says_what_each_costs(studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, REAL)
    sheet = compare(studio, visitor, "replay", REAL.method)
    value = sheet_value(visitor, "compare")
    assert value and [len(line) for line in value["cells"]] == [4, 2] and value["columns"] == []
    replay, own = value["cells"][1]
    cell = sheet.cells[4]
    assert replay["rows"] == cell.source_cost.unet_rows + cell.cost.unet_rows
    assert not replay["about"] and own["seconds"] is None
    assert any("which was computed before" in one for one in own["details"])
    total = sum(count_rows(one) for one in sheet.cells)
    assert f"One by one they take {total} rows." in describe_sheet(sheet)[0]


def test_other_visitors_are_told_how_long_it_takes(
    studio: Studio, visitor: Session, rows: list[int]
) -> None:
    edit(studio, visitor, replace(REAL, where="found"))
    methods = ["replay", "ddim", REAL.method]
    plan, start = plan_variants(find_start(visitor).form), find_start(visitor)
    dry_editor = studio.menu.first.dry_editor
    expected = count_sheet_rows(dry_editor, start, plan.forms, (), methods)
    rows.clear()
    compare(studio, visitor, *methods)
    assert sum(rows) == expected
    assert count_sheet_rows(dry_editor, start, plan.forms, joins.build_rivals()) == (
        count_sheet_rows(dry_editor, start, plan.forms) + 3 * REAL.steps
    )
