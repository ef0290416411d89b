"""One thread calls the models for many clients; rows that wait together are one UNet call.

Every client (an edit, a source, a sweep) runs in its own thread, as it would without others, and
waits here at each step. So clients may join and leave between any two calls, whatever they compute.
"""

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.mdp import Denoiser
from mdp_lite.names import DeadlineExceeded, Stopped
from mdp_lite.pipeline import check

# How long a call waits for clients who are between two steps: seconds, or half of the last call.
PATIENCE, SHARE = 0.005, 0.5
STOPPED = "the work was cancelled, or the batcher was closed"


class Client:
    """One piece of work that uses the models. Who has the smallest served (rows so far) is next.

    deadline is how many seconds from now it has for all that it does; left() says how many it still
    has. served starts at the smallest value of the others, so a new client has no advantage. rows
    and calls count what was computed for it.

    >>> client = Client(deadline=30)
    >>> with run_batcher(editor) as batcher, batcher.client(client):
    ...     own = client_editor(editor, batcher, client)
    ...     edit = own.edit(source, "a blue house on the grass", deadline=client.left())
    >>> client.rows == edit.cost.unet_rows
    True
    """

    def __init__(self, deadline: float | None = None) -> None:
        self.served = 0.0
        self.rows = self.calls = 0
        self.stopped = False
        self.end = None if deadline is None else time.monotonic() + check.deadline(deadline)

    def left(self) -> float | None:
        """The seconds that are left, or None without a deadline; DeadlineExceeded if none are."""
        if self.end is None:
            return None
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded("the deadline passed while the work waited to go on")
        return seconds


class UNetRows(NamedTuple):
    """Input rows of the denoiser: x (b, 4, y, x), t () or (b,), c (b, l, d)."""

    x: Tensor
    t: Tensor
    c: Tensor


class Call(NamedTuple):
    """What a client waits for: UNet rows, or other work, which is never part of a batch."""

    client: Client
    work: UNetRows | Callable[[], Any]
    answer: "Future[Any]"

    @property
    def rows(self) -> int:
        """How many UNet rows it has; other work counts as one."""
        return len(self.work.x) if isinstance(self.work, UNetRows) else 1

    @property
    def kind(self) -> Hashable:
        """Calls of equal kind may go into one batch; no two of other work are of equal kind."""
        if not isinstance(self.work, UNetRows):
            return id(self)
        x, _, c = self.work
        return x.shape[1:], c.shape[1:], x.dtype, c.dtype


