"""The loaded models: loaded when somebody needs one, within a bound on memory."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from mdp_lite.batcher.turns import Group
from mdp_lite.engine.devices import free_memory
from mdp_lite.engine.memory import return_freed_memory
from mdp_lite.model_pool.catalog import describe_excess
from mdp_lite.model_pool.keys import ModelKey, ModelSlot
from mdp_lite.model_pool.load_turns import LoadTicket, LoadTurns
from mdp_lite.model_pool.refusals import AGAIN, Explain, Reason, Refusal, explain_plainly

LOADS = 8  # models that may wait to be loaded for one user


class PooledModel(Protocol):
    """A model that a pool lends."""

    key: ModelKey
    slot: ModelSlot

    def unload(self) -> None:
        """Let go of its weights."""
        ...


M = TypeVar("M", bound=PooledModel)
Loaded = TypeVar("Loaded", bound=PooledModel, covariant=True)


class Loader(Protocol[Loaded]):
    """Loads models; check and load are called in a thread."""

    def find_size(self, key: ModelKey) -> int:
        """Bytes of its weights."""
        ...

    def check(self, key: ModelKey) -> None:
        """Raise ValueError if it can't be loaded, before others make room for it."""
        ...

    def load(self, key: ModelKey, slot: ModelSlot) -> Loaded:
        """The model, ready."""
        ...


class PoolLimits(Protocol):
    """How many models with LoRAs are loaded, and seconds for which an unused model stays."""

    @property
    def lora_sets(self) -> int: ...
    @property
    def model_seconds(self) -> float: ...


class PoolCounts(NamedTuple):
    """What a pool did so far, by alias."""

    loads: dict[str, int]
    failures: dict[str, int]
    unloads: dict[str, int]
    seconds: dict[str, float]


class LoadingModel(Generic[M]):
    """A model that is being loaded, is loaded, or is about to be unloaded."""

    def __init__(self, key: ModelKey, size: int, is_pinned: bool) -> None:
        self.key, self.size, self.is_pinned = key, size, is_pinned
        self.slot, self.ticket, self.is_reading = ModelSlot(), LoadTicket(), False
        self.model: M | None = None
        self.loading: asyncio.Task[M] | None = None
        self.timer: asyncio.TimerHandle | None = None  # until it is unloaded if nobody uses it


