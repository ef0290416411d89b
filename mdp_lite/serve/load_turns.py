"""Whose model is loaded next: users take turns, so that many loads of one keep no other waiting.

One model is loaded at a time. Next is a model of the user whose last load ended (or who came) the
longest ago, and of a user's models the one that was asked for first. Who asks for a model that
another user waits for already makes it theirs too.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from mdp_lite.batcher.turns import Group


class LoadTicket:
    """A model's place among those that wait to be loaded. users are those who want it."""

    def __init__(self) -> None:
        self.users: list[Group] = []  # a user is in it once for each request
        self.turn: asyncio.Future[None] | None = None  # is done once the load begins

    @property
    def has_begun(self) -> bool:
        """Whether its load has begun, or has ended."""
        return self.turn is not None and self.turn.done()


class LoadTurns:
    """The models that wait to be loaded. It belongs to one loop."""

    def __init__(self) -> None:
        self._waiting: list[LoadTicket] = []  # by arrival
        self._is_loading = False
        # When each user came, or a load of it ended last: a count of such events.
        self._since: WeakKeyDictionary[Group, int] = WeakKeyDictionary()
        self._events = 0

    def join(self, ticket: LoadTicket, user: Group) -> None:
        """Count a request of a user who wants the model."""
        ticket.users.append(user)
        if user not in self._since:
            self._mark(user)

    @asynccontextmanager
    async def take(self, ticket: LoadTicket) -> AsyncIterator[None]:
        """The turn of a model, for as long as the context lasts."""
        ticket.turn = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        self._admit()
        try:
            await ticket.turn
            yield
        finally:
            self._leave(ticket)

    def _leave(self, ticket: LoadTicket) -> None:
        """End a load, or the wait for it."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
            return
        for user in set(ticket.users):
            self._mark(user)
        self._is_loading = False
        self._admit()

    def _mark(self, user: Group) -> None:
        self._events += 1
        self._since[user] = self._events

    def _admit(self) -> None:
        if self._is_loading or not self._waiting:
            return
        one = min(self._waiting, key=self._rank)  # of equals the first that came
        self._waiting.remove(one)
        self._is_loading = True
        if one.turn is not None and not one.turn.done():
            one.turn.set_result(None)

    def _rank(self, ticket: LoadTicket) -> int:
        return min((self._since[one] for one in ticket.users), default=self._events)
