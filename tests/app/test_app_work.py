"""What the app's runs do: sources reused, stopped in time, told of, costing what was foretold."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from mdp_lite.app.form import Form
from mdp_lite.app.plans import after, before, foretold
from mdp_lite.app.sessions import MOST_SESSIONS, MOST_SOURCES, Session
from mdp_lite.app.streaming import Progress, Stopped, streamed
from mdp_lite.app.studio import Studio, opened, painted
from mdp_lite.app.work import EDITING, MASK, edited
from mdp_lite.editor import Editor
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
from support.studios import DRAWN, REAL, asked, ended, picture, rows, studio, visitor

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


@pytest.mark.parametrize("form", [REAL, DRAWN], ids=["picture", "prompt"])
def test_an_edit_is_the_editor(form: Form, studio: Studio, visitor: Session) -> None:
    made, _ = ended(edited(studio, visitor, asked(form)))
    editor = studio.editor
    if form.case == "picture":
        source = editor.invert(picture(), "a red house", num_inference_steps=10)
    else:
        source = editor.generate("a red house", 0, 10, 3.0)
    want = editor.edit(
        source, "a blue boat", form.variant, schedule="leash", strength=0.5, guidance_scale=3.0
    ).picture
    assert images.open_picture(made.after).tobytes() == want.tobytes()
    assert images.open_picture(made.before).tobytes() == source.picture.tobytes()
    assert images.read_settings(made.after) == made.settings
    assert (made.settings["variant"], made.settings["strength"]) == ("epsilon", 0.5)


@pytest.mark.parametrize("change", SAME_SOURCE, ids=lambda one: ",".join(one))
@pytest.mark.parametrize("form", [REAL, DRAWN], ids=["picture", "prompt"])
def test_a_source_is_made_once(
    form: Form, change: dict[str, Any], studio: Studio, visitor: Session, rows: list[int]
) -> None:
    first, _ = ended(edited(studio, visitor, asked(form)))
    assert not first.reused and sum(rows) == first.spent.unet_rows
    rows.clear()
    again, told = ended(edited(studio, visitor, asked(replace(form, **change))))
    assert again.reused and sum(rows) == again.edit.cost.unet_rows == again.spent.unet_rows
    assert {one.stage for one in told} <= {EDITING}
    saved = first.last.source.cost.unet_rows
    assert f"at hand: {saved} UNet rows saved" in after(again)[0]


@pytest.mark.parametrize("change", [*OTHER_SOURCE, {"method": "replay"}, {"fit": "pad"}])
def test_another_source_is_made(change: dict[str, Any], studio: Studio, visitor: Session) -> None:
    ended(edited(studio, visitor, asked(REAL)))
    again, _ = ended(edited(studio, visitor, asked(replace(REAL, **change))))
    assert not again.reused


def test_guidance_is_the_source_s_where_that_is_sampled_with_it(
    studio: Studio, visitor: Session
) -> None:
    reused = []
    for form in (REAL, DRAWN, replace(REAL, method="ddim")):
        ended(edited(studio, visitor, asked(form)))
        again, _ = ended(edited(studio, visitor, asked(replace(form, guidance_scale=5.0))))
        reused.append(again.reused)
    assert reused == [True, False, False]


def test_another_picture_is_another_source(studio: Studio, visitor: Session) -> None:
    ended(edited(studio, visitor, asked(REAL)))
    other, _ = ended(edited(studio, visitor, asked(REAL, seed=1)))
    first, _ = ended(edited(studio, visitor, asked(REAL)))
    assert (other.reused, first.reused) == (False, True)


def test_visitors_share_nothing(studio: Studio) -> None:
    one, two = studio.sessions.of("one"), studio.sessions.of("two")
    ended(edited(studio, one, asked(REAL)))
    assert two.last is None and two.folder != one.folder
    made, _ = ended(edited(studio, two, asked(REAL)))
    assert not made.reused


# stopping


@pytest.mark.parametrize("form", [REAL, DRAWN], ids=["picture", "prompt"])
@pytest.mark.parametrize("at", [2, 14])
def test_stop_stops_unet_calls(
    form: Form, at: int, studio: Studio, visitor: Session, rows: list[int]
) -> None:
    run = edited(studio, visitor, asked(form))
    with pytest.raises(Stopped):
        for one in run:
            if one.done + (10 if one.stage == EDITING else 0) >= at:
                visitor.stop()
                calls = len(rows)
    assert len(rows) <= calls + 1  # the step that was on its way
    assert not any(thread.name == "work" for thread in threading.enumerate())


def test_leaving_a_run_stops_it(studio: Studio, visitor: Session, rows: list[int]) -> None:
    run = edited(studio, visitor, asked(REAL))
    next(run)
    run.close()
    assert len(rows) < 10
    calls = len(rows)
    made, _ = ended(edited(studio, visitor, asked(REAL)))  # and the next one is as ever
    assert not made.reused and len(rows) > calls


def test_a_failure_in_the_thread_is_the_listener_s() -> None:
    def work(tell: Any) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ended(streamed(work, threading.Event()))


def test_a_slow_listener_gets_the_newest_news_and_no_look_is_lost() -> None:
    look, gate = picture(8, 8), threading.Event()

    def work(tell: Any) -> str:
        tell(Progress("a", 1, 9))
        gate.wait(5)
        for k in range(2, 9):
            tell(Progress("a", k, 9, look if k == 3 else None))
        told.set()
        end.wait(5)
        return "done"

    told, end = threading.Event(), threading.Event()
    run = streamed(work, threading.Event())
    assert next(run).done == 1
    gate.set()
    assert told.wait(5)
    assert next(run) == Progress("a", 8, 9, look)
    end.set()
    assert ended(run) == ("done", [])


# what is told


def test_looks_come_at_the_first_step_and_now_and_then(studio: Studio, visitor: Session) -> None:
    _, told = ended(edited(studio, visitor, asked(DRAWN)))
    editing = [one for one in told if one.stage == EDITING]
    assert editing[0].look is not None and editing[0].look.size == (32, 32)
    assert told[-1].done == told[-1].total
    assert any(one.look for one in told if one.stage != EDITING)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("form", [REAL, DRAWN, replace(REAL, method="null-text")])
def test_the_plan_foretells_the_cost(
    form: Form, variant: str, studio: Studio, visitor: Session
) -> None:
    form = replace(form, variant=variant, where="found" if variant == "x" else "everywhere")
    plan = foretold(studio, visitor, asked(form))
    made, _ = ended(edited(studio, visitor, asked(form)))
    assert plan.edit == made.edit.cost and not plan.at_hand and plan.seconds is None
    at_most = form.method == "null-text"
    assert plan.source == made.last.source.cost or (
        at_most and plan.source.unet_rows >= made.last.source.cost.unet_rows
    )
    again = foretold(studio, visitor, asked(form))
    assert again.at_hand and again.rows == made.edit.cost.unet_rows and again.seconds
    assert "saved" in before(again, form)[0] and "comes first" in before(plan, form)[0]


def test_a_plan_calls_no_unet(studio: Studio, visitor: Session, rows: list[int]) -> None:
    foretold(studio, visitor, asked(replace(REAL, where="found")))
    assert rows == []


# masks and files


def test_a_painted_mask_keeps_the_rest(studio: Studio, visitor: Session) -> None:
    mask = box((48, 40))
    made, _ = ended(edited(studio, visitor, asked(replace(REAL, where="painted"), mask)))
    before, after = (images.open_picture(path) for path in (made.before, made.after))
    outside = mask.point([255] + [0] * 255)
    black = Image.new("RGB", before.size)
    kept = [Image.composite(one, black, outside).tobytes() for one in (before, after)]
    assert kept[0] == kept[1] and before.tobytes() != after.tobytes()
    assert images.open_picture(made.after.with_name(MASK)).tobytes() == mask.tobytes()
    assert made.settings["where"] == "painted"


def test_painted_layers_become_a_mask_of_the_picture_s_size() -> None:
    layer = Image.new("RGBA", (96, 80))
    layer.paste((255, 255, 255, 255), (0, 0, 10, 10))
    mask = painted([layer], (48, 40))
    assert mask is not None and mask.getbbox() == (0, 0, 5, 5) and mask.size == (48, 40)
    assert painted([Image.new("RGBA", (96, 80))], (48, 40)) is None and painted([], (4, 4)) is None


def test_files_replace_those_of_the_last_edit_and_go_with_the_visitor(studio: Studio) -> None:
    session = studio.sessions.of("one")
    first, _ = ended(edited(studio, session, asked(replace(REAL, where="found"))))
    second, _ = ended(edited(studio, session, asked(DRAWN)))
    assert first.after == second.after and not second.after.with_name(MASK).exists()
    studio.sessions.drop("one")
    assert not second.after.exists() and session.last is None


def test_what_is_kept_is_bounded(studio: Studio, editor: Editor) -> None:
    session = studio.sessions.of("one")
    source = editor.generate("a", 0, 1)
    for k in range(MOST_SOURCES + 2):
        session.keep(k, source)
    assert session.source(1) is None and session.source(2) is source
    for k in range(MOST_SESSIONS + 3):
        studio.sessions.of(str(k))
    assert len(studio.sessions) == MOST_SESSIONS
    assert session.source(2) is None  # was closed


def test_an_upload_that_is_no_picture_is_named_without_its_folder(tmp_path: Any) -> None:
    path = tmp_path / "notes.png"
    path.write_text("hello")
    with pytest.raises(ValueError, match="notes.png") as caught:
        opened(str(path))
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ValueError, match="give a picture first"):
        opened(None)
