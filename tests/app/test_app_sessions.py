"""Visits: how a page finds its visit again, when a visit ends, and what is deleted then."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mdp_lite.app.sessions import MAX_SESSIONS, Session, Sessions

SHORT = 0.05  # seconds of grace


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[Sessions]:
    """No visits yet; a visit stays for long without a page."""
    one = Sessions(tmp_path / "sessions", tmp_path / "uploads")
    yield one
    one.close()


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Sessions]:
    """The same, and a visit ends soon after its last page."""
    one = Sessions(tmp_path / "sessions", tmp_path / "uploads", SHORT)
    yield one
    one.close()


def wait_until(is_true: Callable[[], bool]) -> None:
    """Wait for what a timer does."""
    end = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


def write_file(session: Session) -> Path:
    """A file of a visit."""
    file = session.make_folder("explore") / "1.png"
    file.write_bytes(b"png")
    return file


def upload(folder: Path, name: str) -> Path:
    """A file as gradio stores it."""
    file = folder / "uploads" / f"hash-of-{name}" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"photo")
    return file


# pages and tokens


def test_a_page_that_is_loaded_again_gets_its_visit_back(sessions: Sessions) -> None:
    visit = sessions.resume("page 1", None)
    assert sessions.get_or_create("page 1") is visit
    sessions.leave("page 1")
    assert sessions.resume("page 2", visit.token) is visit
    assert visit.pages == {"page 2"} and len(sessions) == 1
    assert sessions.get_or_create("page 2") is visit


def test_the_new_page_may_come_before_the_old_one_leaves(short: Sessions) -> None:
    visit = short.resume("page 1", None)
    short.resume("page 2", visit.token)
    short.leave("page 1")
    assert visit.pages == {"page 2"}
    time.sleep(4 * SHORT)
    assert short.find_visit(visit.token) is visit


@pytest.mark.parametrize("bad", [None, "", "guess", 7, ["x"], {"token": "x"}], ids=repr)
def test_another_token_starts_a_new_visit(sessions: Sessions, bad: object) -> None:
    visit = sessions.resume("page 1", None)
    other = sessions.resume("page 2", bad)
    assert other is not visit and other.token != visit.token and other.folder != visit.folder
    assert len(visit.token) == 32


def test_a_page_moves_to_the_visit_of_its_token(short: Sessions) -> None:
    visit, early = short.resume("page 1", None), short.resume("page 2", None)
    assert short.resume("page 2", visit.token) is visit
    assert visit.pages == {"page 1", "page 2"}
    wait_until(lambda: short.find_visit(early.token) is None)  # nobody has it any more
    assert short.find_visit(visit.token) is visit


def test_pages_that_were_closed_are_forgotten(sessions: Sessions) -> None:
    visit = sessions.resume("page 0", None)
    for k in range(50):
        sessions.leave(f"page {k}")
        sessions.resume(f"page {k + 1}", visit.token)
    assert visit.pages == {"page 50"} and len(sessions._tokens) <= 2


# the end of a visit


def test_a_visit_ends_after_the_grace_time(short: Sessions, tmp_path: Path) -> None:
    visit = short.resume("page", None)
    file, photo = write_file(visit), upload(tmp_path, "photo.png")
    visit.note_upload(str(photo))
    stop = visit.start_run()
    time.sleep(4 * SHORT)
    assert file.exists() and not stop.is_set()  # as long as a page is open
    short.leave("page")
    assert stop.is_set() and file.exists()
    wait_until(lambda: not visit.folder.exists() and not photo.parent.exists())
    assert short.find_visit(visit.token) is None and len(short) == 0
    assert short.resume("page", visit.token) is not visit


def test_a_page_within_the_grace_time_keeps_the_visit(short: Sessions) -> None:
    visit = short.resume("page", None)
    file = write_file(visit)
    short.leave("page")
    short.resume("another", visit.token)
    time.sleep(4 * SHORT)
    assert file.exists()


def test_a_page_in_use_whose_connection_broke_keeps_the_visit(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path, grace_seconds=1.0)
    visit = sessions.resume("page", None)
    sessions.leave("page")
    for _ in range(6):
        time.sleep(0.25)
        assert sessions.get_or_create("page") is visit
    wait_until(lambda: len(sessions) == 0)


def test_a_visit_without_a_page_ends_too(tmp_path: Path) -> None:
    """A client that is no browser opens no page, and does not say when it goes."""
    sessions = Sessions(tmp_path, grace_seconds=1.0)
    file = write_file(sessions.get_or_create("client"))
    for _ in range(6):
        time.sleep(0.25)
        sessions.get_or_create("client")
    assert file.exists()
    wait_until(lambda: len(sessions) == 0 and not file.exists())


def test_a_visit_with_a_run_does_not_end(short: Sessions) -> None:
    visit = short.get_or_create("client")
    stop = visit.start_run()
    time.sleep(6 * SHORT)
    assert len(short) == 1 and not stop.is_set() and visit.is_running
    stop.set()  # as stream does at the end
    wait_until(lambda: len(short) == 0)


@pytest.mark.parametrize("end", ["close", "forget"])
def test_the_thread_that_ends_visits_ends_with_them(end: str, tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    sessions.get_or_create("client")
    thread = sessions._sweeper
    assert thread and thread.is_alive()
    if end == "close":
        sessions.close()
    del sessions
    thread.join(20)
    assert not thread.is_alive()


def test_leaving_twice_or_without_a_visit_changes_nothing(sessions: Sessions) -> None:
    sessions.leave("nobody")
    visit = sessions.resume("page", None)
    sessions.leave("page")
    sessions.leave("page")
    assert sessions.find_visit(visit.token) is visit and len(sessions) == 1


def test_everything_is_deleted_at_once_when_asked(sessions: Sessions, tmp_path: Path) -> None:
    visit = sessions.resume("page", None)
    file, photo = write_file(visit), upload(tmp_path, "photo.png")
    visit.note_upload(str(photo))
    sessions.resume("second page", visit.token)
    sessions.drop("page")
    assert not file.exists() and not photo.exists() and sessions.find_visit(visit.token) is None
    fresh = sessions.get_or_create("second page")
    assert fresh is not visit and fresh.token != visit.token
    sessions.drop("nobody")


def test_the_server_s_end_ends_all_visits(sessions: Sessions) -> None:
    files = [write_file(sessions.resume(str(k), None)) for k in range(3)]
    sessions.leave("1")
    sessions.close()
    assert len(sessions) == 0 and not any(file.exists() for file in files)
    assert sessions._ends == {}


# uploads


def test_an_upload_that_another_visit_uses_stays(sessions: Sessions, tmp_path: Path) -> None:
    photo = upload(tmp_path, "photo.png")
    for name in ("one", "two"):
        sessions.resume(name, None).note_upload(str(photo))
    sessions.drop("one")
    assert photo.exists()
    sessions.drop("two")
    assert not photo.exists()


def test_only_uploads_are_deleted(sessions: Sessions, tmp_path: Path) -> None:
    example, outside = tmp_path / "house.png", tmp_path / "secret.png"
    visit = sessions.resume("page", None)
    for file in (example, outside):
        file.write_bytes(b"png")
    link = upload(tmp_path, "link.png")
    link.unlink()
    link.symlink_to(outside)
    for path in (example, link, tmp_path / "uploads" / ".." / "secret.png", None):
        visit.note_upload(None if path is None else str(path))
    sessions.drop("page")
    assert example.exists() and outside.exists()


def test_a_sheet_of_a_kind_has_a_new_address_each_time(sessions: Sessions) -> None:
    visit = sessions.resume("page", None)
    first, other = write_file(visit), visit.make_folder("compare")
    second = write_file(visit)
    assert visit.url_of(first) != visit.url_of(second)
    assert not first.exists() and second.exists() and other.exists()


# limits


def test_too_many_visits_end_the_one_that_is_missed_least(sessions: Sessions) -> None:
    pages = [f"page {k}" for k in range(MAX_SESSIONS)]
    visits = [sessions.resume(page, None) for page in pages]
    for visit in visits[1:]:
        visit.start_run()
    visits[3].pages.clear()

    def end_one(name: str) -> list[int]:
        sessions.resume(name, None).start_run()
        gone = [k for k, one in enumerate(visits) if sessions.find_visit(one.token) is None]
        assert len(sessions) == MAX_SESSIONS
        return gone

    assert end_one("a") == [0]  # it had nothing
    assert end_one("b") == [0, 3]  # it has no page
    sessions.get_or_create(pages[1])
    assert end_one("c") == [0, 2, 3]  # it was not used for longest
