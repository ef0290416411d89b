"""Slots of running tasks: users take turns, and a cancelled task leaves its place to others."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from mdp_lite.serve.slots import FairSlots


class Desk:
    """Tasks that hold a slot until they are told to end; begun are their names in order."""

    def __init__(self, most: int, most_long: int = 1) -> None:
        self.slots, self.begun = FairSlots(most, most_long), list[str]()
        self.tasks = dict[str, asyncio.Task[None]]()
        self._ends = dict[str, asyncio.Event]()

    async def add(self, *names: str, is_long: bool = False) -> None:
        """Tasks of the users that the first letters name."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._hold(name, is_long))
        await settle()

    async def _hold(self, name: str, is_long: bool) -> None:
        async with self.slots.take(name[0], is_long):
            self.begun.append(name)
            await self._ends[name].wait()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await settle()

    async def end_all(self) -> None:
        """End the tasks in the order in which they began."""
        for k in range(len(self.tasks)):
            await self.end(self.begun[k])


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_one_user_is_served_in_order(most: int) -> None:
    async def work() -> None:
        desk, names = Desk(most), [f"a{k}" for k in range(6)]
        await desk.add(*names)
        assert len(desk.begun) == most
        await desk.end_all()
        assert desk.begun == names and desk.slots.free == most

    run(work())


@pytest.mark.parametrize("most", [1, 2, 3])
def test_a_user_who_comes_has_the_next_slot(most: int) -> None:
    async def work() -> None:
        desk = Desk(most)
        await desk.add(*(f"a{k}" for k in range(9)))
        await desk.add("b0")
        await desk.end("a0")
        assert desk.begun[most:] == ["b0"]
        await desk.end_all()
        assert desk.slots.free == most and not desk.slots._since and not desk.slots._running

    run(work())


def test_users_alternate() -> None:
    async def work() -> None:
        desk = Desk(1)
        await desk.add("a0", "a1", "a2", "a3", "b0", "b1", "b2")
        await desk.end_all()
        assert desk.begun == ["a0", "b0", "a1", "b1", "a2", "b2", "a3"]

    run(work())


def test_users_who_come_again_and_again_do_not_starve_one_who_waits() -> None:
    async def work() -> None:
        desk = Desk(1)
        await desk.add("a0", "a1", "a2", "b0", "c0")
        for name, again in (("a0", "d0"), ("b0", "b1"), ("c0", "c1")):
            await desk.end(name)
            await desk.add(again)
        assert desk.begun == ["a0", "b0", "c0", "a1"]
        await desk.end_all()

    run(work())


def test_long_tasks_leave_slots_to_short_ones() -> None:
    async def work() -> None:
        desk = Desk(2, 1)
        await desk.add("a0", "a1", is_long=True)
        await desk.add("a2", "a3")
        await desk.add("b0", is_long=True)
        assert desk.begun == ["a0", "a2"]
        await desk.end("a2")
        assert desk.begun[2:] == ["a3"]
        await desk.end("a0")
        assert desk.begun[3:] == ["b0"]
        await desk.end_all()

    run(work())


@pytest.mark.parametrize("when", ["waiting", "given"])
def test_a_cancelled_task_leaves_its_place_to_the_next(when: str) -> None:
    async def work() -> None:
        desk = Desk(1)
        await desk.add("a0", "b0", "c0")
        if when == "given":
            desk._ends["a0"].set()
            while desk.slots._running.get("b") is None:
                await asyncio.sleep(0)
        desk.tasks["b0"].cancel()
        await desk.end("a0")
        assert desk.tasks["b0"].cancelled() and desk.begun == ["a0", "c0"]
        await desk.end("c0")
        assert desk.slots.free == 1 and not desk.slots._since and not desk.slots._running

    run(work())
