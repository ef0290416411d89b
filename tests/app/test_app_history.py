"""The results of a visit: their order, undo and redo, limits, and the zip of all."""

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mdp_lite.app import history as module
from mdp_lite.app.archive import stream_archive
from mdp_lite.app.components.history import history_value
from mdp_lite.app.history import History, HistoryItem
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import StoppedByVisitor
from mdp_lite.app.studio import Studio
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from support.studios import GENERATED, REAL, edit, picture, studio, visitor

__all__ = ["studio", "visitor"]  # fixtures


def add(history: History, prompt: str = "a blue boat") -> HistoryItem:
    """A result without a run."""
    folder = history.make_folder()
    files = folder / "source.png", folder / "edited.png"
    for file in files:
        images.save_png(picture(), file, {"prompt": prompt})
    return history.add(replace(REAL, prompt=prompt), *files, None, "photo.png", 1.5, 90)


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A history with the results 1, 2 and 3."""
    one = History(tmp_path / "results")
    for _ in range(3):
        add(one)
    return one


def ids(history: History) -> list[int]:
    return [one.id for one in history]


def current(history: History) -> int | None:
    return history.current.id if history.current else None


def test_a_run_adds_its_result_with_files_and_settings(studio: Studio, visitor: Session) -> None:
    first, _ = edit(studio, visitor, replace(REAL, where="found", prompt="a ship"))
    second, _ = edit(studio, visitor, GENERATED)
    one, two = visitor.history
    assert (one.form, two.form) == (first.last.form, second.last.form)
    assert (one.name, two.name) == ("photo.png", None)
    assert one.rows == first.cost.unet_rows and one.seconds > 0
    assert one.label == "epsilon, strength 0.5"
    assert images.read_settings(one.edit_file)["prompt"] == "a ship"
    assert one.mask_file and one.mask_file.exists() and two.mask_file is None
    assert one.edit_file != two.edit_file and one.source_file.exists()
    assert images.open_picture(one.thumb_file).size == (48, 40)
    assert visitor.history.current == two


def test_undo_and_redo_follow_what_was_shown(history: History) -> None:
    assert current(history) == 3 and history.can_undo and not history.can_redo
    history.show(1)
    moves = [history.undo, history.undo, history.undo, history.undo, history.redo]
    assert [one.id for move in moves if (one := move())] == [3, 2, 1, 1, 2]
    assert history.can_undo and history.can_redo
    history.show(1)  # a new way: what undo had left is forgotten
    assert not history.can_redo
    assert history.redo() == history.get(1)


def test_showing_the_current_result_again_is_no_step(history: History) -> None:
    history.show(3)
    moved = history.undo()
    assert moved and moved.id == 2


@pytest.mark.parametrize(
    "removed, shown", [(1, 3), (2, 3), (3, 2)], ids=["first", "middle", "current"]
)
def test_a_deleted_result_leaves_the_order(history: History, removed: int, shown: int) -> None:
    folder = history.get(removed).edit_file.parent
    after = history.remove(removed)
    assert after and after.id == current(history) == shown
    assert not folder.exists() and removed not in ids(history)
    visited = {shown} | {one.id for _ in range(3) if (one := history.undo())}
    assert visited == set(ids(history))


def test_a_result_between_two_equal_ones_leaves_one_step(history: History) -> None:
    for one in (1, 2, 1):
        history.show(one)
    history.remove(2)
    steps = [one.id for _ in range(4) if (one := history.undo())]
    assert steps == [3, 1, 1, 1] and history.can_redo


def test_deleting_all_leaves_nothing_to_show(history: History) -> None:
    for one in ids(history):
        history.remove(one)
    assert history.current is None and history.undo() is None and history.redo() is None
    assert not history.can_undo and not history.can_redo and len(history) == 0
    assert current(history) is None and add(history).id == 4 == current(history)


def test_if_nothing_shown_is_left_the_newest_is_shown(history: History, tmp_path: Path) -> None:
    other = History(tmp_path / "other")
    add(other)
    add(other)
    other.undo()
    other.show(1)  # 2 is forgotten by undo and redo, but still there
    other.remove(1)
    assert current(other) == 2


def test_likes_and_pairs(history: History) -> None:
    assert history.like(1).liked and not history.like(1).liked
    assert [one.id for one in history.choose_pair([3, 1])] == [3, 1] == list(history.pair or ())
    history.remove(1)
    assert history.pair is None
    for show in (lambda: history.show(2), history.undo, history.redo, lambda: add(history)):
        history.choose_pair([2, 3])
        show()  # one result alone
        assert history.pair is None


def test_undo_takes_a_comparison_back_first(history: History) -> None:
    shown = history.show(1)
    history.choose_pair([2, 3])
    assert history.undo() == shown and history.pair is None
    for _ in range(3):
        history.undo()
    history.choose_pair([2, 3])  # at the beginning of what was shown
    assert history.can_undo and current(history) == 1
    assert history.undo() and not history.can_undo


@pytest.mark.parametrize("bad", [0, 4, "1", 1.0, True, None, [1], {"id": 1}], ids=repr)
def test_an_id_from_a_browser_is_checked(history: History, bad: Any) -> None:
    for method in (history.get, history.show, history.like, history.remove):
        with pytest.raises(BadInput, match="was deleted"):
            method(bad)
    with pytest.raises(BadInput, match=r"two different|was deleted"):
        history.choose_pair([1, bad])
    assert ids(history) == [1, 2, 3] and history.pair is None


@pytest.mark.parametrize("bad", [None, 1, [], [1], [1, 1], [1, 2, 3], {"a": 1, "b": 2}], ids=repr)
def test_a_pair_is_two_results(history: History, bad: Any) -> None:
    with pytest.raises(BadInput, match="two different"):
        history.choose_pair(bad)


def test_the_oldest_results_go_liked_ones_last(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ITEMS", 3)
    history.like(1)
    lost = history.get(2).edit_file
    add(history)
    assert ids(history) == [1, 3, 4] and not lost.exists()
    for one in (3, 4):
        history.like(one)
    add(history)  # the newest one stays, though it alone is not liked
    assert ids(history) == [3, 4, 5]


def test_the_bytes_of_a_visit_are_limited(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = sum(file.stat().st_size for file in history.folder.rglob("*.png"))
    monkeypatch.setattr(module, "MAX_BYTES", used)
    add(history)
    assert ids(history) == [2, 3, 4]
    monkeypatch.setattr(module, "MAX_BYTES", 1)
    add(history)
    assert ids(history) == [5] == [int(one.name) for one in history.folder.iterdir()]


def test_a_run_that_ends_after_its_visit_leaves_no_file(history: History) -> None:
    folder = history.make_folder()
    history.clear()
    assert not history.folder.exists() and history.current is None
    images.save_png(picture(), folder / "edited.png", {})  # writing makes the folder again
    with pytest.raises(StoppedByVisitor):
        history.add(REAL, folder / "edited.png", folder / "edited.png", None, None, 1, 1)
    assert not folder.exists()
    with pytest.raises(StoppedByVisitor):
        history.make_folder()


def test_names_of_downloads_are_those_of_prompts(history: History) -> None:
    assert add(history, "A red  House, ../at: night!").file_name == (
        "mdp_lite-4-a-red-house-at-night.png"
    )
    assert add(history, "???").file_name == "mdp_lite-5.png"
    assert add(history, "ein grünes Haus").file_name == "mdp_lite-6-ein-grünes-haus.png"
    assert len(add(history, "x" * 999).file_name) < 100


def test_the_archive_has_each_result_and_its_settings(history: History) -> None:
    history.like(2)
    history.get(3).edit_file.unlink()  # as if it was deleted meanwhile
    pieces = list(stream_archive(history))
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        entries = json.loads(archive.read("settings.json"))
        names = [one["file"] for one in entries]
        assert [*names, "settings.json"] == archive.namelist() and len(names) == 2
        for one, item in zip(entries, history, strict=False):
            assert archive.read(one["file"]) == item.edit_file.read_bytes()
            assert one["settings"] == {"prompt": "a blue boat"} and one["picture"] == "photo.png"
        assert [one["liked"] for one in entries] == [False, True]


def test_the_value_of_the_component(visitor: Session) -> None:
    empty = history_value(visitor)
    assert empty["items"] == [] and empty["current"] is None and empty["pair"] is None
    for prompt in ("a boat", "a ship"):
        add(visitor.history, prompt)
    visitor.history.undo()
    visitor.history.choose_pair([1, 2])
    value = json.loads(json.dumps(history_value(visitor)))
    assert [one["prompt"] for one in value["items"]] == ["a ship", "a boat"]
    assert value["current"] == 1 and value["pair"] == [1, 2]
    assert (value["can_undo"], value["can_redo"]) == (True, True)  # undo leaves the pair
    assert value["items"][0]["url"] == f"visit/{visitor.token}/results/2/edited.png"
    assert value["items"][0]["thumb"].endswith("/results/2/thumb.png")
    assert value["archive"] == f"visit/{visitor.token}/all.zip"
