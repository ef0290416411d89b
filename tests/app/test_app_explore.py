"""Sheets of many edits of one source in the app."""

from dataclasses import replace

import pytest

from mdp_lite.app import explore, words
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import Stopped
from mdp_lite.app.studio import Studio
from mdp_lite.app.work import edited
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
from support.studios import DRAWN, REAL, asked, ended, rows, studio, visitor

__all__ = ["rows", "studio", "visitor"]  # fixtures


@pytest.mark.parametrize("form", [REAL, DRAWN], ids=["picture", "prompt"])
def test_a_sheet_has_what_edits_have_alone_for_less(
    form, studio: Studio, visitor: Session, rows: list[int]
) -> None:
    ended(edited(studio, visitor, asked(form)))
    rows.clear()
    forms = explore.windows(form, ["epsilon", "x"], "8, 9", "3, 5, 9")
    assert len(forms) == 2 * 5  # t_m 9 is more than t_max 8
    sheet, told = ended(explore.swept(studio, visitor, forms, "explore"))
    assert sum(rows) == sheet.shared.unet_rows < sum(cell.cost.unet_rows for cell in sheet.cells)
    assert len(rows) == sheet.shared.unet_calls and sheet.naive.unet_rows == 10 * 20
    assert told[-1].done == told[-1].total == 10
    cell = sheet.cells[7]
    alone, _ = ended(edited(studio, visitor, asked(cell.form)))
    assert alone.reused and alone.after.read_bytes() == cell.file.read_bytes()
    assert visitor.sheets["explore"] is sheet
    assert images.open_picture(sheet.whole).width > 8 * 192
    assert f"10 edits took {sheet.shared.unet_rows} UNet rows" in words.shared(sheet)[0]


def test_strengths_go_from_the_source_to_the_prompt(studio: Studio, visitor: Session) -> None:
    ended(edited(studio, visitor, asked(DRAWN)))
    forms = explore.strengths(DRAWN, ["epsilon"], 3)
    assert [form.strength for form in forms] == [0, 0.5, 1]
    sheet, _ = ended(explore.swept(studio, visitor, forms, "explore"))
    assert sheet.cells[0].psnr > sheet.cells[1].psnr > sheet.cells[2].psnr
    assert images.read_settings(sheet.cells[2].file)["strength"] == 1


def test_variants_are_compared_on_one_source(
    studio: Studio, visitor: Session, rows: list[int]
) -> None:
    made, _ = ended(edited(studio, visitor, asked(replace(REAL, where="found"))))
    rows.clear()
    forms = explore.compared(made.last.form)
    sheet, _ = ended(explore.swept(studio, visitor, forms, "compare"))
    assert [cell.form.variant for cell in sheet.cells] == list(VARIANTS)
    assert sum(rows) == sheet.shared.unet_rows  # the mask is not looked for again
    same = [cell for cell in sheet.cells if cell.form == made.last.form]
    assert images.open_picture(same[0].file).tobytes() == (
        images.open_picture(made.after).tobytes()
    )
    assert words.comparison(sheet).count("<tr>") == 5


def test_a_sheet_is_stopped(studio: Studio, visitor: Session, rows: list[int]) -> None:
    ended(edited(studio, visitor, asked(REAL)))
    rows.clear()
    run = explore.swept(studio, visitor, explore.compared(REAL), "compare")
    with pytest.raises(Stopped):
        for _ in run:
            visitor.stop()
            calls = len(rows)
    assert len(rows) <= calls + 1 and "compare" not in visitor.sheets


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda: explore.windows(REAL, [], "9", "5"), "choose at least one variant"),
    (lambda: explore.windows(REAL, ["c"], "9; 8", "5"), "t_max must be numbers"),
    (lambda: explore.windows(REAL, ["c"], "9", ""), "t_m must be at least one number"),
    (lambda: explore.windows(REAL, ["c"], "4", "5"), "at least one t_m must be at most"),
    (lambda: explore.windows(REAL, ["c"], "99", "5"), "the window must have"),
    (lambda: explore.windows(REAL, ["c"], "nan", "5"), "at least one t_m"),
    (lambda: explore.windows(REAL, ["q"], "9", "5"), "variant must be one of"),
    (lambda: explore.strengths(REAL, ["c"], 99), "strengths must be 2 to 8"),
    (lambda: explore.windows(REAL, VARIANTS, "6,7,8,9", "1,2,3"), "at most 40 cells, got 48"),
])  # fmt: skip
def test_a_bad_sheet_is_one_sentence(call, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


def test_a_sheet_needs_a_source(visitor: Session) -> None:
    with pytest.raises(ValueError, match="edit a picture first"):
        explore.last(visitor)


def test_what_the_page_says_is_escaped() -> None:
    said = words.lines(["<script>alert(1)</script>"])
    assert "<script>" not in said and "&lt;script&gt;" in said
