"""Work of fixed shapes: a recorded graph reads its inputs where it read them first.

Graphs of one maker share their memory, so one is replayed at a time and its results are copied out.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.execute import Reads, Task, answered, asking
from mdp_lite.method.mdp import Denoiser, Step
from mdp_lite.method.schedule import row

MOST_TIMES = 1000  # timesteps of which Lifting keeps rows, 40 KB each at SD 1.5's size
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # rows of a call
log = logging.getLogger("mdp_lite")
Function = Callable[..., Tensor]
Work = Callable[[], Sequence[Tensor]]
Record = Callable[[Work], tuple[Sequence[Tensor], Callable[[], None]]]


class Maker:
    """Makes graphs by record, which says where a work's results lie and how it is done again.

    Once it is closed, shapes that it has not made are an error. count is of what it has made. What
    cannot be recorded is not: that is said once, and it runs as it would without an engine.
    """

    def __init__(self, record: Record) -> None:
        self.record, self.lock = record, threading.Lock()
        self.closed, self.count = False, 0

    def made(self, kept: dict[Any, Any], shapes: Any, make: Callable[[], Any]) -> Any:
        """What kept has for these shapes, made now if it has nothing yet; None if it cannot be."""
        if shapes not in kept:
            if self.closed:
                known = ", ".join(map(str, kept)) or "none"
                raise ValueError(f"the engine was warmed up for shapes {known}, got {shapes}")
            kept[shapes] = self._tried(make, shapes)
        return kept[shapes]

    def _tried(self, make: Callable[[], Any], shapes: Any) -> Any:
        try:
            made = make()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).split("\n")[0]
            log.warning("no graph for shapes %s, they run eagerly: %s", shapes, reason)
            return None
        self.count += 1
        return made


class Board:
    """A function of tensors, recorded for their shapes."""

    def __init__(self, record: Record, function: Function, *given: Tensor) -> None:
        held = [one.clone() for one in given]
        self._held = held  # the graph knows its inputs by their addresses alone
        (self._out,), self._replay = record(lambda: (function(*held),))

    def __call__(self, *given: Tensor) -> Tensor:
        """The function of tensors of these shapes."""
        for place, one in zip(self._held, given, strict=True):
            place.copy_(one)
        self._replay()
        return self._out.clone()


class Fixed:
    """A function of tensors that is recorded for each shape that occurs."""

    def __init__(self, maker: Maker, function: Function) -> None:
        self._maker, self._function = maker, function
        self._boards: dict[Any, Board] = {}

    def __call__(self, *given: Tensor) -> Tensor:
        """The function of these tensors."""
        shapes = tuple(tuple(one.shape) for one in given)
        make = lambda: Board(self._maker.record, self._function, *given)  # noqa: E731
        with self._maker.lock:
            board = self._maker.made(self._boards, shapes, make)
            return board(*given) if board else self._function(*given)


class Bucketed:
    """A denoiser whose calls are filled up to few counts of rows."""

    def __init__(self, unet: Denoiser) -> None:
        self._unet = unet

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x)."""
        return self._unet(*filled(x, t, c))[: len(x)]


def filled(
    x: Tensor, t: Tensor, c: Tensor, counts: Sequence[int] = BUCKETS
) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of a call and copies of its last, up to the next of counts if there is one."""
    more = next((count for count in counts if count >= len(x)), len(x)) - len(x)
    if not more:
        return x, t, c
    x, c = (torch.cat([rows, rows[-1:].expand(more, -1, *rows.shape[2:])]) for rows in (x, c))
    return x, torch.cat([t, t[-1:].expand(more)]) if t.ndim else t, c


class Lifted(NamedTuple):
    """A UNet that is given what it makes of t and of c: UNet.predict, times and text.

    All that depends on a timestep or a condition alone is then computed once for a whole edit.
    """

    predict: Denoiser
    times: Function
    text: Function


class Lifting:
    """A denoiser that computes anew what depends on t or on c alone only when they change.

    For a CPU: to look whether they did would make a GPU wait. Each timestep goes alone, so that
    what a row gets can't depend on the rows that it is in a call with.
    """

    def __init__(self, unet: Lifted) -> None:
        self._unet = unet
        self._times: dict[float, Tensor] = {}
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x)."""
        if torch.is_grad_enabled():
            return self._unet.predict(x, self._unet.times(t), self._unet.text(c))
        return self._unet.predict(x, self._at(t), self._said(c))

    def _at(self, t: Tensor) -> Tensor:
        if t.ndim:
            return torch.cat([self._at(one) for one in t])
        if len(self._times) >= MOST_TIMES:
            self._times = {}
        key = float(t)
        if key not in self._times:
            self._times[key] = self._unet.times(t)
        return self._times[key]

    def _said(self, c: Tensor) -> Tensor:
        last = self._last  # of whichever thread came last
        if last and last[0].shape == c.shape and torch.equal(last[0], c):
            return last[1]
        self._last = c, self._unet.text(c)
        return self._last[1]


