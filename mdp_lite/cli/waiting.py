"""A line on a terminal that shows life while nothing can be counted; it imports nothing heavy."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK = 0.5  # seconds between two signs of life
ERASE = "\r\x1b[K"  # back to the start of the line, and clear it


class WaitingLine:
    """One line on stderr with the seconds that something has taken; it is erased in the end."""

    def __init__(self, shown: bool) -> None:
        self._shown, self._stop, self._thread = shown, threading.Event(), None

    def show(self, text: str) -> None:
        """Show a text until the next one, or until clear is called."""
        self.clear()
        if self._shown:
            self._stop, started = threading.Event(), time.monotonic()
            _write_line(text, 0)
            self._thread = threading.Thread(
                target=_repeat,
                args=(lambda: _write_line(text, time.monotonic() - started), self._stop),
                daemon=True,
            )
            self._thread.start()

    def clear(self) -> None:
        """Erase the line, if there is one."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
            _write("")


@contextmanager
def keep_alive(refresh: Callable[[], object]) -> Iterator[None]:
    """Call refresh twice a second, from another thread."""
    stop = threading.Event()
    thread = threading.Thread(target=_repeat, args=(refresh, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _repeat(call: Callable[[], object], stop: threading.Event) -> None:
    while not stop.wait(TICK):
        call()


def _write_line(text: str, seconds: float) -> None:
    _write(f"mdp-lite: {text} ..." + (f" {seconds:.0f} s" if seconds >= 1 else ""))


def _write(line: str) -> None:
    sys.stderr.write(ERASE + line)
    sys.stderr.flush()
