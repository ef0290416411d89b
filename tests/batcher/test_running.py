"""run_batcher: a batcher with its thread; and clients with a deadline for all that they do."""

import threading
import time
from typing import Any

import pytest

from mdp_lite import BadInput, Client, DeadlineExceeded, Editor, Stopped, client_editor, run_batcher
from mdp_lite.batcher.batcher import Batcher
from support.batchers import WAIT, wait_until
from support.recording import recording_editor


def models_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "models"]


def test_its_thread_lives_as_long_as_the_context(editor: Editor) -> None:
    with run_batcher(editor, 6) as batcher, batcher.client() as client:
        assert batcher.max_rows == 6 and len(models_threads()) == 1
        name = batcher.call(client, lambda: threading.current_thread().name)
        assert name == "models"
    assert models_threads() == []
    with batcher.client() as client, pytest.raises(Stopped):
        batcher.call(client, lambda: None)


def test_an_error_inside_ends_it_too(editor: Editor) -> None:
    with pytest.raises(ZeroDivisionError), run_batcher(editor):
        _ = 1 / 0
    assert models_threads() == []


def test_the_end_stops_clients_that_work(editor: Editor) -> None:
    ends: list[Any] = []
    started = threading.Event()

    def work() -> None:
        try:
            with batcher.client() as client:
                own = client_editor(editor, batcher, client)
                own.generate("a boat", 1, 900, on_step=lambda *_: started.set())
        except Stopped as error:
            ends.append(str(error))

    with run_batcher(editor, 6) as batcher:
        thread = threading.Thread(target=work)
        thread.start()
        assert started.wait(WAIT)
    thread.join(WAIT)
    assert ends == ["the work was cancelled, or the batcher was closed"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_leaves_nobody_waiting(
    editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(self: Batcher) -> None:
        wait_until(lambda: self._waiting)
        raise SystemError("the thread dies")

    monkeypatch.setattr(Batcher, "_next_batch", die)
    with run_batcher(editor) as batcher, batcher.client() as client, pytest.raises(Stopped):
        batcher.call(client, lambda: None)


def test_a_deadline_is_for_all_that_a_client_does() -> None:
    assert Client().left() is None
    client = Client(deadline=WAIT)
    first, then = client.left(), client.left()
    assert first is not None and then is not None and WAIT >= first >= then > 0
    late = Client(deadline=1e-3)
    time.sleep(2e-3)
    with pytest.raises(DeadlineExceeded, match="^the deadline passed while the work waited"):
        late.left()


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", True])
def test_a_bad_deadline_is_refused(seconds: Any) -> None:
    with pytest.raises(BadInput, match="^deadline must be "):
        Client(deadline=seconds)


def test_a_whole_step_is_the_work_of_its_rows(editor: Editor) -> None:
    """An edit that is alone is served as much in whole recorded steps as in rows."""
    source, recording, found = editor.generate("a red house", 1, 5), recording_editor(editor), []
    for own in (editor, recording):
        with run_batcher(own) as batcher, batcher.client() as client:
            mine = client_editor(own, batcher, client)
            mine.edit(source, "a blue house", "x", 4, 2)  # graphs are recorded on second use
            before = client.served, client.rows, batcher.rows
            edit = mine.edit(source, "a blue house", "x", 4, 2)
            after = client.served, client.rows, batcher.rows
            found.append([b - a for a, b in zip(before, after, strict=True)])
            assert found[-1][1:] == [edit.cost.unet_rows] * 2
    recorder = recording.runner.engine.recorder
    assert recorder and any(one.startswith("a step") for one in recorder.list_graphs())
    assert found[0] == found[1]
