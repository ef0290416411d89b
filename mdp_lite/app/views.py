"""The parts of the page that an action changes, and what they show of a result."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mdp_lite.app.components.history import history_value
from mdp_lite.app.components.picture import EVERYWHERE
from mdp_lite.app.examples import EXAMPLE_VALUES
from mdp_lite.app.forecast import describe_result
from mdp_lite.app.form import EditForm
from mdp_lite.app.history import HistoryItem
from mdp_lite.app.results import AppResult, SheetCell
from mdp_lite.app.sessions import Session
from mdp_lite.app.sheet_value import describe_facts
from mdp_lite.app.snippets import python_code, shell_command
from mdp_lite.app.stage import format_seconds
from mdp_lite.app.studio import Studio
from mdp_lite.app.visit_page import DOWNLOAD, EMPTY, Json, StageValue
from mdp_lite.app.wording import say


class ModelView(NamedTuple):
    """What the page shows of the visitor's model: its words, SDXL's fields, the qualities."""

    words: Json
    reads_xl: bool
    qualities: dict[str, Any]  # properties of their field


class Change(NamedTuple):
    """New values of the page's parts; None leaves a part as it is.

    form sets all fields and the slider. notes are sentences below the picture. model is the line
    about the models; facts come with another model.
    """

    stage: StageValue | None = None
    history: Json | None = None
    picture: Json | None = None
    form: EditForm | None = None
    notes: list[str] | None = None
    code: Json | None = None
    plan: str | None = None
    model: Json | None = None
    facts: ModelView | None = None


class View(NamedTuple):
    """What is shown, and for whom."""

    studio: Studio
    session: Session


def show_item(
    view: View, item: HistoryItem, result: AppResult | None = None, lines: Sequence[str] = ()
) -> Change:
    """Show a result of the visit; result is that of the run that has just made it.

    lines are sentences about that run, below its cost.
    """
    session = view.session
    before = say("stage", "before" if item.form.case == "picture" else "source")
    seconds = format_seconds(item.seconds)
    key = "done_reused" if result and result.reused and item.form.case == "picture" else "done"
    session.page.stage = {
        "state": "done", "id": item.id, "left": session.url_of(item.source_file),
        "right": session.url_of(item.edit_file), "left_label": before,
        "right_label": say("stage", "after"),
        "download": session.url_of(item.edit_file) + DOWNLOAD,
        "label": say("stage", key if result else "result", seconds=seconds, id=item.id),
        "notes": [*describe_result(result), *lines] if result else [item.label],
    }  # fmt: skip
    found = show_found(session, item)
    return Change(
        session.page.stage, history_value(session), found, code=write_code(view.studio, item)
    )


def show_pair(view: View, one: HistoryItem, other: HistoryItem) -> Change:
    """Show two results beside each other, with the bar between them."""
    session = view.session
    session.page.stage = {
        "state": "done", "left": session.url_of(one.edit_file),
        "right": session.url_of(other.edit_file),
        "left_label": f"{one.id}: {one.label}", "right_label": f"{other.id}: {other.label}",
        "label": say("stage", "pair", one=one.id, other=other.id),
        "notes": [f"{each.id}: {each.form.prompt}" for each in (one, other)],
    }  # fmt: skip
    return Change(session.page.stage, history_value(session))


def show_cell(session: Session, cell: SheetCell) -> Change:
    """Show an edit of a sheet with its settings; Edit makes it again as a result of the visit."""
    session.page.stage = {
        "state": "done", "left": session.url_of(cell.source_file),
        "right": session.url_of(cell.file), "left_label": say("stage", "before"),
        "right_label": say("stage", "after"), "download": session.url_of(cell.file) + DOWNLOAD,
        "label": cell.name, "notes": [describe_facts(cell)],
    }  # fmt: skip
    return Change(session.page.stage, form=cell.form)


def show_nothing(view: View) -> Change:
    """The stage when there is no result, or none any more."""
    picture = view.session.page.picture
    view.session.page.stage = {"state": "loaded"} if picture else EMPTY
    return Change(view.session.page.stage, history_value(view.session), code={})


def show_found(session: Session, item: HistoryItem) -> Json | None:
    """The picture with the mask that was found while the result was made, if one was."""
    if item.form.where != "found" or item.mask_file is None:
        return None
    mask = {"where": "found", "png": session.url_of(item.mask_file), "feather": item.form.feather}
    return show_picture(session, mask)


def show_picture(session: Session, mask: Json | None = None) -> Json:
    """The value of the component of the picture."""
    picture, facts = session.page.picture, None
    if picture is not None:
        width, height = picture.size
        facts = {"url": session.url_of(picture.file), "width": width, "height": height}
        facts |= {"name": picture.name}
    return {
        "picture": facts, "mask": mask or EVERYWHERE, "examples": EXAMPLE_VALUES, "problem": None
    }  # fmt: skip


def write_code(studio: Studio, item: HistoryItem) -> Json:
    """The same edit for the shell and in Python."""
    models = studio.menu.get(item.model).dry_editor.models
    facts = item.form, item.name, models.name, models.clip_skip
    return {"shell": shell_command(*facts), "python": python_code(*facts)}
