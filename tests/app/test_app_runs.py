"""The app's runs: sources are reused, Stop works, and a run costs what was forecast."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from mdp_lite.app.forecast import describe_forecast, describe_result, forecast
from mdp_lite.app.form import EditForm
from mdp_lite.app.runs import EDITING, MASK_FILE, run_edit
from mdp_lite.app.sessions import MAX_SESSIONS, MAX_SOURCES, Session
from mdp_lite.app.streaming import RunProgress, StoppedByVisitor, stream
from mdp_lite.app.studio import Studio, mask_from_layers, open_upload
from mdp_lite.editor import Editor
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
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

SAME_SOURCE = [
    {"prompt": "a red boat"}, {"variant": "x"}, {"strength": 0.25}, {"schedule": "linear"},
    {"steer": "window", "t_max": 8, "t_m": 3}, {"where": "found"}, {"feather": 3},
]  # fmt: skip
OTHER_SOURCE = [
    {"source_prompt": "a boat"}, {"steps": 9}, {"seed": 5}, {"negative_prompt": "night"},
]  # fmt: skip


def box(size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, (4, 4, size[0] // 2, size[1] // 2))
    return mask


@pytest.mark.parametrize("form", [REAL, GENERATED], ids=["picture", "prompt"])
def test_an_edit_is_the_editor(form: EditForm, studio: Studio, visitor: Session) -> None:
    result, _ = edit(studio, visitor, form)
    editor = studio.editor
    if form.case == "picture":
        source = editor.invert(picture(), "a red house", num_inference_steps=10)
    else:
        source = editor.generate("a red house", 0, 10, 3.0)
    want = editor.edit(
        source, "a blue boat", form.variant, strength=0.5, guidance_scale=3.0
    ).picture
    assert images.open_picture(result.edit_file).tobytes() == want.tobytes()
    assert images.open_picture(result.source_file).tobytes() == source.picture.tobytes()
    assert images.read_settings(result.edit_file) == result.settings
    assert (result.settings["variant"], result.settings["strength"]) == ("epsilon", 0.5)


@pytest.mark.covering(1)
@pytest.mark.parametrize("change", SAME_SOURCE, ids=lambda one: ",".join(one))
@pytest.mark.parametrize("form", [REAL, GENERATED], ids=["picture", "prompt"])
def test_a_source_is_made_once(
    form: EditForm, change: dict[str, Any], studio: Studio, visitor: Session, rows: list[int]
) -> None:
    first, _ = edit(studio, visitor, form)
    assert not first.reused and sum(rows) == first.cost.unet_rows
    rows.clear()
    again, reports = edit(studio, visitor, replace(form, **change))
    assert again.reused and sum(rows) == again.edit.cost.unet_rows == again.cost.unet_rows
    assert {one.stage for one in reports} <= {EDITING}
    saved = first.last.source.cost.unet_rows
    assert f"already computed: {saved} UNet rows saved" in describe_result(again)[0]


@pytest.mark.representative("change0", "change3")
@pytest.mark.parametrize("change", [*OTHER_SOURCE, {"method": "replay"}, {"fit": "pad"}])
def test_another_source_is_made(change: dict[str, Any], studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, REAL)
    again, _ = edit(studio, visitor, replace(REAL, **change))
    assert not again.reused


def test_guidance_changes_the_source_if_that_is_sampled_with_it(
    studio: Studio, visitor: Session
) -> None:
    reused = []
    for form in (REAL, GENERATED, replace(REAL, method="ddim")):
        edit(studio, visitor, form)
        again, _ = edit(studio, visitor, replace(form, guidance_scale=5.0))
        reused.append(again.reused)
    assert reused == [True, False, False]


def test_another_picture_is_another_source(studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, REAL)
    other, _ = edit(studio, visitor, REAL, seed=1)
    first, _ = edit(studio, visitor, REAL)
    assert (other.reused, first.reused) == (False, True)


def test_visitors_share_nothing(studio: Studio) -> None:
    one, two = studio.sessions.get_or_create("one"), studio.sessions.get_or_create("two")
    edit(studio, one, REAL)
    assert two.last is None and two.folder != one.folder
    result, _ = edit(studio, two, REAL)
    assert not result.reused


# stopping


@pytest.mark.parametrize("form", [REAL, GENERATED], ids=["picture", "prompt"])
@pytest.mark.parametrize("at", [2, 14])
def test_stop_stops_unet_calls(
    form: EditForm, at: int, studio: Studio, visitor: Session, rows: list[int]
) -> None:
    run = run_edit(studio, visitor, submission(form))
    with pytest.raises(StoppedByVisitor):
        for one in run:
            if one.done + (10 if one.stage == EDITING else 0) >= at:
                visitor.stop()
                calls = len(rows)
    assert len(rows) <= calls + 1  # the step that was running
    assert not any(thread.name == "work" for thread in threading.enumerate())


def test_leaving_a_run_stops_it(studio: Studio, visitor: Session, rows: list[int]) -> None:
    run = run_edit(studio, visitor, submission(REAL))
    next(run)
    run.close()
    assert len(rows) < 10
    calls = len(rows)
    result, _ = edit(studio, visitor, REAL)  # the next run works as always
    assert not result.reused and len(rows) > calls


def test_an_error_in_the_thread_is_raised_in_the_caller() -> None:
    def work(on_progress: Any) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run_to_end(stream(work, threading.Event()))


def test_a_slow_caller_gets_the_newest_report_and_no_preview_is_lost() -> None:
    preview, gate = picture(8, 8), threading.Event()

    def work(on_progress: Any) -> str:
        on_progress(RunProgress("a", 1, 9))
        gate.wait(5)
        for k in range(2, 9):
            on_progress(RunProgress("a", k, 9, preview if k == 3 else None))
        ready.set()
        end.wait(5)
        return "done"

    ready, end = threading.Event(), threading.Event()
    run = stream(work, threading.Event())
    assert next(run).done == 1
    gate.set()
    assert ready.wait(5)
    assert next(run) == RunProgress("a", 8, 9, preview)
    end.set()
    assert run_to_end(run) == ("done", [])


# progress and forecast


def test_previews_come_at_the_first_step_and_at_some_others(
    studio: Studio, visitor: Session
) -> None:
    _, reports = edit(studio, visitor, GENERATED)
    editing = [one for one in reports if one.stage == EDITING]
    assert editing[0].preview is not None and editing[0].preview.size == (32, 32)
    assert reports[-1].done == reports[-1].total
    assert any(one.preview for one in reports if one.stage != EDITING)


@pytest.mark.covering(1)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "form",
    [REAL, GENERATED, pytest.param(replace(REAL, method="null-text"), marks=pytest.mark.slow)],
)
def test_the_forecast_is_the_cost(
    form: EditForm, variant: str, studio: Studio, visitor: Session
) -> None:
    form = replace(form, variant=variant, where="found" if variant == "x" else "everywhere")
    plan = forecast(studio, visitor, submission(form))
    result, _ = edit(studio, visitor, form)
    assert plan.edit == result.edit.cost and not plan.source_ready and plan.seconds is None
    at_most = form.method == "null-text"
    assert plan.source == result.last.source.cost or (
        at_most and plan.source.unet_rows >= result.last.source.cost.unet_rows
    )
    again = forecast(studio, visitor, submission(form))
    assert again.source_ready and again.rows == result.edit.cost.unet_rows and again.seconds
    assert (
        "saved" in describe_forecast(again, form)[0]
        and "comes first" in describe_forecast(plan, form)[0]
    )


def test_a_forecast_calls_no_unet(studio: Studio, visitor: Session, rows: list[int]) -> None:
    forecast(studio, visitor, submission(replace(REAL, where="found")))
    assert rows == []


# masks and files


def test_a_painted_mask_keeps_the_rest(studio: Studio, visitor: Session) -> None:
    mask = box((48, 40))
    result, _ = edit(studio, visitor, replace(REAL, where="painted"), mask)
    before, after = (images.open_picture(path) for path in (result.source_file, result.edit_file))
    outside = mask.point([255] + [0] * 255)
    black = Image.new("RGB", before.size)
    outer = [Image.composite(one, black, outside).tobytes() for one in (before, after)]
    assert outer[0] == outer[1] and before.tobytes() != after.tobytes()
    assert images.open_picture(result.edit_file.with_name(MASK_FILE)).tobytes() == mask.tobytes()
    assert result.settings["where"] == "painted"


def test_painted_layers_become_a_mask_of_the_picture_s_size() -> None:
    layer = Image.new("RGBA", (96, 80))
    layer.paste((255, 255, 255, 255), (0, 0, 10, 10))
    mask = mask_from_layers([layer], (48, 40))
    assert mask is not None and mask.getbbox() == (0, 0, 5, 5) and mask.size == (48, 40)
    assert mask_from_layers([Image.new("RGBA", (96, 80))], (48, 40)) is None
    assert mask_from_layers([], (4, 4)) is None


def test_files_of_all_edits_stay_until_the_visitor_deletes_them(studio: Studio) -> None:
    session = studio.sessions.get_or_create("one")
    first, _ = edit(studio, session, replace(REAL, where="found"))
    second, _ = edit(studio, session, GENERATED)
    assert first.edit_file.exists() and first.edit_file.with_name(MASK_FILE).exists()
    assert not second.edit_file.with_name(MASK_FILE).exists()
    studio.sessions.drop("one")
    assert not first.edit_file.exists() and not second.edit_file.exists()
    assert session.last is None and not session.folder.exists()


def test_stored_sources_and_sessions_are_limited(studio: Studio, editor: Editor) -> None:
    session = studio.sessions.get_or_create("one")
    source = editor.generate("a", 0, 1)
    for k in range(MAX_SOURCES + 2):
        session.add_source(k, source)
    assert session.find_source(1) is None and session.find_source(2) is source
    for k in range(MAX_SESSIONS + 3):
        studio.sessions.get_or_create(str(k))
    assert len(studio.sessions) == MAX_SESSIONS
    assert session.find_source(2) is None  # the session was closed


def test_an_upload_that_is_no_picture_is_named_without_its_folder(tmp_path: Any) -> None:
    path = tmp_path / "notes.png"
    path.write_text("hello")
    with pytest.raises(ValueError, match="notes.png") as caught:
        open_upload(str(path))
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ValueError, match="give a picture first"):
        open_upload(None)
