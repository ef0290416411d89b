"""The memory that open requests take, counted before it is used, and given back when they end.

What a request holds from its arrival until its answer is sent (files, pictures, answers) is in a
Lease; what a task of it needs only while it runs is a Room. Both stay within one bound. A request
for which there is no room is refused; a task waits for room, which is always found, because room
for the largest task of all is kept free.
"""

import asyncio
import ctypes
import gc
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from types import TracebackType
from typing import Any

from PIL import Image

from mdp_lite.engine.memory import return_freed_memory
from mdp_lite.serve.errors import ApiError

TRIM = 2**27  # bytes given back after which malloc is asked to give them back too
SETTLE = 1.0  # seconds after the last request until freed memory is given back
M_ARENA_MAX = -8  # glibc's number for the most heaps
IDLE = 2**20  # the same once no request holds any


class Ledger:
    """The bytes of all open requests; bound is the most. It belongs to the thread of the loop.

    leased are the bytes of leases, working those of rooms. Once bytes were given back that malloc
    may still keep, on_returned is called, with whether nothing is in use any more. retry gives the
    seconds of Retry-After; on_refused is called when a request finds no room.
    """

    def __init__(
        self, bound: int, retry: Callable[[], float], on_returned: Callable[[bool], None],
        on_refused: Callable[[], None],
    ) -> None:  # fmt: skip
        self.bound, self._retry = bound, retry
        self._on_returned, self._on_refused = on_returned, on_refused
        self.leased = self.working = self._returned = self._since_idle = 0
        self._leases: dict[Lease, None] = {}
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def total(self) -> int:
        """Bytes of all leases and rooms."""
        return self.leased + self.working

    @property
    def reserve(self) -> int:
        """Bytes that leases must leave: those of the running tasks, or of the largest to come."""
        return max(self.working, max((one.working for one in self._leases), default=0))

    def open(self) -> "Lease":
        """The lease of a new request, which holds nothing yet."""
        lease = Lease(self)
        self._leases[lease] = None
        return lease

    def check_room(self, size: int) -> None:
        """Raise ApiError unless so many bytes more can be leased now."""
        if self.leased + size + self.reserve > self.bound:
            raise self._refuse()

    def _refuse(self) -> ApiError:
        self._on_refused()
        message = f"too much is waiting: {self.total} bytes of memory are taken"
        return ApiError(429, message, "rate_limit_exceeded", retry=self._retry())

    def change(self, lease: "Lease", size: int, working: int) -> None:
        """Let a lease hold size bytes, with tasks of up to so many each. Raises ApiError."""
        if size + working > self.bound:
            what = f"{size + working} bytes of memory for its pictures and their copies"
            message = f"this takes {what}, at most {self.bound} are allowed"
            raise ApiError(400, message, "too_expensive")
        others = (one.working for one in self._leases if one is not lease)
        reserve = max(self.working, working, max(others, default=0))
        grows = size > lease.size or working > lease.working
        if grows and self.leased - lease.size + size + reserve > self.bound:
            raise self._refuse()
        self._give_back(lease.size - size)
        self.leased += size - lease.size
        lease.size, lease.working = size, working
        self._admit_waiting()

    def forget(self, lease: "Lease") -> None:
        """Give back all that a lease holds."""
        if self._leases.pop(lease, lease) is None:
            self.leased -= lease.size
            self._give_back(lease.size)
            self._admit_waiting()

    async def enter(self, size: int) -> None:
        """Wait until so many bytes of working memory are free, and take them."""
        if not self._queue and self.total + size <= self.bound:
            self.working += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size, turn))
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.leave(size)
            with suppress(ValueError):
                self._queue.remove((size, turn))
            self._admit_waiting()
            raise

    def leave(self, size: int) -> None:
        """Give back working memory."""
        self.working -= size
        self._give_back(size)
        self._admit_waiting()

    def _admit_waiting(self) -> None:
        while self._queue and (self.total + self._queue[0][0] <= self.bound or not self.working):
            size, turn = self._queue.popleft()
            if not turn.done():
                self.working += size
                turn.set_result(None)

    def _give_back(self, size: int) -> None:
        size, idle = max(0, size), not self._leases and not self.working
        self._returned, self._since_idle = self._returned + size, self._since_idle + size
        if self._since_idle >= IDLE if idle else self._returned >= TRIM:
            self._returned = 0
            self._since_idle *= not idle
            self._on_returned(idle)


class Lease:
    """What one request holds, by name ("body", "pictures", "answer"), until all users closed it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._parts, self._users = ledger, dict[str, int](), 1
        self.size = self.working = 0

    def hold(self, **parts: int) -> None:
        """Hold so many bytes under these names from now on. Raises ApiError if there is no room."""
        self.plan(self.working, **parts)

    def plan(self, working: int, **parts: int) -> None:
        """The same, and prepare for tasks that need up to so many bytes each while they run."""
        whole = self._parts | parts
        self._ledger.change(self, sum(whole.values()), working)
        self._parts = whole

    def add(self, name: str, size: int) -> None:
        """Hold more under a name. Raises ApiError if there is no room."""
        self.hold(**{name: self._parts.get(name, 0) + size})

    def check_room(self, size: int) -> None:
        """Raise ApiError unless so many bytes more can be held now."""
        self._ledger.check_room(size)

    def room(self, size: int) -> "Room":
        """Room for a task of this request, to be entered once it runs."""
        return Room(self._ledger, size)

    @property
    def is_open(self) -> bool:
        """Whether it has a user: else nothing more may be held."""
        return self._users > 0

    def use(self) -> None:
        """One user more; each closes the lease once."""
        self._users += 1

    def close(self) -> None:
        """Give all back, if this was the last user."""
        self._users -= 1
        if not self._users:
            self._ledger.forget(self)


class Room:
    """Working memory of one task: enter() waits for it, the end of the context gives it back."""

    def __init__(self, ledger: Ledger, size: int) -> None:
        self._ledger, self._size, self._entered = ledger, size, False

    async def enter(self) -> None:
        """Wait for the memory."""
        await self._ledger.enter(self._size)
        self._entered = True

    def __enter__(self) -> "Room":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._entered:
            self._ledger.leave(self._size)


def lease_of(request: Any) -> Lease:
    """The lease that the gate opened for a request."""
    return request.scope["state"]["memory"]


def use_one_heap() -> None:
    """Let all threads to come allocate from one heap. No effect without glibc.

    By default each thread has its own, up to eight for each core, and malloc_trim gives back only
    of the first what is free at its end: 64 MB of each of the others would stay.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def schedule_trim(loop: asyncio.AbstractEventLoop, thread: Executor, idle: bool) -> None:
    """Give freed memory back in a thread; if all is idle, once the last frames have ended."""

    def submit() -> None:
        with suppress(RuntimeError):  # the thread is shut down
            thread.submit(give_back, idle)

    loop.call_later(SETTLE if idle else 0, submit)


def give_back(idle: bool) -> None:
    """Give the operating system what Pillow and malloc keep of freed memory.

    If nothing else is to do, also what only Python's collector of cycles finds: errors hold on to
    the frames, and these to the pictures, in which they were raised.
    """
    if idle:
        gc.collect()
    core: Any = Image.core
    core.clear_cache()
    return_freed_memory()