class Whole:
    """Whole steps of one edit: the call of the denoiser and all that stands before and after it."""

    def __init__(self, maker: Maker, unet: Lifted) -> None:
        self._maker, self._unet = maker, unet
        self._steps: dict[Any, StepBoard] = {}

    def __call__(self, task: Task, i: int, reads: Reads, x: Tensor, v: bool) -> Step | None:
        """Step i of a task from x (1, 4, y, x); None if it is not finite or cannot be recorded."""
        shapes = (reads, v, tuple(x.shape), *(tuple(table.shape) for table in _tables(task)))
        make = lambda: StepBoard(self._maker.record, self._unet, task, reads, x, v)  # noqa: E731
        with self._maker.lock:
            step = self._maker.made(self._steps, shapes, make)
            return step(task, i, x) if step else None


class StepBoard:
    """One step, recorded once for all rows: it counts them itself and reads tables by the count."""

    def __init__(
        self, record: Record, unet: Lifted, task: Task, reads: Reads, x: Tensor, v: bool
    ) -> None:
        self._lift, self._loaded = partial(_lifted, unet), task
        self._task = _copied(self._lift(task), x.device)
        self._x, self._i = x.clone(), torch.zeros(1, dtype=torch.long, device=x.device)

        def work() -> Sequence[Tensor]:
            task, i, x = self._task, self._i, self._x
            rows, c = asking(task, i, reads, x)
            out = unet.predict(rows, row(task.grid.t, i)[None], c)
            step = answered(task, i, reads, x, out, v)
            i.add_(1).remainder_(len(task.grid.t))  # to warm up takes more steps than there may be
            return step.x, step.eps, out.isfinite().all()

        self._out, self._replay = record(work)
        self._next = -1

    def __call__(self, task: Task, i: int, x: Tensor) -> Step | None:
        """Step i of a task of the shapes that it was recorded with."""
        if task is not self._loaded:
            lifted = self._lift(task)
            for place, table in zip(_tables(self._task), _tables(lifted), strict=True):
                place.copy_(table)
            self._loaded = task
        if i != self._next:
            self._i.fill_(i)
        self._x.copy_(x)
        self._replay()
        self._next = i + 1
        x, eps, finite = self._out
        return Step(x.clone(), eps.clone()) if finite else None


def _tables(task: Task) -> list[Tensor]:
    """All tensors of a task, in one order."""
    parts = (task.grid, task.to, task.source, task.weights)
    return [one for part in parts for one in part if one is not None]


def _lifted(unet: Lifted, task: Task) -> Task:
    """A task with times for its t and texts for its conditions, which mix as those do."""
    to, text = task.to, unet.text
    null = None if to.null is None else text(to.null)
    return task._replace(
        grid=task.grid._replace(t=unet.times(task.grid.t)),
        to=to._replace(c=text(to.c), null=null),
        source=task.source._replace(c=text(task.source.c)),
    )


def _copied(task: Task, device: torch.device) -> Task:
    """A task with tensors of its own on a device."""

    def copy(part: Any) -> Any:
        return type(part)(*(None if one is None else one.to(device, copy=True) for one in part))

    return Task(copy(task.grid), copy(task.to), copy(task.source), copy(task.weights), task.plan)
