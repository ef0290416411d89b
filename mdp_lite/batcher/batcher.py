"""One thread calls the models for many: UNet rows that wait at one time go through it together.

Every client (an edit, a source, a sweep) runs in a thread of its own as if it were alone, and waits
here with each step. So clients join and leave between calls, whatever their kind or their settings.
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
from mdp_lite.names import Stopped

# How long a call waits for clients who are between two steps: seconds, or half of the last call.
PATIENCE, SHARE = 0.005, 0.5


class Client:
    """Who asks. served is what its turn goes by: rows so far, counted from when it joined."""

    def __init__(self) -> None:
        self.served = 0.0
        self.rows = self.calls = 0
        self.stopped = False


class UNetRows(NamedTuple):
    """UNetRows for the denoiser: x (b, 4, y, x), t () or (b,), c (b, l, d)."""

    x: Tensor
    t: Tensor
    c: Tensor


class Call(NamedTuple):
    """What a client waits for: rows of the UNet, or other work that is done alone."""

    client: Client
    work: UNetRows | Callable[[], Any]
    answer: "Future[Any]"

    @property
    def rows(self) -> int:
        """How many UNet rows it takes; other work counts as one."""
        return len(self.work.x) if isinstance(self.work, UNetRows) else 1

    @property
    def kind(self) -> Hashable:
        """Calls of one kind may be one call; other work is of no kind but its own."""
        if not isinstance(self.work, UNetRows):
            return id(self)
        x, _, c = self.work
        return x.shape[1:], c.shape[1:], x.dtype, c.dtype


class Batcher:
    """Where clients wait for the models; run is the loop of the one thread that calls them.

    denoise is called for many, finite_unet for one whose answer was not finite: it helps or raises.
    max_rows is how many rows go into one call. With 0 each client's rows are called alone, which
    gives the bits that it has alone. The client that was served least comes first.
    """

    def __init__(self, denoise: Denoiser, finite_unet: Denoiser, max_rows: int = 0) -> None:
        self._denoise, self._finite_unet, self.max_rows = denoise, finite_unet, max_rows
        self._changed = threading.Condition()
        self._waiting: list[Call] = []
        self._clients: set[Client] = set()
        self._clock = 0.0  # what the client that was last called had been served
        self._closed = False
        self.calls = self.rows = self.halved = 0
        self.seconds = self._last = 0.0  # that all calls took, and the last

    @contextmanager
    def client(self, one: Client | None = None) -> Iterator[Client]:
        """Join, for as long as the context lasts; who joins is no better off than who had least."""
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
        """How many there are now."""
        return len(self._clients)

    def denoise(self, client: Client, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """The denoiser's answer (b, 4, y, x), which is waited for; Stopped if it does not come."""
        return self._ask(client, UNetRows(x, t, c))

    def call(self, client: Client, work: Callable[[], Any]) -> Any:
        """What other work gives, done by the thread of the batcher."""
        return self._ask(client, work)

    def stop(self, client: Client) -> None:
        """Let a client go: what it waits for it gets no more, what it asks raises Stopped."""
        with self._changed:
            client.stopped = True
            gone = [one for one in self._waiting if one.client is client]
            self._waiting = [one for one in self._waiting if one.client is not client]
            self._changed.notify_all()
        for one in gone:
            one.answer.set_exception(Stopped())

    def close(self) -> None:
        """Stop everybody; run returns."""
        with self._changed:
            self._closed = True
            clients = list(self._clients)
            self._changed.notify_all()
        for one in clients:
            self.stop(one)

    @torch.no_grad()
    def run(self) -> None:
        """Answer calls until the batcher is closed."""
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Answer the next calls, which nobody here holds on to while it waits for more."""
        batch = self._next()
        self._served(batch)
        return bool(batch)

    def _ask(self, client: Client, work: UNetRows | Callable[[], Any]) -> Any:
        one = Call(client, work, Future())
        with self._changed:
            if client.stopped or self._closed:
                raise Stopped
            self._waiting.append(one)
            self._changed.notify_all()
        return one.answer.result()

    def _next(self) -> list[Call]:
        """The calls to make now, once all clients wait or have been waited for; [] at the end."""
        with self._changed:
            while not self._closed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                patience = max(PATIENCE, SHARE * self._last) if self.max_rows else 0
                self._changed.wait_for(self._together, patience)
                if self._waiting:  # else who waited has been stopped since
                    return self._taken()
            return []

    def _together(self) -> bool:
        return len(self._waiting) >= len(self._clients) or self._closed

    def _taken(self) -> list[Call]:
        batch = chosen(self._waiting, self.max_rows)
        taken = {id(one) for one in batch}
        self._waiting = [one for one in self._waiting if id(one) not in taken]
        self._clock = batch[0].client.served
        for one in batch:
            one.client.served += one.rows
        return batch

    def _served(self, batch: Sequence[Call]) -> None:
        """Answer a batch; what goes wrong in company is tried again without it."""
        try:
            answers = self._answers(batch) if batch else []
        except Exception as error:
            if len(batch) == 1:
                return self._given(batch[0], error)
            return self._apart(batch, error)
        for one, answer in zip(batch, answers, strict=True):
            self._given(one, answer)

    def _apart(self, batch: Sequence[Call], error: Exception) -> None:
        """Out of memory: in halves. Anything else: each alone, as one of them may cause it."""
        size = 1
        if out_of_memory(error):
            self.halved += 1
            _free()
            size = (len(batch) + 1) // 2
        for start in range(0, len(batch), size):
            self._served(batch[start : start + size])

    def _answers(self, batch: Sequence[Call]) -> list[Any]:
        first = batch[0].work
        if not isinstance(first, UNetRows):
            return [first()]
        asked = [one.work for one in batch if isinstance(one.work, UNetRows)]
        sizes = [len(one.x) for one in asked]
        self.calls, self.rows = self.calls + 1, self.rows + sum(sizes)
        started = time.monotonic()
        out = self._denoise(*joined(asked))
        finite = bool(out.isfinite().all())  # a GPU is waited for here
        self._last = time.monotonic() - started
        self.seconds += self._last
        for one in batch:
            one.client.rows, one.client.calls = one.client.rows + one.rows, one.client.calls + 1
        parts = list(out.split(sizes))
        if finite:
            return parts
        return [self._finite(*pair) for pair in zip(asked, parts, strict=True)]

    def _finite(self, asked: UNetRows, part: Tensor) -> Any:
        """A part of an answer, or what the guard makes of it: another answer, or an error."""
        if bool(part.isfinite().all()):
            return part
        try:
            return self._finite_unet(*asked)
        except Exception as error:
            return error

    def _given(self, one: Call, answer: Any) -> None:
        if isinstance(answer, Exception):
            if out_of_memory(answer):
                _free()
            one.answer.set_exception(answer)
        elif one.client.stopped:
            one.answer.set_exception(Stopped())
        else:
            one.answer.set_result(answer)


def chosen(waiting: Sequence[Call], max_rows: int) -> list[Call]:
    """The call of who had least, and those of its kind that fit into max_rows rows with it."""
    order = sorted(waiting, key=lambda one: one.client.served)
    batch, rows = order[:1], order[0].rows
    for one in order[1:]:
        if one.kind == batch[0].kind and rows + one.rows <= max_rows:
            batch.append(one)
            rows += one.rows
    return batch


def joined(asked: Sequence[UNetRows]) -> UNetRows:
    """UNetRows of many as those of one; a timestep for each row where there are several."""
    if len(asked) == 1:
        return asked[0]
    t = [one.t.expand(len(one.x)) for one in asked]
    x, c = (torch.cat([getattr(one, name) for one in asked]) for name in ("x", "c"))
    return UNetRows(x, torch.cat(t), c)


def out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _free() -> None:
    """Give back what torch keeps of a GPU's memory for later."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
