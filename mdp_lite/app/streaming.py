"""Work that tells how it goes, as a generator: whoever listens may stop it between two steps."""

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import NamedTuple, TypeVar

from PIL import Image

T = TypeVar("T")


class Stopped(Exception):
    """The visitor stopped the work, or left."""


class Progress(NamedTuple):
    """Where a stage is: steps done and in all, and now and then a cheap look at what it heads for.

    As it tells of a stage's end, done is total.
    """

    stage: str
    done: int
    total: int
    look: Image.Image | None = None


Tell = Callable[[Progress], None]  # raises Stopped once the work is to end


class _End(NamedTuple):
    value: object
    error: BaseException | None


def streamed(work: Callable[[Tell], T], stop: threading.Event) -> Generator[Progress, None, T]:
    """Run work in a thread, yield what it tells, the newest where several wait; return its value.

    Setting stop ends the work at its next step with Stopped; so does closing the generator, which
    waits for that.
    """
    told: SimpleQueue[Progress | _End] = SimpleQueue()

    def tell(progress: Progress) -> None:
        if stop.is_set():
            raise Stopped
        told.put(progress)

    def run() -> None:
        try:
            told.put(_End(work(tell), None))
        except BaseException as error:  # it is the listener's
            told.put(_End(None, error))

    thread = threading.Thread(target=run, name="work", daemon=True)
    thread.start()
    try:
        while not isinstance(news := _newest(told), _End):
            yield news
        if news.error:
            raise news.error
        return news.value  # type: ignore[return-value]
    finally:
        stop.set()
        thread.join()


def _newest(told: "SimpleQueue[Progress | _End]") -> Progress | _End:
    """The last news that wait, with the last look among them; at least one is waited for."""
    news, look = told.get(), None
    while not isinstance(news, _End):
        look = news.look or look
        if told.empty():
            return news._replace(look=look)
        news = told.get()
    return news
