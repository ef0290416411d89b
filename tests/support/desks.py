"""Desks with their thread, and jobs that share an editor by one."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from mdp_lite.batcher.batcher import Desk, Member
from mdp_lite.editor import Editor

WAIT = 120  # seconds after which a test has hung


@contextmanager
def running(desk: Desk) -> Iterator[Desk]:
    """The desk's loop in a thread, for as long as the context lasts."""
    thread = threading.Thread(target=desk.run)
    thread.start()
    try:
        yield desk
    finally:
        desk.close()
        thread.join(WAIT)
        assert not thread.is_alive()


def until(true: Callable[[], object]) -> None:
    """Wait for something that is about to come true."""
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


@contextmanager
def waiting(desk: Desk, asks: Sequence[Callable[[Member], Any]]) -> Iterator[list[Future[Any]]]:
    """Members that each ask something of a desk, all of them waiting before it begins."""

    def one(ask: Callable[[Member], Any]) -> Any:
        with desk.member() as member:
            return ask(member)

    with ThreadPoolExecutor(len(asks)) as pool:
        ends = [pool.submit(one, ask) for ask in asks]
        until(lambda: len(desk._waiting) == len(asks))
        with running(desk):
            yield ends


def together(editor: Editor, jobs: Sequence[Callable[[Editor], Any]], most: int) -> list[Any]:
    """What jobs give that run at one time, each in its own thread, by one desk."""
    desk = desk_of(editor, most)

    def one(job: Callable[[Editor], Any]) -> Any:
        with desk.member() as member:
            return job(shared(editor, desk, member))

    with running(desk), ThreadPoolExecutor(len(jobs)) as pool:
        return [end.result(WAIT) for end in [pool.submit(one, job) for job in jobs]]
