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
from mdp_lite.batcher.turns import Share
from mdp_lite.editor import Editor
from mdp_lite.engine.unet_calls import BUCKETS
from mdp_lite.engine.work import count_work
from mdp_lite.method.mdp import add_channels
from mdp_lite.pipeline.sweep import rows_in_budget
from mdp_lite.pipeline.warm_up import warm_up
from mdp_lite.serve.errors import CLIENT_LEFT, ApiError
from mdp_lite.serve.metrics import ConnectionCounts, Metrics
from mdp_lite.serve.recipes import RecipeStore
from mdp_lite.serve.settings import Limits, ServiceSettings
from mdp_lite.serve.store import SourceStore
from mdp_lite.serve.traces import Tracing
from mdp_lite.serve.users import Users

T = TypeVar("T")
EDIT_ROWS = 3  # UNet rows of the largest step of one edit
LONG = 1000  # rows' work: requests of more take at most half of the slots
LONGEST = 120  # seconds of waiting that Retry-After names, at most
log = logging.getLogger("mdp_lite.serve")


class Service:
    """One model behind one thread. Everything here but the jobs runs in the loop of asyncio.

    open_requests is the number of open requests, jobs the number of running jobs. work are the
    FLOPs of admitted work that is not done, waiting_bytes the bytes of its input pictures. row_work
    are the FLOPs of a UNet row at the model's own size: limits are given in these.
    """

    def __init__(self, editor: Editor, settings: ServiceSettings) -> None:
        self.editor, self.settings, limits = editor, settings, settings.limits
        self.max_rows = choose_max_rows(editor, settings.max_rows)
        self.max_side = choose_max_side(editor, limits)
        self.batcher = make_batcher(editor, self.max_rows)
        width, height = editor.runner.size
        self.row_work = count_work(editor.models).row(width * height // editor.runner.factor**2)
        self.store = SourceStore(limits)
        self.recipes = RecipeStore(editor.cache, editor.runner, limits) if editor.cache else None
        self.open_requests = self.work = self.waiting_bytes = self.jobs = 0
        self.draining = self.is_over = self._warm = False
        self.uploads: set[asyncio.Timeout] = set()  # of bodies that are being read
        self.connections, self.metrics = ConnectionCounts(), Metrics(self)
        self.tracing: Tracing | None = None
        self.users = Users()
        self._engine = threading.Thread(target=self._run_models, name="models", daemon=True)
        self._workers = ThreadPoolExecutor(limits.jobs, "job")
        # One thread, because the warning filters that Pillow's reading sets are process-wide.
        self._picture_thread = ThreadPoolExecutor(1, "pictures")
        self._slots = asyncio.Semaphore(limits.jobs)
        self._long_slots = asyncio.Semaphore(max(1, limits.jobs // 2))

    def start(self) -> None:
        """Start the models' thread; it warms up first. This thread's loop is the service's."""
        self._loop = asyncio.get_running_loop()
        self._engine.start()

    def end_requests(self) -> None:
        """End what is in work or being uploaded: it gets 503, shutting_down. For any thread."""
        self._loop.call_soon_threadsafe(self._end_requests)

    def _end_requests(self) -> None:
        self.draining = self.is_over = True
        self.batcher.close()
        for one in self.uploads:
            one.reschedule(0)

    def close(self) -> None:
        """Stop all work; returns once no thread runs any more."""
        self.batcher.close()
        self._workers.shutdown()
        self._picture_thread.shutdown()
        if self._engine.is_alive():
            self._engine.join()

    @property
    def live(self) -> bool:
        """Whether the models' thread is alive, or has ended as it should."""
        return self._engine.is_alive() or self.is_over

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
        """Seconds until all admitted work is done, at the speed of the last calls."""
        return self.batcher.speed.estimate(self.work)

    @property
    def rows(self) -> float:
        """All admitted work that is not done, in UNet rows at the model's own size."""
        return self.work / self.row_work

    def admit(
        self, cost: int, input_bytes: int, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> "asyncio.Task[T]":
        """Start work as a task and count its FLOPs and bytes until it ends, or refuse it.

        Raises ApiError: 400 for a request that is too expensive, 429 if too much is waiting.
        """
        limits, rows = self.settings.limits, cost / self.row_work
        if rows > limits.rows:
            what = f"the work of {rows:.0f} UNet rows of the model's own size"
            message = f"this takes {what}, at most {limits.rows} are allowed"
            raise ApiError(400, message, "too_expensive")
        size = self.waiting_bytes
        fits = size + input_bytes <= limits.waiting_bytes
        if self.work and not (fits and self.rows + rows <= limits.waiting_rows):
            self.metrics.refused.inc()
            message = f"too much is waiting: {self.rows:.0f} UNet rows, {size} bytes of pictures"
            raise ApiError(429, message, "rate_limit_exceeded", retry=self._retry_seconds())
        self._count(cost, input_bytes)
        task = asyncio.create_task(work())
        task.add_done_callback(lambda _: self._count(-cost, -input_bytes))
        return task

    def _count(self, cost: int, input_bytes: int) -> None:
        self.work, self.waiting_bytes = self.work + cost, self.waiting_bytes + input_bytes

    def _retry_seconds(self) -> int:
        return math.ceil(min(self.wait_seconds, LONGEST))

    async def run_job(
        self, cost: int, work: Callable[[Editor], T], end: float | None = None,
        share: Share | None = None,
    ) -> tuple[T, float]:  # fmt: skip
        """Run admitted work in a worker thread; returns its result and the seconds it waited.

        cost: FLOPs of the request that it is of, share: its turns at the models. Cancelling stops
        the work, and ends when its thread is done. Raises ApiError (503) if the deadline `end`
        passes before there is a free slot, and DeadlineExceeded if it does later.
        """
        queued = time.monotonic()
        async with self._slot(cost, end):
            waited = time.monotonic() - queued
            return await self._run_in_worker(work, Client(None, share), end), waited

    async def process_pictures(self, work: Callable[[], T]) -> T:
        """Run work on pictures or their files in the thread for pictures."""
        return await asyncio.get_running_loop().run_in_executor(self._picture_thread, work)

    @asynccontextmanager
    async def _slot(self, cost: int, end: float | None) -> AsyncIterator[None]:
        """One of the slots of running jobs; long requests leave some of them to short ones."""
        long = cost > LONG * self.row_work
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
            raise ApiError(503, message, "deadline_exceeded", retry=self._retry_seconds()) from None
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

    async def _run_in_worker(
        self, work: Callable[[Editor], T], client: Client, until: float | None
    ) -> T:
        client.end = until

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
            self.batcher.speed.add(self.row_work, time_row(self.editor))
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


@torch.no_grad()
def time_row(editor: Editor) -> float:
    """Seconds of a UNet row at the model's own size, once the models are warm."""
    runner = editor.runner
    x, c, t = runner.noise(0, *runner.size), runner.condition(""), runner.grid(None).t[:1]
    latent = add_channels(x, runner.blank_channels()).to(c)
    started = time.monotonic()
    bool(runner.engine.denoise(latent, t, c).isfinite().all())  # waits for a GPU
    return time.monotonic() - started


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


def choose_max_side(editor: Editor, limits: Limits) -> int:
    """The longest side of the model's picture that a request may ask for, in pixels."""
    return limits.side or 2 * max(editor.runner.size)
