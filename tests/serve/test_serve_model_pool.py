"""The pool of models: what is loaded when, what makes room, what is told of failures."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

from mdp_lite.batcher.turns import Group
from mdp_lite.model_pool.keys import ModelKey, ModelSlot
from mdp_lite.model_pool.pool import LOADS, ModelPool
from mdp_lite.names import BadInput
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.model_errors import explain_refusal
from mdp_lite.serve.settings import Limits

A, B, C, D = (ModelKey(alias) for alias in "abcd")


class StubModel:
    """Stands for a loaded model."""

    def __init__(self, key: ModelKey, slot: ModelSlot) -> None:
        self.key, self.slot, self.is_loaded = key, slot, True

    def unload(self) -> None:
        assert not self.slot.users
        self.is_loaded = False


class StubLoader:
    """Loads models of size 1 when it may, and fails for those in errors."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.has_begun = False
        self.may_load, self.errors = threading.Event(), dict[str, Exception]()
        self.may_load.set()

    def find_size(self, key: ModelKey) -> int:
        return 9 if key.alias == "huge" else 1

    def check(self, key: ModelKey) -> None:
        pass

    def load(self, key: ModelKey, slot: ModelSlot) -> Any:
        self.has_begun = True
        self.may_load.wait(60)
        self.loads.append(key.alias)
        if key.alias in self.errors:
            raise self.errors[key.alias]
        return StubModel(key, slot)


class Pool(ModelPool):
    """A pool whose first model is a, with room for two."""

    def __init__(self, bound: int = 2, **limits: Any) -> None:
        self.loader, first = StubLoader(), StubModel(A, ModelSlot())
        super().__init__(first, self.loader, Limits(**limits), bound, explain_refusal)  # type: ignore[arg-type]

    async def call(self, key: ModelKey, end: float | None = None, user: Group | None = None) -> Any:
        async with self.use(key, user or Group(), end) as model:
            assert model.key == key and model.is_loaded  # type: ignore[attr-defined]
            return model


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


def test_the_least_recently_used_makes_room_and_the_pinned_stays() -> None:
    async def test() -> None:
        pool = Pool(3)
        for key in (B, C, B, A, D, A, B):
            await pool.call(key)
        assert pool.loader.loads == ["b", "c", "d"]  # c made room for d
        assert (pool.counts.unloads, pool.bytes) == ({"c": 1}, {"a": 1, "b": 1, "d": 1})

    run(test)


def test_many_who_wait_cause_one_load() -> None:
    async def test() -> None:
        pool = Pool()
        pool.loader.may_load.clear()
        ends = [asyncio.ensure_future(pool.call(B)) for _ in range(20)]
        await asyncio.sleep(0.01)
        assert pool.find_state(B) == "loading"
        pool.loader.may_load.set()
        assert len({id(one) for one in await asyncio.gather(*ends)}) == 1
        assert pool.loader.loads == ["b"] and pool.find_state(B) == "loaded"

    run(test)


def test_a_model_in_use_is_waited_for_and_nobody_starves() -> None:
    """While c waits for room, new requests for b wait behind it, or c would never be loaded."""

    async def test() -> None:
        pool = Pool()
        async with pool.use(B, Group()) as model:
            waiting = asyncio.ensure_future(pool.call(C))
            await asyncio.sleep(0.05)
            again = asyncio.ensure_future(pool.call(B))
            await asyncio.sleep(0.05)
            assert not waiting.done() and not again.done() and model.is_loaded  # type: ignore[attr-defined]
        await asyncio.gather(waiting, again)
        assert pool.loader.loads == ["b", "c", "b"] and sum(pool.bytes.values()) <= 2

    run(test)


def test_a_deadline_passes_while_a_model_is_loading() -> None:
    async def test() -> None:
        pool = Pool()
        pool.loader.may_load.clear()
        with pytest.raises(ApiError) as caught:
            await pool.call(B, time.monotonic() + 0.01)
        assert (caught.value.status, caught.value.code) == (503, "deadline_exceeded")
        pool.loader.may_load.set()
        await pool.call(B)
        assert pool.loader.loads == ["b"]  # that load went on

    run(test)


def test_a_load_that_fails_is_told_to_all_who_wait_and_the_others_go_on() -> None:
    async def test() -> None:
        pool = Pool()
        pool.loader.errors["b"] = BadInput("the file is cut off")
        ends = await asyncio.gather(*(pool.call(B) for _ in range(3)), return_exceptions=True)
        assert {(one.status, one.code) for one in ends} == {(503, "model_failed")}  # type: ignore[union-attr]
        assert "'b' could not be loaded: the file is cut off" in str(ends[0])
        with pytest.raises(ApiError, match="cut off"):
            await pool.call(B)
        assert pool.loader.loads == ["b"] and pool.counts.failures == {"b": 1}
        assert pool.find_state(B) == "failed" and pool.bytes == {"a": 1}
        await pool.call(C)
        pool.loader.errors["d"] = MemoryError()
        with pytest.raises(ApiError) as caught:
            await pool.call(D)
        assert caught.value.code == "out_of_memory"

    run(test)