class Batcher:
    """A queue in which clients wait for the models; one thread calls them, in run().

    denoise computes a whole batch. finite_unet computes a client's rows again if they came out with
    NaN or infinity; it gives finite ones or raises. max_rows is how many rows one call may have.
    With 0 the rows of each client are a call by themselves, and its results have exactly the bits
    that they have without other clients. The client that was served least is next. Its rows, calls
    and seconds are of all UNet calls so far.

    All methods may be called from any thread; run() belongs to one thread, which must be the only
    one that calls the models. denoise and call block until run() has answered, and raise Stopped if
    the client is stopped or the batcher closed.

    >>> with run_batcher(editor, max_rows=16) as batcher, batcher.client() as client:
    ...     batcher.call(client, lambda: "work for the thread that calls the models")
    'work for the thread that calls the models'
    """

    def __init__(self, denoise: Denoiser, finite_unet: Denoiser, max_rows: int = 0) -> None:
        self._denoise, self._finite_unet, self.max_rows = denoise, finite_unet, max_rows
        self._changed = threading.Condition()
        self._waiting: list[Call] = []
        self._clients: set[Client] = set()
        self._clock = 0.0  # served, of the client whose call was last taken from the queue
        self._closed = False
        self.calls = self.rows = self.halved = 0
        self.seconds = self._last = 0.0  # of all calls, and of the last one

    @contextmanager
    def client(self, one: Client | None = None) -> Iterator[Client]:
        """Add a client for as long as the context lasts. It starts with the least that one has."""
        one = one or Client()
        with self._changed:
            one.served = min((other.served for other in self._clients), default=self._clock)
            self._clients.add(one)
        try:
            yield one
        finally:
            with self._changed:
                self._clients.discard(one)
                self._changed.notify_all()

    @property
    def clients(self) -> int:
        """How many clients there are now."""
        return len(self._clients)

    def denoise(self, client: Client, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """Wait for the denoiser's answer (b, 4, y, x). Raises Stopped if the client is stopped."""
        return self._submit(client, UNetRows(x, t, c))

    def call(self, client: Client, work: Callable[[], Any]) -> Any:
        """Let the batcher's thread do other work, and wait for its result."""
        return self._submit(client, work)

    def stop(self, client: Client) -> None:
        """Raise Stopped in a client: in the call that it waits for, and in every later one."""
        with self._changed:
            client.stopped = True
            dropped = [one for one in self._waiting if one.client is client]
            self._waiting = [one for one in self._waiting if one.client is not client]
            self._changed.notify_all()
        for one in dropped:
            one.answer.set_exception(Stopped(STOPPED))

    def close(self) -> None:
        """Stop all clients and end run()."""
        with self._changed:
            self._closed = True
            clients = list(self._clients)
            self._changed.notify_all()
        for one in clients:
            self.stop(one)

    @torch.no_grad()
    def run(self) -> None:
        """Compute calls until the batcher is closed."""
        while self._run_batch():
            pass

    def _run_batch(self) -> bool:
        """Compute the next batch; False at the end. On return its tensors can be freed."""
        batch = self._next_batch()
        self._answer(batch)
        return bool(batch)

    def _submit(self, client: Client, work: UNetRows | Callable[[], Any]) -> Any:
        one = Call(client, work, Future())
        with self._changed:
            if client.stopped or self._closed:
                raise Stopped(STOPPED)
            self._waiting.append(one)
            self._changed.notify_all()
        return one.answer.result()

    def _next_batch(self) -> list[Call]:
        """The calls to compute now, once all clients wait or patience is over; [] at the end."""
        with self._changed:
            while not self._closed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                patience = max(PATIENCE, SHARE * self._last) if self.max_rows else 0
                self._changed.wait_for(self._all_wait, patience)
                if self._waiting:  # else those that waited were stopped
                    return self._take_batch()
            return []

    def _all_wait(self) -> bool:
        return len(self._waiting) >= len(self._clients) or self._closed

    def _take_batch(self) -> list[Call]:
        """Take the next batch from the queue and count its rows as served."""
        batch = choose_batch(self._waiting, self.max_rows)
        ids = {id(one) for one in batch}
        self._waiting = [one for one in self._waiting if id(one) not in ids]
        self._clock = batch[0].client.served
        for one in batch:
            one.client.served += one.rows
        return batch

    def _answer(self, batch: Sequence[Call]) -> None:
        """Compute a batch and answer its calls; if it fails, compute smaller batches."""
        try:
            answers = self._compute(batch) if batch else []
        except Exception as error:
            if len(batch) == 1:
                return self._deliver(batch[0], error)
            return self._retry(batch, error)
        for one, answer in zip(batch, answers, strict=True):
            self._deliver(one, answer)

    def _retry(self, batch: Sequence[Call], error: Exception) -> None:
        """Two halves if there was no memory; else each call by itself, as one may be the cause."""
        size = 1
        if out_of_memory(error):
            self.halved += 1
            _free()
            size = (len(batch) + 1) // 2
        for start in range(0, len(batch), size):
            self._answer(batch[start : start + size])

    def _compute(self, batch: Sequence[Call]) -> list[Any]:
        """The answer to each call of a batch, or its error."""
        first = batch[0].work
        if not isinstance(first, UNetRows):
            return [first()]
        parts = [one.work for one in batch if isinstance(one.work, UNetRows)]
        sizes = [len(one.x) for one in parts]
        self.calls, self.rows = self.calls + 1, self.rows + sum(sizes)
        started = time.monotonic()
        out = self._denoise(*join_rows(parts))
        finite = bool(out.isfinite().all())  # waits for a GPU
        self._last = time.monotonic() - started
        self.seconds += self._last
        for one in batch:
            one.client.rows, one.client.calls = one.client.rows + one.rows, one.client.calls + 1
        answers = list(out.split(sizes))
        if finite:
            return answers
        return [self._make_finite(*pair) for pair in zip(parts, answers, strict=True)]

    def _make_finite(self, rows: UNetRows, answer: Tensor) -> Any:
        """The answer to these rows if it is finite; else that of finite_unet, or its error."""
        if bool(answer.isfinite().all()):
            return answer
        try:
            return self._finite_unet(*rows)
        except Exception as error:
            return error

    def _deliver(self, one: Call, answer: Any) -> None:
        if isinstance(answer, Exception):
            if out_of_memory(answer):
                _free()
            one.answer.set_exception(answer)
        elif one.client.stopped:
            one.answer.set_exception(Stopped(STOPPED))
        else:
            one.answer.set_result(answer)


def choose_batch(waiting: Sequence[Call], max_rows: int) -> list[Call]:
    """The call of the client served least, and others of its kind, max_rows rows in all."""
    order = sorted(waiting, key=lambda one: one.client.served)
    batch, rows = order[:1], order[0].rows
    for one in order[1:]:
        if one.kind == batch[0].kind and rows + one.rows <= max_rows:
            batch.append(one)
            rows += one.rows
    return batch


def join_rows(parts: Sequence[UNetRows]) -> UNetRows:
    """The rows of several calls as one call, with a timestep for each row; one is left as it is."""
    if len(parts) == 1:
        return parts[0]
    t = [one.t.expand(len(one.x)) for one in parts]
    x, c = (torch.cat([getattr(one, name) for one in parts]) for name in ("x", "c"))
    return UNetRows(x, torch.cat(t), c)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the machine had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _free() -> None:
    """Give back the GPU memory that torch holds for later use."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
