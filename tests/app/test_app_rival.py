"""Prompt-to-Prompt beside the variants in the app: as eval makes it, on one source, stoppable."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mdp_lite import joins
from mdp_lite.app import explore, words
from mdp_lite.app.form import Form
from mdp_lite.app.made import Sheet
from mdp_lite.app.restore import restored
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import Progress, Stopped
from mdp_lite.app.studio import Studio
from mdp_lite.app.work import edited
from mdp_lite.editor import Editor
from mdp_lite.eval.contest import CONTROL
from mdp_lite.eval.rivals.asked import Asked
from mdp_lite.eval.rivals.prompt_to_prompt import prompt_to_prompt
from mdp_lite.eval.rivals.words import refined
from mdp_lite.pictures import images
from mdp_lite.pipeline.result import Cost, Source
from support.desks import running
from support.studios import DRAWN, REAL, asked, ended, picture, rows, studio, visitor

__all__ = ["rows", "studio", "visitor"]  # fixtures

NAME = "Prompt-to-Prompt"
(RIVAL,) = joins.rivals()


def compared(studio: Studio, visitor: Session) -> tuple[Sheet, list[Progress]]:
    """The comparison of the last edit's source."""
    forms = explore.compared(explore.last(visitor).form)
    return ended(explore.swept(studio, visitor, forms, "compare", [RIVAL]))


def direct(editor: Editor, source: Source, prompt: str = "a blue boat") -> Image.Image:
    """Prompt-to-Prompt's edit without the app, put back where it belongs."""
    to = editor.runner.guidance(prompt, "", 3.0)
    aligned = refined(editor.models.tokenizer, [source.prompt], [prompt])
    one = Asked(editor.models.unet, source.grid, source.path, to, editor.runner.v_prediction)
    with torch.no_grad():
        found = prompt_to_prompt(one, aligned, CONTROL)
    return source.frame.undone(editor.runner.decode(found.x), source.picture)


def shown(path: Path) -> bytes:
    return images.open_picture(path).tobytes()


def test_a_made_picture(studio: Studio, visitor: Session, rows: list[int]) -> None:
    made, _ = ended(edited(studio, visitor, asked(DRAWN)))
    rows.clear()
    sheet, told = compared(studio, visitor)
    assert [cell.form is None for cell in sheet.cells] == [False] * 4 + [True]
    rival = sheet.cells[-1]
    assert (rival.name, rival.cost) == (NAME, Cost(30, 10))  # three rows a step
    assert sum(rows) == sheet.shared.unet_rows and len(rows) == sheet.shared.unet_calls
    assert shown(rival.file) == direct(studio.editor, made.last.source).tobytes()
    assert [one.done for one in told if one.stage == NAME] != []
    assert words.comparison(sheet).count("<tr>") == 6 and NAME in words.comparison(sheet)


def test_a_picture_with_a_noise_of_its_own_is_inverted_again_once(
    studio: Studio, visitor: Session, rows: list[int]
) -> None:
    ended(edited(studio, visitor, asked(REAL)))
    first, told = compared(studio, visitor)
    again = studio.editor.invert(picture(), "a red house", "replay", 10)
    assert shown(first.cells[-1].file) == direct(studio.editor, again).tobytes()
    assert "inverted again, by replay: 10 UNet rows" in words.shared(first)[-1]
    assert any(one.stage == "Inverting the picture" for one in told)
    rows.clear()
    second, _ = compared(studio, visitor)
    assert second.notes == () and sum(rows) == second.shared.unet_rows
    assert first.shared.unet_rows - second.shared.unet_rows == again.cost.unet_rows == 10


def test_an_inversion_that_any_method_can_follow_is_followed(
    studio: Studio, visitor: Session
) -> None:
    made, _ = ended(edited(studio, visitor, asked(replace(REAL, method="replay"))))
    sheet, _ = compared(studio, visitor)
    assert sheet.notes == ()
    assert shown(sheet.cells[-1].file) == direct(studio.editor, made.last.source).tobytes()


def test_towards_the_source_s_own_prompt_it_is_the_source(studio: Studio, visitor: Session) -> None:
    ended(edited(studio, visitor, asked(replace(DRAWN, prompt=DRAWN.source_prompt))))
    sheet, _ = compared(studio, visitor)
    assert sheet.cells[-1].psnr > 55  # of float32: off by a level here and there, at most


def test_a_mask_keeps_the_rest(studio: Studio, visitor: Session) -> None:
    mask = Image.new("L", (48, 40))
    mask.paste(255, (4, 4, 24, 20))
    made, _ = ended(edited(studio, visitor, asked(replace(REAL, where="painted"), mask)))
    sheet, _ = compared(studio, visitor)
    before, after = images.open_picture(made.before), images.open_picture(sheet.cells[-1].file)
    assert after.crop((24, 0, 48, 40)).tobytes() == before.crop((24, 0, 48, 40)).tobytes()
    inside = (4, 4, 24, 20)
    assert after.crop(inside).tobytes() != before.crop(inside).tobytes()


def test_it_is_stopped(studio: Studio, visitor: Session, rows: list[int]) -> None:
    ended(edited(studio, visitor, asked(DRAWN)))
    run = explore.swept(studio, visitor, explore.compared(DRAWN), "compare", [RIVAL])
    rows.clear()
    with pytest.raises(Stopped):
        for one in run:
            if one.stage == NAME:
                visitor.stop()
                calls = len(rows)
    assert len(rows) <= calls + 1 and "compare" not in visitor.sheets


def test_without_guidance_it_is_left_out(studio: Studio, visitor: Session) -> None:
    ended(edited(studio, visitor, asked(replace(DRAWN, guidance_scale=1.0))))
    sheet, _ = compared(studio, visitor)
    assert len(sheet.cells) == 4
    assert words.shared(sheet)[-1] == f"{NAME} is left out: it needs guidance other than 1."


@pytest.mark.parametrize("form", [REAL, DRAWN], ids=["picture", "prompt"])
def test_at_a_desk_it_is_the_same(
    form: Form, studio: Studio, visitor: Session, tmp_path: Path
) -> None:
    ended(edited(studio, visitor, asked(form)))
    alone, _ = compared(studio, visitor)
    editor, desk = studio.editor, desk_of(studio.editor)

    @contextmanager
    def lend() -> Iterator[Editor]:
        with desk.member() as member:
            yield shared(editor, desk, member)

    there = Studio(editor, tmp_path / "desk", lend)
    with running(desk):
        ended(edited(there, there.sessions.of("one"), asked(form)))
        sheet, _ = compared(there, there.sessions.of("one"))
    for one, other in zip(alone.cells, sheet.cells, strict=True):
        assert (one.name, shown(one.file)) == (other.name, shown(other.file))
    assert desk.members == 0


def test_its_png_says_what_made_it(studio: Studio, visitor: Session) -> None:
    ended(edited(studio, visitor, asked(DRAWN)))
    sheet, _ = compared(studio, visitor)
    settings: dict[str, Any] = images.read_settings(sheet.cells[-1].file)
    assert (settings["variant"], settings["cross"], settings["prompt"]) == (
        NAME, CONTROL.cross, DRAWN.prompt
    )  # fmt: skip
    form, notes = restored(str(sheet.cells[-1].file), Form(), "random")
    assert (form.prompt, form.source_prompt, form.case) == ("a blue boat", "a red house", "prompt")
    assert notes == [f"It was made by {NAME!r}, which this page can't do alone."]
