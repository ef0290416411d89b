"""Whose turn it is at the models: shares of work, how fast work is done, and who is waited for.

Turns follow start-time fair queueing: a share begins where the call that runs now began, and each
call adds its work to the share that it is of. So of two shares each gets half of the time, however
different their calls are, and a small one waits for one call of a large one before it begins.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Protocol

# How long a call waits for clients who are between two steps: seconds, or half of the last call.
PATIENCE, SHARE = 0.005, 0.5
# What a call may wait past its client's deadline: seconds, and turns of all clients. An edit that
# ends by its deadline still has to decode its best picture.
LATE, TURNS = 5.0, 2
GAP = 0.5  # seconds that a long call waits for a client who has been served less, at most
CALL_SECONDS = 2.0  # of a call of several rows, by estimate
FADE = 0.98  # what each call leaves of the weight of those before it


class Group:
    """What one user has been served, however many requests that are; users take turns.

    begun: what the share of its last call had been served before that call.
    """

    def __init__(self) -> None:
        self.served = self.begun = 0.0


class Share:
    """What one request has been served; its clients, if it has several, take turns as one.

    group: of the requests of one user, which together have the turns of one; by default it is the
    only one.

    >>> share = Share()
    >>> pair = [Client(share=share), Client(share=share)]
    """

    def __init__(self, group: Group | None = None) -> None:
        self.served, self.group = 0.0, Group() if group is None else group

    @property
    def rank(self) -> tuple[float, float]:
        """Whose turn is first: the group that was served least, and of its shares that one."""
        return self.group.served, self.served

    def add(self, work: float) -> None:
        """Count work that is served."""
        self.served, self.group.served = self.served + work, self.group.served + work


class Turn(Protocol):
    """A client as the order of turns sees it; last is the work of its last call."""

    share: Share
    last: float
    is_idle: bool


class Speed:
    """Work per second of the last calls, for estimates.

    >>> speed = Speed()
    >>> speed.add(work=10, seconds=2)
    >>> speed.estimate(20)
    4.0
    """

    def __init__(self) -> None:
        self._work = self._seconds = 0.0

    def add(self, work: float, seconds: float) -> None:
        """Count a call."""
        self._work = FADE * self._work + work
        self._seconds = FADE * self._seconds + seconds

    def estimate(self, work: float) -> float:
        """Seconds that this work takes; 0 as long as no call was counted."""
        return work * self._seconds / self._work if self._work else 0.0

    def most_rows(self, row: float) -> int:
        """How many rows of this much work a call may have: at least one, CALL_SECONDS at most."""
        seconds = self.estimate(row)
        return max(1, int(CALL_SECONDS / seconds)) if seconds else 2**31


def choose_start(
    share: Share | Group, others: Iterable[Share | Group], begun: float, is_busy: bool
) -> float:
    """What a share has been served as it joins others; begun is what the share served last had."""
    start = min((one.served for one in others), default=begun)
    return max(share.served, min(start, begun) if is_busy else start)


def join_shares(share: Share, clients: Iterable[Turn], clock: float, is_busy: bool) -> None:
    """Let a share, and its group, begin where the clients' are; clock is the groups' begun."""
    others = [one.share for one in clients]
    peers = [one for one in others if one.group is share.group]
    if not peers:
        groups = [one.group for one in others]
        share.group.served = choose_start(share.group, groups, clock, is_busy)
    if not any(one is share for one in peers):
        share.served = choose_start(share, peers, share.group.begun, is_busy)


def find_expected(clients: Iterable[Turn], waiting: Sequence[Turn], work: float) -> list[Turn]:
    """Clients between two steps whose turn is before that of a call of this much work.

    They were served less than all who wait, and ask for much less at a time: without them a long
    call would come between every two steps of a short edit.
    """
    least = min(one.share.rank for one in waiting)
    asking = {id(one) for one in waiting}
    return [
        one for one in clients
        if one.share.rank < least and 2 * one.last < work and not one.is_idle
        and id(one) not in asking
    ]  # fmt: skip


def choose_patience(seconds: float) -> float:
    """Seconds that a call of these seconds, by estimate, waits for clients whose turn is before."""
    return min(max(PATIENCE, SHARE * seconds), GAP)


def find_limit(end: float | None, turn: float | None) -> float | None:
    """Seconds that a call may wait if its client's deadline is end; None is without end.

    turn: seconds of a turn of all clients, or None if nobody computes.
    """
    if end is None:
        return None
    left = max(0.0, end - time.monotonic())
    return left if turn is None else max(left, LATE + TURNS * turn)
