"""What the page shows of a sheet, what it starts from, and favourites; ids are not trusted."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mdp_lite.app.favourites import MAX_FAVOURITES
from mdp_lite.app.results import EditSheet
from mdp_lite.app.sessions import Session
from mdp_lite.app.sheet_handlers import SheetHandlers
from mdp_lite.app.sheet_plans import plan_windows
from mdp_lite.app.sheet_start import find_start
from mdp_lite.app.sheet_value import find_cell, sheet_value
from mdp_lite.app.sheets import make_sheet
from mdp_lite.app.studio import Studio
from mdp_lite.pictures import images
from support.studios import REAL, edit, rows, run_to_end, studio, visitor

__all__ = ["rows", "studio", "visitor"]  # fixtures

REQUEST: Any = SimpleNamespace(session_hash="one")  # of the fixture visitor


def explore(studio: Studio, visitor: Session, t_max: str = "8, 9", t_m: str = "3, 5") -> EditSheet:
    """A sheet of windows of the shown edit."""
    plan = plan_windows(find_start(visitor).form, ["x"], t_max, t_m)
    sheet, _ = run_to_end(make_sheet(studio, visitor, plan, "explore"))
    return sheet


@pytest.fixture
def handlers(studio: Studio) -> SheetHandlers:
    return SheetHandlers(studio)


def press(handlers: SheetHandlers, t_max: str = "8, 9", variants: tuple[str, ...] = ("x",)) -> list:
    """All updates after a click on the button of Explore."""
    return list(handlers.explore_here("window", list(variants), t_max, "3", 5, REQUEST))


def test_the_value_names_files_of_the_visit_only(studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, REAL)
    sheet = explore(studio, visitor)
    value = sheet_value(visitor, "explore")
    assert value is not None and sheet_value(visitor, "compare") is None
    assert [one["label"] for one in value["columns"]] == ["t_max 8", "t_max 9"]
    assert value["ratio"] == 48 / 40
    cell = value["cells"][1][0]
    assert cell["label"] == "x, t_max 8, t_m 5" and cell["loads"] and not cell["liked"]
    assert cell["about"] and cell["seconds"] > 0
    for url in (cell["url"], cell["source_url"], value["download"].removesuffix("?download=1")):
        path = url.removeprefix(f"visit/{visitor.token}/")
        assert (visitor.folder / path).is_file()
    assert value["number"] != explore(studio, visitor).source_file.parent.name
    assert images.open_picture(sheet.source_file).size == (48, 40)


def test_equal_pictures_have_no_distance(studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, replace(REAL, prompt="a red house"))
    sheet = explore(studio, visitor)
    value = sheet_value(visitor, "explore")
    equal = [one.psnr == float("inf") for one in sheet.cells]
    flat = [one for line in value["cells"] for one in line]
    assert [one["psnr"] is None for one in flat] == [equal[k] for k in (0, 2, 1, 3)]


def test_the_old_sheet_is_shown_until_the_new_one_is_there(
    studio: Studio, visitor: Session
) -> None:
    edit(studio, visitor, REAL)
    old = explore(studio, visitor)
    run = make_sheet(studio, visitor, plan_windows(REAL, ["c"], "9", "5"), "explore")
    next(run)
    assert visitor.sheets["explore"] is old and old.cells[0].file.exists()
    run.close()
    new = explore(studio, visitor)
    assert new.cells[0].file.exists() and visitor.sheets["explore"] is new
    assert explore(studio, visitor).cells[0].file.exists() and not old.cells[0].file.exists()


def test_favourites_stay_when_their_sheet_goes(
    studio: Studio, visitor: Session, handlers: SheetHandlers
) -> None:
    edit(studio, visitor, REAL)
    cell = explore(studio, visitor).cells[1]
    pixels = images.open_picture(cell.file).tobytes()
    explored, compared = handlers.like(visitor, "explore", cell.id, True)
    assert compared is None and [one["id"] for one in explored["favourites"]] == [cell.id]
    assert [one["liked"] for line in explored["cells"] for one in line] == [False] * 2 + [
        True,
        False,
    ]
    for _ in range(2):
        explore(studio, visitor)
    assert not cell.file.exists()
    stored = find_cell(visitor, "explore", cell.id)
    assert stored and images.open_picture(stored.file).tobytes() == pixels
    assert stored.source_file.exists()
    updates = handlers.select(visitor, "explore", cell.id, lambda session, one: [one.form])
    assert "its settings are on the page now" in updates[0] and updates[1] == cell.form
    value, _ = handlers.like(visitor, "explore", cell.id, False)
    assert value["favourites"] == [] and not stored.file.exists()


def test_favourites_are_bounded_and_go_with_the_visit(studio: Studio, visitor: Session) -> None:
    edit(studio, visitor, REAL)
    cell = explore(studio, visitor).cells[0]
    for k in range(MAX_FAVOURITES + 2):
        visitor.favourites.add(cell._replace(id=f"{k}"))
    names = [one.id for one in visitor.favourites.list()]
    assert names == [f"{k}" for k in range(2, MAX_FAVOURITES + 2)]
    assert len(list(visitor.favourites.folder.iterdir())) == MAX_FAVOURITES
    studio.sessions.drop("one")
    assert not visitor.folder.exists() and visitor.favourites.list() == []


@pytest.mark.parametrize("cell_id", [None, 3, "explore-a-1/edit-99", ["x"], {"id": 1}, "../secret"])
def test_an_unknown_id_changes_nothing(
    studio: Studio, visitor: Session, handlers: SheetHandlers, cell_id: Any
) -> None:
    edit(studio, visitor, REAL)
    explore(studio, visitor)
    assert find_cell(visitor, "explore", cell_id) is None
    (problem,) = handlers.select(visitor, "explore", cell_id, lambda *_: [])
    assert 'role="alert"' in problem and "make the sheet again" in problem
    handlers.like(visitor, "explore", cell_id, True)
    assert visitor.favourites.list() == []


def test_a_sheet_starts_from_the_result_that_is_shown(
    studio: Studio, visitor: Session, rows: list[int]
) -> None:
    first, _ = edit(studio, visitor, replace(REAL, variant="beta"))
    for seed in range(1, 6):  # more sources than a visit stores
        edit(studio, visitor, replace(REAL, prompt="a tree"), seed=seed)
    visitor.history.show(1)
    assert find_start(visitor).form == first.last.form
    rows.clear()
    sheet = explore(studio, visitor)
    assert sum(rows) == sheet.cost.unet_rows
    assert "was made again" in sheet.notes[0]
    assert images.open_picture(sheet.source_file).tobytes() == (
        images.open_picture(first.source_file).tobytes()
    )
    assert {one.form.prompt for one in sheet.cells} == {REAL.prompt}
    assert explore(studio, visitor).notes == ()  # now it is stored again


def test_explore_starts_with_the_variant_and_windows_of_the_edit(
    studio: Studio, visitor: Session, handlers: SheetHandlers
) -> None:
    about, _, variants, *_ = handlers.start(None, REQUEST)
    assert "Edit a picture first" in about
    edit(studio, visitor, replace(REAL, variant="beta", steer="window", steps=8, t_max=8, t_m=4))
    about, _, variants, t_max, t_m, basis, *sheets = handlers.start(None, REQUEST)
    assert sheets == [None, None]
    assert "a blue boat" in about and "beta, t_max 8, t_m 4" in about
    assert (variants, t_max, t_m) == (["beta"], "6, 7, 8", "3, 4, 5")
    _, _, variants, *_ = handlers.start(basis, REQUEST)  # what was chosen since stays
    assert variants != ["beta"]
    explore(studio, visitor, "8", "3")
    *_, explored, compared = handlers.start(basis, REQUEST)  # also on a page that is loaded again
    assert explored["cells"][0][0]["label"] == "x, t_max 8, t_m 3" and compared is None


def test_the_button_makes_the_sheet_and_stops_it(
    studio: Studio, visitor: Session, handlers: SheetHandlers
) -> None:
    edit(studio, visitor, REAL)
    updates = press(handlers)
    assert updates[0][2]["value"] == "Stop" and "Starting" in updates[0][0]
    status, value, button = updates[-1]
    assert "Done: 2 edits" in status and len(value["cells"][0]) == 2
    assert button["value"] == "Make the sheet" and visitor.running_sheet is None
    run = handlers.explore_here("window", ["x"], "8, 9", "3", 5, REQUEST)
    next(run)
    next(run)
    assert press(handlers) == []  # the second click stops the first one's run
    *_, last = run
    assert "Stopped" in last[0] and last[2]["value"] == "Make the sheet"


@pytest.mark.parametrize(("t_max", "variants", "sentence"), [
    ("9; 8", ("x",), "T_max must be numbers"), ("99", ("x",), "The window must have"),
    ("9", (), "Choose at least one variant"),
])  # fmt: skip
def test_what_is_wrong_is_said_in_the_fold(
    studio: Studio, visitor: Session, handlers: SheetHandlers, t_max, variants, sentence: str
) -> None:
    edit(studio, visitor, REAL)
    ((problem, _, button),) = press(handlers, t_max, variants)
    assert f'role="alert">{sentence}' in problem and button["value"] == "Make the sheet"
    assert visitor.running_sheet is None
