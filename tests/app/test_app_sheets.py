"""Sheets of many edits of one source in the app."""

from dataclasses import replace

import pytest

from mdp_lite.app import markup, sheets
from mdp_lite.app.sessions import Session
from mdp_lite.app.sheet_plans import plan_strengths, plan_variants, plan_windows
from mdp_lite.app.sheet_start import find_start
from mdp_lite.app.streaming import StoppedByVisitor
from mdp_lite.app.studio import Studio
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
from support.studios import GENERATED, REAL, edit, rows, run_to_end, studio, visitor

__all__ = ["rows", "studio", "visitor"]  # fixtures


@pytest.mark.parametrize("form", [REAL, GENERATED], ids=["picture", "prompt"])
def test_a_sheet_has_the_same_edits_for_less(
    form, studio: Studio, visitor: Session, rows: list[int]
) -> None:
    edit(studio, visitor, form)
    rows.clear()
    plan = plan_windows(form, ["epsilon", "x"], "8, 9", "3, 5, 9")
    assert len(plan.forms) == 2 * 5  # t_m 9 is more than t_max 8
    sheet, reports = run_to_end(sheets.make_sheet(studio, visitor, plan, "explore"))
    assert sum(rows) == sheet.cost.unet_rows < sum(cell.cost.unet_rows for cell in sheet.cells)
    assert len(rows) == sheet.cost.unet_calls and sheet.naive.unet_rows == 10 * 20
    assert reports[-1].done == reports[-1].total == 10
    cell = sheet.cells[7]
    alone, _ = edit(studio, visitor, cell.form)
    assert alone.reused and alone.edit_file.read_bytes() == cell.file.read_bytes()
    assert visitor.sheets["explore"] is sheet
    assert sheet.table.columns == ("t_max 8", "t_max 9")
    assert sheet.table.rows[2:4] == ("epsilon, t_m 9", "x, t_m 3")
    assert sheet.table.lines == ((0, 2), (1, 3), (None, 4), (5, 7), (6, 8), (None, 9))
    tall = images.open_picture(sheet.sheet_file).height
    assert tall > 7 * 192  # the picture before the edits, and six rows
    assert 0 < sum(one.seconds for one in sheet.cells) and sheet.seconds > 0
    assert {one.is_measured for one in sheet.cells} == {False}
    assert f"10 edits took {sheet.cost.unet_rows} UNet rows" in markup.sheet_cost(sheet)[0]


def test_strengths_go_from_the_source_to_the_prompt(studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, GENERATED)
    plan = plan_strengths(GENERATED, ["epsilon"], 3)
    assert [form.strength for form in plan.forms] == [0, 0.5, 1]
    sheet, _ = run_to_end(sheets.make_sheet(studio, visitor, plan, "explore"))
    assert sheet.cells[0].psnr > sheet.cells[1].psnr > sheet.cells[2].psnr
    assert images.read_settings(sheet.cells[2].file)["strength"] == 1


def test_variants_are_compared_on_one_source(
    studio: Studio, visitor: Session, rows: list[int]
) -> None:
    result, _ = edit(studio, visitor, replace(REAL, where="found"))
    rows.clear()
    plan = plan_variants(result.last.form)
    sheet, _ = run_to_end(sheets.make_sheet(studio, visitor, plan, "compare"))
    assert [cell.form.variant for cell in sheet.cells] == list(VARIANTS)
    assert sum(rows) == sheet.cost.unet_rows  # the mask is not computed again
    same = [cell for cell in sheet.cells if cell.form == result.last.form]
    assert images.open_picture(same[0].file).tobytes() == (
        images.open_picture(result.edit_file).tobytes()
    )
    assert markup.comparison(sheet).count("<tr>") == 5


def test_a_sheet_is_stopped(studio: Studio, visitor: Session, rows: list[int]) -> None:
    edit(studio, visitor, REAL)
    rows.clear()
    run = sheets.make_sheet(studio, visitor, plan_variants(REAL), "compare")
    with pytest.raises(StoppedByVisitor):
        for _ in run:
            visitor.stop()
            calls = len(rows)
    assert len(rows) <= calls + 1 and "compare" not in visitor.sheets


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: plan_windows(REAL, [], "9", "5"), "choose at least one variant"),
    (lambda: plan_windows(REAL, ["c"], "9; 8", "5"), "t_max must be numbers"),
    (lambda: plan_windows(REAL, ["c"], "9", ""), "t_m must be at least one number"),
    (lambda: plan_windows(REAL, ["c"], "4", "5"), "at least one t_m must be at most"),
    (lambda: plan_windows(REAL, ["c"], "99", "5"), "the window must have"),
    (lambda: plan_windows(REAL, ["c"], "nan", "5"), "at least one t_m"),
    (lambda: plan_windows(REAL, ["q"], "9", "5"), "variant must be one of"),
    (lambda: plan_strengths(REAL, ["c"], 99), "strengths must be 2 to 8"),
    (lambda: plan_windows(REAL, VARIANTS, "6,7,8,9", "1,2,3"), "at most 40 cells, got 48"),
])  # fmt: skip
def test_a_bad_sheet_is_one_sentence(call, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_sheet_needs_a_source(visitor: Session) -> None:
    with pytest.raises(ValueError, match="edit a picture first"):
        find_start(visitor)


def test_texts_are_escaped() -> None:
    html = markup.status(["<script>alert(1)</script>"])
    assert "<script>" not in html and "&lt;script&gt;" in html
