"""Between asyncio and the models: admits work, runs it in worker threads, and cancels it."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

import torch

from mdp_lite.batcher.batcher import Client
from mdp_lite.batcher.client import client_editor, make_batcher
from mdp_lite.batcher.turns import Group
from mdp_lite.editor import Editor
from mdp_lite.model_pool.keys import ModelKey, ModelSlot
from mdp_lite.model_pool.lending import ModelLender
from mdp_lite.model_pool.pool import ModelPool
from mdp_lite.serve.errors import CLIENT_LEFT, ApiError
from mdp_lite.serve.lora_folder import LoraFolder
from mdp_lite.serve.memory import Lease, Ledger, Room, schedule_trim, use_one_heap
from mdp_lite.serve.metrics import ConnectionCounts, Metrics
from mdp_lite.serve.model_errors import explain_refusal
from mdp_lite.serve.model_loader import ModelLoader
from mdp_lite.serve.recipes import open_recipes
from mdp_lite.serve.served import ServedModel, prepare_models, time_row
from mdp_lite.serve.settings import ServiceSettings
from mdp_lite.serve.slots import FairSlots
from mdp_lite.serve.store import SourceStore
from mdp_lite.serve.traces import Tracing
from mdp_lite.serve.users import Users

T = TypeVar("T")
LONG = 1000  # rows' work: requests of more take at most half of the slots
LONGEST = 120  # seconds of waiting that Retry-After names, at most
log = logging.getLogger("mdp_lite.serve")


class Service:
    """Models behind one thread. Everything here but the tasks runs in the loop of asyncio.

    first is the model of requests that name none. open_requests is the number of open requests,
    tasks the number of running tasks. work are the FLOPs of admitted work that is not done. memory
    counts the bytes that open requests take.
    """

    def __init__(self, editor: Editor, settings: ServiceSettings) -> None:
        self.settings, limits = settings, settings.limits
        self.first = ServedModel(editor, settings, ModelKey(settings.alias), ModelSlot())
        self.batcher = make_batcher(editor, self.first.max_rows)
        self.first.unet = self.batcher.model
        self.loader = ModelLoader(editor, settings, self.batcher)
        self.pool = ModelPool(self.first, self.loader, limits, self.loader.bound, explain_refusal)
        self.loras = LoraFolder(settings.lora_folder) if settings.lora_folder else None
        self.recipes = open_recipes(editor.cache, self.loader.identities, limits)
        self.store = SourceStore(limits)
        self.open_requests = self.work = self.tasks = 0
        on_refused = lambda: self.metrics.refused.labels("memory").inc()  # noqa: E731
        self.memory = Ledger(
            limits.waiting_bytes, self._retry_seconds, self._trim_memory, on_refused
        )
        self.draining = self.is_over = self._warm = False
        self.uploads: set[asyncio.Timeout] = set()  # of bodies that are being read
        self.connections, self.metrics = ConnectionCounts(), Metrics(self)
        self.tracing: Tracing | None = None
        self.users = Users()
        self._engine = threading.Thread(target=self._run_models, name="models", daemon=True)
        self._workers = ThreadPoolExecutor(limits.tasks, "task")
        # One thread, because the warning filters that Pillow's reading sets are process-wide.
        self._picture_thread = ThreadPoolExecutor(1, "pictures")
        self._slots = FairSlots(limits.tasks, max(1, limits.tasks // 2))

    def start(self) -> None:
        """Start the models' thread; it warms up first. This thread's loop is the service's."""
        use_one_heap()
        self._loop = asyncio.get_running_loop()
        self._engine.start()
        self._pinning = asyncio.ensure_future(self._pin_models())

    async def _pin_models(self) -> None:
        """Load the models that stay; the service is ready once that has been tried."""
        for one in self.settings.others:
            if one.is_pinned:
                with suppress(ApiError):  # the log says it, and so do requests for it
                    await self.pool.pin(ModelKey(one.alias))

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
    def editor(self) -> Editor:
        """The editor of the first model."""
        return self.first.editor

    @property
    def row_work(self) -> int:
        """The FLOPs of a UNet row at the first model's own size: limits of all are in these."""
        return self.first.row_work

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
        return self._warm and self._pinning.done() and self.live and not self.draining

    @property
    def wait_seconds(self) -> float:
        """Seconds until all admitted work is done, at the speed of the last calls."""
        return self.batcher.speed.estimate(self.work)

    @property
    def rows(self) -> float:
        """All admitted work that is not done, in UNet rows at the first model's own size."""
        return self.work / self.row_work

    def admit(
        self, cost: int, lease: Lease, work: Callable[[], Coroutine[Any, Any, T]],
        model: ServedModel | None = None,
    ) -> "asyncio.Task[T]":  # fmt: skip
        """Start work as a task and count its FLOPs until it ends, or refuse it.

        The lease has the memory of its request, and is kept until the work ends.

        model is whose work it is, by default the first's.

        Raises ApiError: 400 for a request that is too expensive, 429 if too much is waiting.
        """
        limits = self.settings.limits
        self.check_work(cost, model)
        if self.work and (self.work + cost) / self.row_work > limits.waiting_rows:
            self.metrics.refused.labels("work").inc()
            message = f"too much is waiting: {self.rows:.0f} UNet rows"
            raise ApiError(429, message, "rate_limit_exceeded", retry=self._retry_seconds())
        slot = (model or self.first).slot
        self.work += cost
        lease.use()
        slot.hold()
        task = asyncio.create_task(work())
        task.add_done_callback(lambda _: self._end_work(cost, lease, slot))
        return task

    def check_work(self, cost: int, model: ServedModel | None = None) -> None:
        """Raise ApiError if a request of the model, by default the first, has too many FLOPs."""
        most, rows = self.settings.limits.rows, cost / (model or self.first).row_work
        if rows > most:
            what = f"the work of {rows:.0f} UNet rows of the model's own size"
            message = f"this takes {what}, at most {most} are allowed"
            raise ApiError(400, message, "too_expensive")

    def _end_work(self, cost: int, lease: Lease, slot: ModelSlot) -> None:
        self.work -= cost
        lease.close()
        slot.release()

    def _trim_memory(self, idle: bool) -> None:
        schedule_trim(self._loop, self._picture_thread, idle)

    def _retry_seconds(self) -> int:
        return math.ceil(min(self.wait_seconds, LONGEST))

    async def run_task(
        self, cost: int, work: Callable[[Editor], T], end: float | None = None,
        client: Client | None = None, model: ServedModel | None = None, room: Room | None = None,
    ) -> tuple[T, float]:  # fmt: skip
        """Run admitted work in a worker thread; returns its result and the seconds it waited.

        cost: FLOPs of the request that it is of, client: its place at the models, model: the one of
        the editor, by default the first, room: the memory that it takes once it has a slot.
        Cancelling stops the work, and ends when its thread is done. Raises ApiError (503) if the
        deadline `end` passes before there is a free slot and room, and DeadlineExceeded if it does
        later.
        """
        queued, one, used = time.monotonic(), client or Client(), model or self.first
        async with self._slot(cost, end, room, one.share.group):
            waited = time.monotonic() - queued
            return await self._run_in_worker(work, one, end, used), waited

    async def process_pictures(self, work: Callable[[], T]) -> T:
        """Run work on pictures or their files in the thread for pictures."""
        return await asyncio.get_running_loop().run_in_executor(self._picture_thread, work)

    @asynccontextmanager
    async def _slot(
        self, cost: int, end: float | None, room: Room | None, user: Group
    ) -> AsyncIterator[None]:
        """One of the slots of running tasks; long requests leave some of them to short ones."""
        left = None if end is None else max(0, end - time.monotonic())
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(left):
                    is_long = cost > LONG * self.row_work
                    await stack.enter_async_context(self._slots.take(user, is_long))
                    if room:
                        await room.enter()
            except TimeoutError:
                message = "the deadline passed before work could begin"
                again = self._retry_seconds()
                raise ApiError(503, message, "deadline_exceeded", retry=again) from None
            self.tasks += 1
            try:
                yield
            finally:
                self.tasks -= 1

    @contextmanager
    def borrow_editor(self, model: ServedModel | None = None) -> Iterator[Editor]:
        """The editor of a model for a thread that is not one of the workers, as of the page.

        model: by default the first. It must stay loaded for as long as the context lasts.
        """
        used = model or self.first
        with self.batcher.client() as client:
            yield client_editor(used.editor, self.batcher, client, used.unet)

    def make_lender(self) -> ModelLender[ServedModel]:
        """Lends the models of the pool to such threads."""
        return ModelLender(lambda: self._loop, self.pool, self.loader, self.borrow_editor)

    async def _run_in_worker(
        self, work: Callable[[Editor], T], client: Client, until: float | None, model: ServedModel
    ) -> T:
        client.end = until

        def run() -> T:
            with self.batcher.client(client):
                return work(client_editor(model.editor, self.batcher, client, model.unet))

        end = asyncio.get_running_loop().run_in_executor(self._workers, run)
        try:
            return await asyncio.shield(end)
        except asyncio.CancelledError:
            self.batcher.stop(client)
            await _wait_for_end(end)  # one step at most
            raise

    def _run_models(self) -> None:
        try:
            prepare_models(self.editor, self.first.max_rows)
            self.first.unet.speed.add(self.row_work, time_row(self.editor))
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
