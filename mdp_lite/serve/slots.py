"""Slots of running tasks, handed out so that many requests of one user do not keep another waiting.

A free slot goes to the user who has the fewest; among equals to the one whose last task ended (or
who came) first; and of a user's tasks to the one that came first.
"""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import NamedTuple


class Waiter(NamedTuple):
    """A task that waits for a slot; turn is done once it has one."""

    group: Hashable
    is_long: bool
    turn: "asyncio.Future[None]"


class FairSlots:
    """Slots for `most` tasks, at most `most_long` of them long ones. It belongs to one loop.

    >>> slots = FairSlots(16, 8)
    >>> slots.free
    16
    """

    def __init__(self, most: int, most_long: int) -> None:
        self.free, self._free_long = most, most_long
        self._waiting: list[Waiter] = []  # by arrival
        self._running: dict[Hashable, int] = {}
        # When each user came, or a task of it ended last: a count of such events.
        self._since: dict[Hashable, int] = {}
        self._events = 0

    @asynccontextmanager
    async def take(self, group: Hashable, is_long: bool = False) -> AsyncIterator[None]:
        """A slot for a task of a user, for as long as the context lasts."""
        one = Waiter(group, is_long, asyncio.get_running_loop().create_future())
        await self._wait(one)
        try:
            yield
        finally:
            self._mark(group)
            self._give_back(one)

    async def _wait(self, one: Waiter) -> None:
        if one.group not in self._since:
            self._mark(one.group)
        self._waiting.append(one)
        self._admit()
        try:
            if not one.turn.done():
                await one.turn
        except asyncio.CancelledError:
            if one in self._waiting:
                self._waiting.remove(one)
                self._forget(one.group)
            else:  # it was given a slot in the same moment
                self._give_back(one)
            raise

    def _mark(self, group: Hashable) -> None:
        self._events += 1
        self._since[group] = self._events

    def _give_back(self, one: Waiter) -> None:
        self.free += 1
        self._free_long += one.is_long
        self._running[one.group] -= 1
        self._forget(one.group)
        self._admit()

    def _forget(self, group: Hashable) -> None:
        """Forget a user who has nothing here any more."""
        if not self._running.get(group) and all(one.group != group for one in self._waiting):
            self._running.pop(group, None)
            self._since.pop(group, None)

    def _admit(self) -> None:
        """Hand out free slots; afterwards nobody waits who could have one."""
        while self.free:
            able = [one for one in self._waiting if self._free_long or not one.is_long]
            if not able:
                return
            one = min(able, key=self._rank)  # of equals the first that came
            self._waiting.remove(one)
            self.free -= 1
            self._free_long -= one.is_long
            self._running[one.group] = self._running.get(one.group, 0) + 1
            if not one.turn.done():
                one.turn.set_result(None)

    def _rank(self, one: Waiter) -> tuple[int, int]:
        return self._running.get(one.group, 0), self._since[one.group]
