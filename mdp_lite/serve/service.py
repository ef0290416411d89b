"""Between asyncio and the models: who is let in, in which thread it works, how it is let go."""

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

from mdp_lite.batcher.batcher import Member
from mdp_lite.editor import Editor
from mdp_lite.engine.graphs import BUCKETS
from mdp_lite.pipeline.sweep import room
from mdp_lite.serve.errors import GONE, Refused
from mdp_lite.serve.metrics import Metrics
from mdp_lite.serve.recipes import Recipes
from mdp_lite.serve.settings import Settings
from mdp_lite.serve.store import Store

T = TypeVar("T")
LONG = 1000  # UNet rows: jobs of more take at most half of the places
LONGEST = 120  # seconds after which a client is told to try again, at most
log = logging.getLogger("mdp_lite.serve")


class Service:
    """One model behind one thread. Everything here but the jobs runs in the loop of asyncio.

    open is how many requests are; rows are those of all jobs that were let in and are not done,
    held the bytes of their pictures.
    """

    def __init__(self, editor: Editor, settings: Settings) -> None:
        self.editor, self.settings, limits = editor, settings, settings.limits
        self.most = most_rows(editor, settings.most)
        self.desk = desk_of(editor, self.most)
        self.store = Store(limits)
        self.recipes = Recipes(editor.cache, editor.runner, limits) if editor.cache else None
        self.open = self.rows = self.held = self.jobs = 0
        self.draining = self._warm = False
        self.metrics = Metrics(self)
        self._engine = threading.Thread(target=self._call_models, name="models", daemon=True)
        self._workers = ThreadPoolExecutor(limits.jobs, "job")
        self._readers = ThreadPoolExecutor(1, "pictures")  # Pillow's warnings are not for threads
        self._places = asyncio.Semaphore(limits.jobs)
        self._long = asyncio.Semaphore(max(1, limits.jobs // 2))

    def start(self) -> None:
        """Begin to answer, once the models have made what they make once."""
        self._engine.start()

    def close(self) -> None:
        """Let everybody go; returns once no thread works any more."""
        self.desk.close()
        self._workers.shutdown()
        self._readers.shutdown()
        if self._engine.is_alive():
            self._engine.join()

    @property
    def live(self) -> bool:
        """Whether the models answer, or will."""
        return self._engine.is_alive()

    def pulse(self) -> None:
        """Returns as the thread of the models has calculated something; Stopped if it is dead."""
        with self.desk.member() as one:
            self.desk.work(one, lambda: torch.ones((), device=self.editor.device).item())

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self._warm and self.live and not self.draining

    @property
    def wait(self) -> float:
        """Seconds until what was let in is done, by how fast rows were so far."""
        speed = self.desk.rows / self.desk.seconds if self.desk.seconds else 100.0
        return min(self.rows / speed, LONGEST)

    def admitted(
        self, rows: int, held: int, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> "asyncio.Task[T]":
        """Let in work of so many rows and bytes as a task, or refuse it; its end frees them."""
        limits = self.settings.limits
        if rows > limits.rows:
            message = f"this takes {rows} UNet rows, at most {limits.rows} are allowed"
            raise Refused(400, message, "too_expensive")
        fits = self.held + held <= limits.waiting_bytes
        if self.rows and not (fits and self.rows + rows <= limits.waiting_rows):
            self.metrics.refused.inc()
            message = f"too much is waiting: {self.rows} UNet rows, {self.held} bytes of pictures"
            raise Refused(429, message, "rate_limit_exceeded", retry=math.ceil(self.wait))
        self.rows, self.held = self.rows + rows, self.held + held
        task = asyncio.create_task(work())
        task.add_done_callback(lambda _: self._released(rows, held))
        return task

    def _released(self, rows: int, held: int) -> None:
        self.rows, self.held = self.rows - rows, self.held - held

    async def job(
        self, rows: int, work: Callable[[Editor], T], end: float | None = None
    ) -> tuple[T, float]:
        """What a job of admitted work gives, and how many seconds it waited.

        Cancelling it stops it; it ends when its thread has nothing more to do.
        """
        asked = time.monotonic()
        async with self._place(rows, end):
            waited = time.monotonic() - asked
            return await self._worked(work), waited

    async def read(self, work: Callable[[], T]) -> T:
        """Work on pictures, in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    @asynccontextmanager
    async def _place(self, rows: int, end: float | None) -> AsyncIterator[None]:
        """A place among those that work now; a long job leaves some to short ones."""
        long = rows > LONG
        try:
            async with asyncio.timeout(None if end is None else max(0, end - time.monotonic())):
                if long:
                    await self._long.acquire()
                try:
                    await self._places.acquire()
                except BaseException:
                    if long:
                        self._long.release()
                    raise
        except TimeoutError:
            message = "the deadline passed before work could begin"
            raise Refused(503, message, "deadline_exceeded", retry=self.wait) from None
        self.jobs += 1
        try:
            yield
        finally:
            self.jobs -= 1
            self._places.release()
            if long:
                self._long.release()

    @contextmanager
    def lent(self) -> Iterator[Editor]:
        """The editor for who works in a thread of their own, beside the requests."""
        with self.desk.member() as member:
            yield shared(self.editor, self.desk, member)

    async def _worked(self, work: Callable[[Editor], T]) -> T:
        member = Member()

        def run() -> T:
            with self.desk.member(member):
                return work(shared(self.editor, self.desk, member))

        done = asyncio.get_running_loop().run_in_executor(self._workers, run)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            self.desk.stop(member)
            await _ended(done)  # one step at most
            raise

    def _call_models(self) -> None:
        try:
            warmed(self.editor, self.most)
            self._warm = True
            self.desk.run()
        except BaseException:
            log.exception("the thread that calls the models ended")
            raise
        finally:
            self.desk.close()  # nobody waits for answers that can't come


async def _ended(done: "asyncio.Future[Any]") -> None:
    """Wait for work that nobody wants the result of, however often the waiting is cancelled."""
    while not done.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({done})
    done.exception()


async def attended(
    task: "asyncio.Task[T]", left: Awaitable[None], on_left: Callable[[], None]
) -> T:
    """A task's result; if the client leaves before, the task is cancelled and that is told."""
    gone = asyncio.ensure_future(left)
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Refused(GONE, "the client has left", "client_closed_request")
    finally:
        if not task.done():  # the client left, or the framework saw that first
            on_left()
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


@torch.no_grad()
def warmed(editor: Editor, most: int) -> None:
    """Fit the previews, and record graphs of all counts of rows that may come in a call."""
    codec = editor.runner
    x, c, t = codec.noise(0, *codec.size), codec.condition(""), codec.grid(None).t[:1]
    codec.latent(codec.picture(0 * x))
    for rows in BUCKETS if codec.engine.recorder else ():
        if rows <= most:
            some = [one.expand(rows, *one.shape[1:]) for one in (x.to(c), t, c)]
            codec.unet(*some)
    _ = codec.colours


def most_rows(editor: Editor, asked: int | None) -> int:
    """How many rows go into one call: those asked for, or by default what the device is good at."""
    if asked is not None:
        return asked
    if editor.device.type == "cpu":
        return 0
    config, codec = editor.models.unet.config, editor.runner
    width, height = codec.size
    shape = (height // codec.factor, width // codec.factor)
    return room(config, shape, next(editor.models.unet.parameters()).element_size())
