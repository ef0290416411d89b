"""Turns: runs use the model one after the other, in the order in which visitors started them."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mdp_lite.app.wording import say
from mdp_lite.names import MdpError

MAX_WAITING = 8  # runs that wait
POLL_SECONDS = 0.5  # how often a waiting run reports, and notices that its visitor stopped it
OnWait = Callable[[int, float | None], None]  # runs before this one, seconds until its turn


class TooManyWaiting(MdpError):
    """So many runs wait that another one is not taken."""


class _Turn:
    """One run: how long it is expected to take (None is unknown), and when it began."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds, self.began = seconds, 0.0

    def seconds_left(self) -> float | None:
        """The expected seconds until it ends."""
        if self.seconds is None or not self.began:
            return self.seconds
        return max(0.0, self.seconds - (time.monotonic() - self.began))


class Turns:
    """The runs of all visitors in their order; the first one runs, the others wait."""

    def __init__(self) -> None:
        self._order: list[_Turn] = []
        self._changed = threading.Condition()

    @contextmanager
    def take(self, seconds: float | None, on_wait: OnWait) -> Iterator[None]:
        """Wait for the turn of a run of so many expected seconds, and hold it.

        on_wait is called while the run waits; it may raise to give the turn up. Raises
        TooManyWaiting if MAX_WAITING runs wait already.
        """
        turn = self._join(seconds)
        try:
            self._wait(turn, on_wait)
            turn.began = time.monotonic()
            yield
        finally:
            with self._changed:
                self._order.remove(turn)
                self._changed.notify_all()

    def _join(self, seconds: float | None) -> _Turn:
        with self._changed:
            if len(self._order) > MAX_WAITING:
                raise TooManyWaiting(say("runs", "too_many", count=MAX_WAITING))
            self._order.append(turn := _Turn(seconds))
        return turn

    def _wait(self, turn: _Turn, on_wait: OnWait) -> None:
        while True:
            with self._changed:
                first = self._order[: self._order.index(turn)]
            if not first:
                return
            times = [one.seconds_left() for one in first]
            known = [one for one in times if one is not None]
            on_wait(len(first), sum(known) if len(known) == len(times) else None)
            with self._changed:
                if self._order[0] is not turn:
                    self._changed.wait(POLL_SECONDS)
