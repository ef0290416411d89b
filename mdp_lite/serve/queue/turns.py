"""The order in which jobs wait.

An entry has a turn, a point in time: now, or the end of the entries of the same owner and priority
that wait, if that is later, as if each owner had the service alone. So many jobs of one owner do
not keep another one waiting. Each level of priority makes the turn STEP seconds earlier. A turn
never changes, and time goes on, so no job waits for ever: one of priority p lets pass only jobs
that are submitted within STEP seconds for each level that they are above p.
"""

from collections.abc import Sequence

STEP = 600.0  # seconds of waiting that a level of priority is worth


def choose_turns(
    now: float, last: float | None, seconds: Sequence[float], priority: int
) -> list[float]:
    """A turn for each new entry of so many seconds.

    last: when the owner's entries of this priority that wait would end, if there are any.

    >>> choose_turns(100.0, None, [5.0, 5.0], priority=0)
    [100.0, 105.0]
    """
    start, found = now if last is None else max(now, last), list[float]()
    for one in seconds:
        found.append(start - STEP * priority)
        start += one
    return found
