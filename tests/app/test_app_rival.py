"""Prompt-to-Prompt beside the variants: the same as in eval, on one source, and stoppable."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mdp_lite import joins
from mdp_lite.app import markup, sheets
from mdp_lite.app.form import EditForm
from mdp_lite.app.restore import restore_form
from mdp_lite.app.results import EditSheet
from mdp_lite.app.runs import run_edit
from mdp_lite.app.sessions import Session
from mdp_lite.app.sheet_plans import plan_variants
from mdp_lite.app.sheet_start import find_start
from mdp_lite.app.sheets import Others
from mdp_lite.app.streaming import RunProgress, StoppedByVisitor
from mdp_lite.app.studio import Studio
from mdp_lite.batcher.client import client_editor, make_batcher
from mdp_lite.editor import Editor
from mdp_lite.eval.methods import CONTROL
from mdp_lite.eval.rivals.alignment import align_refinement
from mdp_lite.eval.rivals.prompt_to_prompt import prompt_to_prompt
from mdp_lite.eval.rivals.task import RivalTask
from mdp_lite.pictures import images
from mdp_lite.pipeline.result import Cost, Source
from support.batchers import running
from support.studios import (
    GENERATED,
    REAL,
    edit,
    picture,
    rows,
    run_to_end,
    studio,
    submission,
    visitor,
)

__all__ = ["rows", "studio", "visitor"]  # fixtures

NAME = "Prompt-to-Prompt"
(RIVAL,) = joins.build_rivals()


def compare(studio: Studio, visitor: Session) -> tuple[EditSheet, list[RunProgress]]:
    """The comparison of the last edit's source."""
    plan = plan_variants(find_start(visitor).form)
    return run_to_end(sheets.make_sheet(studio, visitor, plan, "compare", Others([RIVAL])))


def edit_directly(editor: Editor, source: Source, prompt: str = "a blue boat") -> Image.Image:
    """Prompt-to-Prompt's edit without the app, put back into the source's picture."""
    guidance = editor.runner.guidance(prompt, "", 3.0)
    words = align_refinement(editor.models.tokenizer, [source.prompt], [prompt])
    v_prediction = editor.runner.v_prediction
    task = RivalTask(editor.models.unet, source.grid, source.path, guidance, v_prediction)
    with torch.no_grad():
        x = prompt_to_prompt(task, words, CONTROL).x
    return source.fit.undo(editor.runner.decode(x), source.picture)


def pixels(path: Path) -> bytes:
    return images.open_picture(path).tobytes()


def test_a_generated_picture(studio: Studio, visitor: Session, rows: list[int]) -> None:
    result, _ = edit(studio, visitor, GENERATED)
    rows.clear()
    sheet, reports = compare(studio, visitor)
    assert [cell.form is None for cell in sheet.cells] == [False] * 4 + [True]
    rival = sheet.cells[-1]
    assert (rival.name, rival.cost) == (NAME, Cost(30, 10))  # three rows a step
    assert sum(rows) == sheet.cost.unet_rows and len(rows) == sheet.cost.unet_calls
    assert pixels(rival.file) == edit_directly(studio.editor, result.last.source).tobytes()
    assert [one.done for one in reports if one.stage == NAME] != []
    assert markup.comparison(sheet).count("<tr>") == 6 and NAME in markup.comparison(sheet)


def test_a_picture_with_noise_maps_is_inverted_again_once(
    studio: Studio, visitor: Session, rows: list[int]
) -> None:
    edit(studio, visitor, REAL)
    first, reports = compare(studio, visitor)
    again = studio.editor.invert(picture(), "a red house", "replay", 10)
    assert pixels(first.cells[-1].file) == edit_directly(studio.editor, again).tobytes()
    assert "inverted again, by replay: 10 UNet rows" in markup.sheet_cost(first)[-1]
    assert any(one.stage == "Inverting the picture" for one in reports)
    rows.clear()
    second, _ = compare(studio, visitor)
    assert second.notes == () and sum(rows) == second.cost.unet_rows
    assert first.cost.unet_rows - second.cost.unet_rows == again.cost.unet_rows == 10


