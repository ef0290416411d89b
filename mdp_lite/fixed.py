"""Work of fixed shapes: a recorded graph reads its inputs where it read them first.

Graphs of one maker share their memory, so one is replayed at a time and its results are copied out.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mdp_lite.mdp import Denoiser, Step
from mdp_lite.run import Reads, Task, answered, asking
from mdp_lite.schedule import row

BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # rows of a call
Function = Callable[..., Tensor]
Work = Callable[[], Sequence[Tensor]]
Record = Callable[[Work], tuple[Sequence[Tensor], Callable[[], None]]]


class Maker:
    """Makes graphs by record, which says where a work's results lie and how it is done again.

    Once it is closed, shapes that it has not made are an error. count is of what it has made.
    """

    def __init__(self, record: Record) -> None:
        self.record, self.lock = record, threading.Lock()
        self.closed, self.count = False, 0

    def made(self, kept: dict[Any, Any], shapes: Any, make: Callable[[], Any]) -> Any:
        """What kept has for these shapes, made now if it has nothing yet."""
        if shapes not in kept:
            if self.closed:
                known = ", ".join(map(str, kept)) or "none"
                raise ValueError(f"the engine was warmed up for shapes {known}, got {shapes}")
            kept[shapes] = make()
            self.count += 1
        return kept[shapes]


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
            return self._maker.made(self._boards, shapes, make)(*given)


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


class Whole:
    """Whole steps of one edit: the call of the denoiser and all that stands before and after it."""

    def __init__(self, maker: Maker, unet: Denoiser) -> None:
        self._maker, self._unet = maker, unet
        self._steps: dict[Any, StepBoard] = {}

    def __call__(self, task: Task, i: int, reads: Reads, x: Tensor, v: bool) -> Step | None:
        """Step i of a task from x (1, 4, y, x), or None where its prediction is not finite."""
        shapes = (reads, v, tuple(x.shape), *(tuple(table.shape) for table in _tables(task)))
        make = lambda: StepBoard(self._maker.record, self._unet, task, reads, x, v)  # noqa: E731
        with self._maker.lock:
            return self._maker.made(self._steps, shapes, make)(task, i, x)


class StepBoard:
    """One step, recorded once for all rows: it counts them itself and reads tables by the count."""

    def __init__(
        self, record: Record, unet: Denoiser, task: Task, reads: Reads, x: Tensor, v: bool
    ) -> None:
        self._task, self._loaded = _copied(task, x.device), task
        self._x, self._i = x.clone(), torch.zeros(1, dtype=torch.long, device=x.device)

        def work() -> Sequence[Tensor]:
            task, i, x = self._task, self._i, self._x
            rows, c = asking(task, i, reads, x)
            out = unet(rows, row(task.grid.t, i), c)
            step = answered(task, i, reads, x, out, v)
            i.add_(1).remainder_(len(task.grid.t))  # to warm up takes more steps than there may be
            return step.x, step.eps, out.isfinite().all()

        self._out, self._replay = record(work)
        self._next = -1

    def __call__(self, task: Task, i: int, x: Tensor) -> Step | None:
        """Step i of a task of the shapes that it was recorded with."""
        if task is not self._loaded:
            for place, table in zip(_tables(self._task), _tables(task), strict=True):
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


def _copied(task: Task, device: torch.device) -> Task:
    """A task with tensors of its own on a device."""

    def copy(part: Any) -> Any:
        return type(part)(*(None if one is None else one.to(device, copy=True) for one in part))

    return Task(copy(task.grid), copy(task.to), copy(task.source), copy(task.weights), task.plan)
