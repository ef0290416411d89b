"""Between asyncio and the models: admits work, runs it in worker threads, and cancels it."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import torch

from mdp_lite.batcher.batcher import Client
from mdp_lite.batcher.client import client_editor, make_batcher
from mdp_lite.editor import Editor
from mdp_lite.engine.unet_calls import BUCKETS
from mdp_lite.pipeline.sweep import rows_in_budget
from mdp_lite.pipeline.warm_up import warm_up
from mdp_lite.serve.errors import CLIENT_LEFT, ApiError
from mdp_lite.serve.metrics import Metrics
from mdp_lite.serve.recipes import RecipeStore
from mdp_lite.serve.settings import ServiceSettings
from mdp_lite.serve.store import SourceStore

T = TypeVar("T")
EDIT_ROWS = 3  # UNet rows of the largest step of one edit
LONG = 1000  # UNet rows: jobs of more take at most half of the slots
LONGEST = 120  # seconds of waiting that Retry-After names, at most
log = logging.getLogger("mdp_lite.serve")


class Service:
    """One model behind one thread. Everything here but the jobs runs in the loop of asyncio.

    open_requests is the number of open requests, jobs the number of running jobs. rows are the UNet
    rows of admitted work that is not done, waiting_bytes the bytes of its input pictures.
    """

    def __init__(self, editor: Editor, settings: ServiceSettings) -> None:
        self.editor, self.settings, limits = editor, settings, settings.limits
        self.max_rows = choose_max_rows(editor, settings.max_rows)
        self.batcher = make_batcher(editor, self.max_rows)
        self.store = SourceStore(limits)
        self.recipes = RecipeStore(editor.cache, editor.runner, limits) if editor.cache else None
        self.open_requests = self.rows = self.waiting_bytes = self.jobs = 0
        self.draining = self._warm = False
        self.metrics = Metrics(self)
        self._engine = threading.Thread(target=self._run_models, name="models", daemon=True)
        self._workers = ThreadPoolExecutor(limits.jobs, "job")
        # One thread, because the warning filters that Pillow's reading sets are process-wide.
        self._picture_thread = ThreadPoolExecutor(1, "pictures")
        self._slots = asyncio.Semaphore(limits.jobs)
        self._long_slots = asyncio.Semaphore(max(1, limits.jobs // 2))

    def start(self) -> None:
        """Start the models' thread; it warms up first."""
        self._engine.start()

    def close(self) -> None:
        """Stop all work; returns once no thread runs any more."""
        self.batcher.close()
        self._workers.shutdown()
        self._picture_thread.shutdown()
        if self._engine.is_alive():
            self._engine.join()

    @property
    def live(self) -> bool:
        """Whether the models' thread is alive."""
        return self._engine.is_alive()

    def pulse(self) -> None:
        """Return once the models' thread has computed something; Stopped if it is dead."""
        with self.batcher.client() as client:
            ones = lambda: torch.ones((), device=self.editor.device).item()  # noqa: E731
            self.batcher.call(client, ones)

    @property
    def ready(self) -> bool:
        """Whether the service takes new requests."""
        return self._warm and self.live and not self.draining

    @property
    def wait_seconds(self) -> float:
        """Seconds until all admitted work is done, at the speed so far."""
        batcher = self.batcher
        speed = batcher.rows / batcher.seconds if batcher.seconds else 100.0
        return min(self.rows / speed, LONGEST)

    def admit(
        self, rows: int, input_bytes: int, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> "asyncio.Task[T]":
        """Start work as a task and count its rows and bytes until it ends, or refuse it.

        Raises ApiError: 400 for a request that is too expensive, 429 if too much is waiting.
        """
        limits = self.settings.limits
        if rows > limits.rows:
            message = f"this takes {rows} UNet rows, at most {limits.rows} are allowed"
            raise ApiError(400, message, "too_expensive")
        size = self.waiting_bytes
        fits = size + input_bytes <= limits.waiting_bytes
        if self.rows and not (fits and self.rows + rows <= limits.waiting_rows):
            self.metrics.refused.inc()
            message = f"too much is waiting: {self.rows} UNet rows, {size} bytes of pictures"
            raise ApiError(429, message, "rate_limit_exceeded", retry=math.ceil(self.wait_seconds))
        self._count(rows, input_bytes)
        task = asyncio.create_task(work())
        task.add_done_callback(lambda _: self._count(-rows, -input_bytes))
        return task

    def _count(self, rows: int, input_bytes: int) -> None:
        self.rows, self.waiting_bytes = self.rows + rows, self.waiting_bytes + input_bytes

    async def run_job(
        self, rows: int, work: Callable[[Editor], T], end: float | None = None
    ) -> tuple[T, float]:
        """Run admitted work in a worker thread; returns its result and the seconds it waited.

        Cancelling stops the work, and ends when its thread is done. Raises ApiError (503) if the
        deadline `end` passes before there is a free slot.
        """
        queued = time.monotonic()
        async with self._slot(rows, end):
            waited = time.monotonic() - queued
            return await self._run_in_worker(work), waited

    async def process_pictures(self, work: Callable[[], T]) -> T:
        """Run work on pictures or their files in the thread for pictures."""
        return await asyncio.get_running_loop().run_in_executor(self._picture_thread, work)

    @asynccontextmanager
    async def _slot(self, rows: int, end: float | None) -> AsyncIterator[None]:
        """One of the slots of running jobs; long jobs leave some of them to short ones."""
        long = rows > LONG
        try:
            async with asyncio.timeout(None if end is None else max(0, end - time.monotonic())):
                if long:
                    await self._long_slots.acquire()
                try:
                    await self._slots.acquire()
                except BaseException:
                    if long:
                        self._long_slots.release()
                    raise
        except TimeoutError:
            message = "the deadline passed before work could begin"
            raise ApiError(503, message, "deadline_exceeded", retry=self.wait_seconds) from None
        self.jobs += 1
        try:
            yield
        finally:
            self.jobs -= 1
            self._slots.release()
            if long:
                self._long_slots.release()

    @contextmanager
    def borrow_editor(self) -> Iterator[Editor]:
        """The editor for a thread that is not one of the workers, such as one of the page."""
        with self.batcher.client() as client:
            yield client_editor(self.editor, self.batcher, client)

    async def _run_in_worker(self, work: Callable[[Editor], T]) -> T:
        client = Client()

        def run() -> T:
            with self.batcher.client(client):
                return work(client_editor(self.editor, self.batcher, client))

        end = asyncio.get_running_loop().run_in_executor(self._workers, run)
        try:
            return await asyncio.shield(end)
        except asyncio.CancelledError:
            self.batcher.stop(client)
            await _wait_for_end(end)  # one step at most
            raise

    def _run_models(self) -> None:
        try:
            prepare_models(self.editor, self.max_rows)
            self._warm = True
            self.batcher.run()
        except BaseException:
            log.exception("the thread that calls the models ended")
            raise
        finally:
            self.batcher.close()  # so that nobody waits for answers that can't come


async def _wait_for_end(end: "asyncio.Future[Any]") -> None:
    """Wait for work whose result is not needed, even if the waiting is cancelled again."""
    while not end.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({end})
    end.exception()


async def run_while_connected(
    task: "asyncio.Task[T]", left: Awaitable[None], on_left: Callable[[], None]
) -> T:
    """A task's result. If the client leaves first, on_left is called and the task is cancelled."""
    gone = asyncio.ensure_future(left)
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ApiError(CLIENT_LEFT, "the client has left", "client_closed_request")
    finally:
        if not task.done():  # the client left, or the framework cancelled the request
            on_left()
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


@torch.no_grad()
def prepare_models(editor: Editor, max_rows: int) -> None:
    """Fit the preview map, and record graphs of all row counts that a call may have.

    From then on nothing more is recorded: other sizes run eagerly, and nobody waits for a capture.
    """
    runner, recorder = editor.runner, editor.runner.engine.recorder
    if recorder:
        warm_up(runner, [rows for rows in BUCKETS if rows <= max(max_rows, EDIT_ROWS)])
        recorder.new_shapes = "eager"
    else:
        runner.encode(runner.decode(0 * runner.noise(0, *runner.size)))
    _ = runner.preview_map


def choose_max_rows(editor: Editor, max_rows: int | None) -> int:
    """Rows of one call: the setting if there is one, else 0 on a CPU and what fits on a GPU."""
    if max_rows is not None:
        return max_rows
    if editor.device.type == "cpu":
        return 0
    runner, unet = editor.runner, editor.models.unet
    width, height = runner.size
    shape = (height // runner.factor, width // runner.factor)
    return rows_in_budget(unet.config, shape, next(unet.parameters()).element_size())