def test_an_inversion_without_noise_maps_is_not_repeated(studio: Studio, visitor: Session) -> None:
    result, _ = edit(studio, visitor, replace(REAL, method="replay"))
    sheet, _ = compare(studio, visitor)
    assert sheet.notes == ()
    assert (
        pixels(sheet.cells[-1].file) == edit_directly(studio.editor, result.last.source).tobytes()
    )


def test_towards_the_source_s_own_prompt_it_is_the_source(studio: Studio, visitor: Session) -> None:
    run_to_end(
        run_edit(studio, visitor, submission(replace(GENERATED, prompt=GENERATED.source_prompt)))
    )
    sheet, _ = compare(studio, visitor)
    assert sheet.cells[-1].psnr > 55  # of float32: off by a level here and there, at most


def test_a_mask_keeps_the_rest(studio: Studio, visitor: Session) -> None:
    mask = Image.new("L", (48, 40))
    mask.paste(255, (4, 4, 24, 20))
    result, _ = run_to_end(
        run_edit(studio, visitor, submission(replace(REAL, where="painted"), mask))
    )
    sheet, _ = compare(studio, visitor)
    before, after = (
        images.open_picture(result.source_file),
        images.open_picture(sheet.cells[-1].file),
    )
    assert after.crop((24, 0, 48, 40)).tobytes() == before.crop((24, 0, 48, 40)).tobytes()
    inside = (4, 4, 24, 20)
    assert after.crop(inside).tobytes() != before.crop(inside).tobytes()


def test_it_is_stopped(studio: Studio, visitor: Session, rows: list[int]) -> None:
    edit(studio, visitor, GENERATED)
    run = sheets.make_sheet(studio, visitor, plan_variants(GENERATED), "compare", Others([RIVAL]))
    rows.clear()
    with pytest.raises(StoppedByVisitor):
        for one in run:
            if one.stage == NAME:
                visitor.stop()
                calls = len(rows)
    assert len(rows) <= calls + 1 and "compare" not in visitor.sheets


def test_without_guidance_it_is_left_out(studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, replace(GENERATED, guidance_scale=1.0))
    sheet, _ = compare(studio, visitor)
    assert len(sheet.cells) == 4
    assert markup.sheet_cost(sheet)[-1] == f"{NAME} is left out: it needs guidance other than 1."


@pytest.mark.parametrize("form", [REAL, GENERATED], ids=["picture", "prompt"])
def test_with_a_batcher_it_is_the_same(
    form: EditForm, studio: Studio, visitor: Session, tmp_path: Path
) -> None:
    edit(studio, visitor, form)
    first, _ = compare(studio, visitor)
    editor, batcher = studio.editor, make_batcher(studio.editor)

    @contextmanager
    def lend() -> Iterator[Editor]:
        with batcher.client() as client:
            yield client_editor(editor, batcher, client)

    other = Studio(editor, tmp_path / "batched", lend)
    with running(batcher):
        edit(other, other.sessions.get_or_create("one"), form)
        second, _ = compare(other, other.sessions.get_or_create("one"))
    for one, two in zip(first.cells, second.cells, strict=True):
        assert (one.name, pixels(one.file)) == (two.name, pixels(two.file))
    assert batcher.clients == 0


def test_its_png_says_what_made_it(studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, GENERATED)
    sheet, _ = compare(studio, visitor)
    settings: dict[str, Any] = images.read_settings(sheet.cells[-1].file)
    assert (settings["variant"], settings["cross"], settings["prompt"]) == (
        NAME, CONTROL.cross, GENERATED.prompt
    )  # fmt: skip
    form, notes = restore_form(str(sheet.cells[-1].file), EditForm(), "random")
    assert (form.prompt, form.source_prompt, form.case) == ("a blue boat", "a red house", "prompt")
    assert notes == [f"It was made by {NAME!r}, which this page can't do alone."]