def test_a_model_that_never_fits_is_refused_with_figures() -> None:
    async def test() -> None:
        pool = Pool()
        with pytest.raises(ApiError, match=r"takes 9 B, .* 1 B: more than the 2 B") as caught:
            await pool.call(ModelKey("huge"))
        assert caught.value.code == "model_too_large" and pool.loader.loads == []

    run(test)


def test_an_idle_model_is_unloaded_but_not_the_first_nor_one_in_use() -> None:
    async def test() -> None:
        pool = Pool(9, model_seconds=0.05)
        await pool.call(B)
        async with pool.use(C, Group()):
            while "b" in pool.bytes:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert pool.bytes == {"a": 1, "c": 1}
        while "c" in pool.bytes:
            await asyncio.sleep(0.01)
        assert pool.bytes == {"a": 1} and pool.counts.unloads == {"b": 1, "c": 1}
        await pool.call(B)

    run(test)


def test_few_sets_of_loras_are_loaded_at_once() -> None:
    async def test() -> None:
        pool = Pool(9, lora_sets=2)
        keys = [ModelKey("a", (i,)) for i in range(3)]  # type: ignore[arg-type]
        await pool.call(B)
        for one in (*keys, keys[2], keys[1]):
            await pool.call(one)
        assert pool.counts.loads == {"a": 3, "b": 1} and pool.counts.unloads == {"a": 1}

    run(test)


def start_calls(pool: Pool, keys: Iterable[ModelKey], user: Group) -> "list[asyncio.Task[Any]]":
    return [asyncio.create_task(pool.call(key, user=user)) for key in keys]


async def begin_load(pool: Pool, user: Group) -> "asyncio.Task[Any]":
    """A load of a user's that goes on until may_load is set."""
    pool.loader.may_load.clear()
    (first,) = start_calls(pool, [ModelKey("first")], user)
    while pool.find_state(ModelKey("first")) != "loading" or not pool.loader.has_begun:
        await asyncio.sleep(0.001)
    return first


MANY = [ModelKey(f"m{i}") for i in range(LOADS)]


def test_many_loads_of_one_user_leave_the_next_to_another() -> None:
    async def test() -> None:
        pool, crowd, other = Pool(20), Group(), Group()
        calls = [await begin_load(pool, crowd), *start_calls(pool, MANY[:7], crowd)]
        await asyncio.sleep(0.01)
        calls += start_calls(pool, [B, C], other)
        await asyncio.sleep(0.01)
        with pytest.raises(ApiError, match=f"you wait for {LOADS} models") as caught:
            await pool.call(D, user=crowd)
        assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
        pool.loader.may_load.set()
        await asyncio.gather(*calls)
        assert pool.loader.loads == ["first", "b", "m0", "c", *(f"m{i}" for i in range(1, 7))]

    run(test)


def test_a_model_that_two_users_want_is_loaded_in_the_turn_of_the_first_to_have_one() -> None:
    async def test() -> None:
        pool, crowd, other = Pool(20), Group(), Group()
        calls = [await begin_load(pool, crowd), *start_calls(pool, [*MANY[:4], B], crowd)]
        await asyncio.sleep(0.01)
        calls += start_calls(pool, [B], other)
        await asyncio.sleep(0.01)
        pool.loader.may_load.set()
        await asyncio.gather(*calls)
        assert pool.loader.loads == ["first", "b", "m0", "m1", "m2", "m3"]

    run(test)


def test_a_load_that_nobody_waits_for_any_more_is_dropped_before_it_begins() -> None:
    async def test() -> None:
        pool, one = Pool(20), Group()
        first = await begin_load(pool, one)
        gone, stays = start_calls(pool, [B, C], one)
        await asyncio.sleep(0.01)
        (again,) = start_calls(pool, [C], one)
        await asyncio.sleep(0.01)
        for call in (gone, again, first):
            call.cancel()
        await asyncio.sleep(0.01)
        states = {key.alias: pool.find_state(key) for key in (B, C, ModelKey("first"))}
        assert states == {"b": "unloaded", "c": "loading", "first": "loading"}
        (later,) = start_calls(pool, [B], one)  # the load that was dropped is not in its way
        await asyncio.sleep(0.01)
        pool.loader.may_load.set()
        await asyncio.gather(stays, later)
        assert pool.loader.loads == ["first", "c", "b"]  # what had begun went on
        assert pool.counts.failures == {}

    run(test)
