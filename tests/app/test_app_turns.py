"""Visitors wait for the model in turn; each is told how many come first, and for how long."""

import threading
from collections.abc import Callable

import pytest

from mdp_lite.app.streaming import StoppedByVisitor
from mdp_lite.app.turns import MAX_WAITING, TooManyWaiting, Turns

WAIT = 20.0  # seconds that a thread may take on a busy machine


def nobody(count: int, seconds: float | None) -> None:
    raise AssertionError("nobody came first")


class Run:
    """A run in a thread that holds its turn until it may end."""

    def __init__(self, turns: Turns, seconds: float | None = None) -> None:
        self.reports: list[tuple[int, float | None]] = []
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self.waits = threading.Event()
        self.thread = threading.Thread(target=self._work, args=(turns, seconds), daemon=True)
        self.thread.start()

    def _work(self, turns: Turns, seconds: float | None) -> None:
        with turns.take(seconds, self._on_wait):
            self.has_begun.set()
            self.may_end.wait(WAIT)

    def _on_wait(self, count: int, seconds: float | None) -> None:
        self.reports.append((count, seconds))
        self.waits.set()

    def end(self) -> None:
        self.may_end.set()
        self.thread.join(WAIT)


def start_in_order(turns: Turns, times: list[float | None]) -> list[Run]:
    """Runs that came in this order: the first holds its turn, the others wait."""
    runs = [Run(turns, times[0])]
    assert runs[0].has_begun.wait(WAIT)
    for seconds in times[1:]:
        runs.append(Run(turns, seconds))
        assert runs[-1].waits.wait(WAIT)
    return runs


def test_a_free_model_is_taken_at_once() -> None:
    with Turns().take(1.0, nobody):
        pass


def test_runs_go_on_in_their_order() -> None:
    runs = start_in_order(Turns(), [None] * 4)
    assert [run.reports[0][0] for run in runs[1:]] == [1, 2, 3]
    for run, later in zip(runs, runs[1:], strict=False):
        assert not later.has_begun.is_set()
        run.end()
        assert later.has_begun.wait(WAIT)
    runs[-1].end()


@pytest.mark.parametrize(
    ("times", "expected"), [([10.0, 5.0, None], 15.0), ([10.0, None, None], None)]
)
def test_the_seconds_are_those_of_all_that_come_first(
    times: list[float | None], expected: float | None
) -> None:
    runs = start_in_order(Turns(), times)
    seconds = runs[-1].reports[0][1]
    assert seconds == (expected if expected is None else pytest.approx(expected, abs=3))
    for run in runs:
        run.end()


def test_who_gives_up_makes_room() -> None:
    turns = Turns()
    first, second = start_in_order(turns, [None, None])

    def stop(count: int, seconds: float | None) -> None:
        raise StoppedByVisitor

    with pytest.raises(StoppedByVisitor), turns.take(None, stop):
        pass
    first.end()
    assert second.has_begun.wait(WAIT)
    second.end()
    with turns.take(None, nobody):
        pass


def test_a_run_that_fails_gives_its_turn_back() -> None:
    turns = Turns()
    with pytest.raises(RuntimeError), turns.take(None, nobody):
        raise RuntimeError
    with turns.take(None, nobody):
        pass


def test_no_more_than_a_few_wait() -> None:
    turns = Turns()
    runs = start_in_order(turns, [None] * (MAX_WAITING + 1))
    wait: Callable[[int, float | None], None] = lambda count, seconds: None  # noqa: E731
    with pytest.raises(TooManyWaiting, match="edits wait already"), turns.take(None, wait):
        pass
    for run in runs:
        run.end()