class ModelPool(Generic[M]):
    """Models by key, loaded one at a time, for the thread of asyncio alone; users take turns.

    bound: bytes of the weights of all. Before a load, models that nobody uses are unloaded, least
    recently used first; if that is not enough, the pool waits for those that are used, and new
    requests for them wait until the new one is loaded. first stays.
    What it can't lend it refuses by what explain makes of a Refusal.
    """

    def __init__(
        self, first: M, loader: Loader[M], limits: PoolLimits, bound: float = float("inf"),
        explain: Explain = explain_plainly,
    ) -> None:  # fmt: skip
        self._loader, self._limits, self.bound, self._to_error = loader, limits, bound, explain
        pinned = LoadingModel[M](first.key, loader.find_size(first.key), True)
        pinned.slot, pinned.model = first.slot, first
        self._entries = {pinned.key: pinned}  # what requests find
        self._loaded = [pinned]  # what takes memory, also if it is about to be unloaded
        self._failed: dict[ModelKey, tuple[float, Exception]] = {}
        self._turns = LoadTurns()
        self._unloading: asyncio.Future[None] | None = None
        self.counts = PoolCounts({}, {}, {}, {})

    @property
    def bytes(self) -> dict[str, int]:
        """Bytes of the weights that are loaded, by alias."""
        found: dict[str, int] = {}
        for one in self._loaded:
            found[one.key.alias] = found.get(one.key.alias, 0) + one.size
        return found

    @property
    def stays(self) -> int:
        """Bytes of the weights that are loaded and stay."""
        return sum(one.size for one in self._loaded if one.is_pinned)

    def is_pinned(self, alias: str) -> bool:
        """Whether a model stays loaded."""
        return any(one.is_pinned and one.key.alias == alias for one in self._entries.values())

    def find_state(self, key: ModelKey) -> str:
        """Whether a model is loaded, loading, failed or unloaded."""
        entry = self._entries.get(key)
        if entry is not None:
            return "loading" if entry.model is None else "loaded"
        return "failed" if key in self._failed else "unloaded"

    def is_reading(self, key: ModelKey) -> bool:
        """Whether a model's files are read now, so that its turn has come and there is room."""
        entry = self._entries.get(key)
        return entry is not None and entry.is_reading

    @asynccontextmanager
    async def use(self, key: ModelKey, user: Group, end: float | None = None) -> AsyncIterator[M]:
        """The model, loaded if need be, which is not unloaded as long as the context lasts.

        user: whose turn a load is. end: the request's deadline on the monotonic clock. A load that
        has not begun ends with the last request for it. Raises what explain gives.
        """
        entry = self._entries.get(key) or self._start(key, user)
        entry.slot.hold()
        self._turns.join(entry.ticket, user)
        try:
            yield entry.model or await self._wait(entry, end)
        finally:
            entry.slot.release()
            entry.ticket.users.remove(user)
            self._drop_unused(entry)

    async def pin(self, key: ModelKey) -> None:
        """Load a model that stays. Raises what explain gives."""
        user = Group()
        entry = self._start(key, user, True)
        entry.slot.hold()
        self._turns.join(entry.ticket, user)
        await self._wait(entry, None)

    def _start(self, key: ModelKey, user: Group, is_pinned: bool = False) -> LoadingModel[M]:
        when, error = self._failed.get(key, (0.0, None))
        if error is not None and time.monotonic() < when + AGAIN:
            raise error
        waiting = [one for one in self._entries.values() if one.model is None]
        if sum(user in one.ticket.users for one in waiting) >= LOADS:
            message = f"you wait for {LOADS} models already: send this again once one is loaded"
            raise self._refuse("busy", key, message)
        entry = LoadingModel[M](key, self._loader.find_size(key), is_pinned)
        self._check_fits(entry)
        entry.slot.on_idle = partial(self._plan_unload, entry)
        entry.loading = asyncio.create_task(self._load(entry))
        entry.loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._entries[key] = entry
        return entry

    async def _wait(self, entry: LoadingModel[M], end: float | None) -> M:
        assert entry.loading is not None
        try:
            async with asyncio.timeout(None if end is None else max(0, end - time.monotonic())):
                return await asyncio.shield(entry.loading)
        except TimeoutError:
            message = f"the deadline passed while the model {entry.key.alias!r} was loading"
            raise self._refuse("late", entry.key, message) from None

    def _check_fits(self, entry: LoadingModel[M]) -> None:
        if entry.size + self.stays > self.bound:
            message = describe_excess(entry.key.alias, entry.size, self.stays, self.bound)
            raise self._refuse("too_large", entry.key, message)

    async def _load(self, entry: LoadingModel[M]) -> M:
        key, started = entry.key, time.monotonic()
        try:
            async with self._turns.take(entry.ticket):
                model = await self._load_alone(entry)
        except BaseException as error:
            self._forget(entry)
            if isinstance(error, Exception):
                _add(self.counts.failures, key.alias, 1)
                raise self._explain(key, error) from error
            raise
        self._failed.pop(key, None)
        _add(self.counts.loads, key.alias, 1)
        _add(self.counts.seconds, key.alias, time.monotonic() - started)
        self._plan_unload(entry)
        return model

    async def _load_alone(self, entry: LoadingModel[M]) -> M:
        if not entry.slot.users:  # all who wanted it have left
            raise asyncio.CancelledError
        run = asyncio.get_running_loop().run_in_executor
        # A thread that ends: its OpenMP threads would compete with those of the models' thread.
        with ThreadPoolExecutor(1, "load") as thread:
            await run(thread, self._loader.check, entry.key)
            await self._make_room(entry)
            entry.is_reading = True
            model = await run(thread, self._loader.load, entry.key, entry.slot)
        entry.model, entry.is_reading = model, False
        self._loaded.append(entry)
        return model

    def _drop_unused(self, entry: LoadingModel[M]) -> None:
        """Take back a load that has not begun and that nobody waits for any more."""
        if entry.loading and not entry.ticket.users and not entry.ticket.has_begun:
            self._forget(entry)
            entry.loading.cancel()

    def _explain(self, key: ModelKey, error: Exception) -> Exception:
        """What all who wait are told of a load that failed, now and for a while."""
        message = f"the model {key.alias!r} could not be loaded: {error}"
        found = self._refuse("failed", key, message, error)
        if not key.loras:
            self._failed[key] = time.monotonic(), found
        return found

    def _refuse(
        self, reason: Reason, key: ModelKey, message: str, cause: Exception | None = None
    ) -> Exception:
        return self._to_error(Refusal(reason, key, message, cause))

    async def _make_room(self, entry: LoadingModel[M]) -> None:
        """Unload others until this one fits, those that nobody uses first."""
        while (victim := self._choose_victim(entry)) is not None:
            if self._entries.get(victim.key) is victim:
                del self._entries[victim.key]  # new requests for it wait until it is loaded again
            await victim.slot.idle.wait()
            await self._unload(victim)

    def _choose_victim(self, entry: LoadingModel[M]) -> LoadingModel[M] | None:
        sets = sum(1 for one in self._loaded if one.key.loras)
        excess = entry.size + sum(one.size for one in self._loaded) > self.bound
        many = bool(entry.key.loras) and sets >= self._limits.lora_sets
        some = [
            one for one in self._loaded
            if not one.is_pinned and (one.key.loras or not many or excess)
        ]  # fmt: skip
        if not some or not (excess or many):
            return None
        return min(some, key=lambda one: (one.slot.users > 0, one.slot.last_used))

    async def _unload(self, entry: LoadingModel[M]) -> None:
        """Give back the memory of a model that nobody uses."""
        if entry not in self._loaded or entry.slot.users:
            return
        self._loaded.remove(entry)
        self._forget(entry)
        if entry.model is not None:
            entry.model.unload()
        entry.model = entry.loading = None
        _add(self.counts.unloads, entry.key.alias, 1)
        await asyncio.get_running_loop().run_in_executor(None, _collect)

    def _forget(self, entry: LoadingModel[M]) -> None:
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]

    def _plan_unload(self, entry: LoadingModel[M]) -> None:
        """Unload a model that is not pinned once nobody has used it for so long; one timer each."""
        if entry.is_pinned or entry.slot.users or entry.model is None or entry.timer is not None:
            return
        left = entry.slot.last_used + self._limits.model_seconds - time.monotonic()
        entry.timer = asyncio.get_running_loop().call_later(left, self._end_timer, entry)

    def _end_timer(self, entry: LoadingModel[M]) -> None:
        entry.timer = None
        unused = time.monotonic() - entry.slot.last_used
        if entry.slot.users or unused < self._limits.model_seconds:
            return self._plan_unload(entry)
        self._forget(entry)
        self._unloading = asyncio.ensure_future(self._unload(entry))


def _add(counts: dict[str, Any], name: str, value: float) -> None:
    counts[name] = counts.get(name, 0) + value


def _collect() -> None:
    gc.collect()
    free_memory()
    return_freed_memory()
