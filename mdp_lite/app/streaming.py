"""A run as a generator of its progress; the caller can stop it between two steps."""

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from PIL import Image

from mdp_lite.names import Stopped

T = TypeVar("T")
WAITING = "Waiting"  # the stage of a run whose turn has not come


class StoppedByVisitor(Stopped):
    """The visitor stopped the run, or left the page."""


class RunProgress(NamedTuple):
    """The progress of one stage of a run: steps done and in all, and sometimes a preview.

    A stage is finished when done is total. While a run WAITS for its turn, done is the number of
    runs before it and seconds the time until its turn, None if that is unknown. A stage without
    steps (total 0) is the loading of a model.
    """

    stage: str
    done: int
    total: int
    preview: Image.Image | None = None
    seconds: float | None = None


OnProgress = Callable[[RunProgress], None]  # raises StoppedByVisitor if the run must end


class _RunEnd(NamedTuple):
    value: object
    error: BaseException | None


def stream(
    work: Callable[[OnProgress], T], stop: threading.Event
) -> Generator[RunProgress, None, T]:
    """Run work in a thread, yield its progress, and return its value.

    If several reports wait, only the newest is yielded. If stop is set, the work ends at its next
    step with StoppedByVisitor. Closing the generator does the same and waits for the thread.
    """
    queue: SimpleQueue[RunProgress | _RunEnd] = SimpleQueue()

    def on_progress(progress: RunProgress) -> None:
        if stop.is_set():
            raise StoppedByVisitor
        queue.put(progress)

    def run() -> None:
        try:
            queue.put(_RunEnd(work(on_progress), None))
        except BaseException as error:  # raised again in the caller's thread
            queue.put(_RunEnd(None, error))

    thread = threading.Thread(target=run, name="work", daemon=True)
    thread.start()
    try:
        while not isinstance(report := _take_newest(queue), _RunEnd):
            yield report
        if report.error:
            raise report.error
        return report.value  # type: ignore[return-value]
    finally:
        stop.set()
        thread.join()


def _take_newest(queue: "SimpleQueue[RunProgress | _RunEnd]") -> RunProgress | _RunEnd:
    """Wait for a report, then take the newest one, with the newest preview of those before it."""
    report, preview = queue.get(), None
    while not isinstance(report, _RunEnd):
        preview = report.preview or preview
        if queue.empty():
            return report._replace(preview=preview)
        report = queue.get()
    return report
