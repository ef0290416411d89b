"""Batchers with their thread, and work of several clients at one time."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from mdp_lite.batcher.batcher import Batcher, Client
from mdp_lite.batcher.client import client_editor, make_batcher
from mdp_lite.editor import Editor

WAIT = 120  # seconds after which a test has hung


@contextmanager
def running(batcher: Batcher) -> Iterator[Batcher]:
    """The batcher's loop in a thread, for as long as the context lasts."""
    thread = threading.Thread(target=batcher.run)
    thread.start()
    try:
        yield batcher
    finally:
        batcher.close()
        thread.join(WAIT)
        assert not thread.is_alive()


def wait_until(true: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end, f"waited {WAIT} seconds in vain"
        time.sleep(0.001)


@contextmanager
def waiting(
    batcher: Batcher, calls: Sequence[Callable[[Client], Any]]
) -> Iterator[list[Future[Any]]]:
    """A client for each call, all of them waiting before the batcher begins."""

    def run(call: Callable[[Client], Any]) -> Any:
        with batcher.client() as client:
            return call(client)

    with ThreadPoolExecutor(len(calls)) as pool:
        ends = [pool.submit(run, call) for call in calls]
        wait_until(lambda: len(batcher._waiting) == len(calls))
        with running(batcher):
            yield ends


def together(editor: Editor, jobs: Sequence[Callable[[Editor], Any]], max_rows: int) -> list[Any]:
    """The results of jobs that run at one time, each in its own thread, by one batcher."""
    batcher = make_batcher(editor, max_rows)

    def run(job: Callable[[Editor], Any]) -> Any:
        with batcher.client() as client:
            return job(client_editor(editor, batcher, client))

    with running(batcher), ThreadPoolExecutor(len(jobs)) as pool:
        return [end.result(WAIT) for end in [pool.submit(run, job) for job in jobs]]
