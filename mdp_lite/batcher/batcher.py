"""One thread calls the models for many clients; rows that wait together are one UNet call.

Every client (an edit, a source, a sweep) runs in its own thread, as it would without others, and
waits here at each step. So clients may join and leave between any two calls, whatever they compute.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from mdp_lite.batcher import calls, turns
from mdp_lite.batcher.calls import Call as Call
from mdp_lite.batcher.calls import Client as Client
from mdp_lite.batcher.calls import Failure, UNetModel, WholeStep, check_client, choose_batch
from mdp_lite.batcher.calls import UNetRows as UNetRows
from mdp_lite.batcher.calls import out_of_memory as out_of_memory
from mdp_lite.batcher.turns import PATIENCE, SHARE
from mdp_lite.engine.devices import free_memory
from mdp_lite.files.atomic import warn_once
from mdp_lite.method.mdp import Denoiser
from mdp_lite.names import BadInput, DeadlineExceeded, Stopped
from mdp_lite.pipeline import check

NOBODY = 10.0  # seconds that a call waits for a batcher that no thread runs, until this is logged
T = TypeVar("T")
IDLE = "no thread runs the batcher: use run_batcher, or call its run() in another thread"


class Batcher:
    """A queue in which clients wait for the models; one thread calls them, in run().

    denoise computes a whole batch. finite_unet computes a client's rows again if they came out with
    NaN or infinity; it gives finite ones or raises. max_rows is how many rows one call may have.
    With 0 the rows of each client are a call by themselves, and its results have exactly the bits
    that they have without other clients. The client that was served least is next, of the group
    that was served least. rows, calls and seconds are of all UNet calls. row_work(x) is the work
    of one row of latents x; by default it is 1, and work is counted in rows. Calls of several rows
    last CALL_SECONDS at most, unless max_rows is 0 and they are of one client; speed estimates it.

    All methods may be called from any thread; run() belongs to one thread, which must be the only
    one that calls the models. denoise and call block until run() has answered, and raise what the
    work raised, or Stopped if the client is stopped or the batcher closed. In the thread of run()
    they compute at once. As long as no thread is in run() they wait; a client with a deadline then
    gets DeadlineExceeded when it passes. Else the call of a late client waits LATE seconds, and so
    long as TURNS turns of all clients take, so that an edit can decode its best picture.

    >>> with run_batcher(editor, max_rows=16) as batcher, batcher.client() as client:
    ...     batcher.call(client, lambda: "work for the thread that calls the models")
    'work for the thread that calls the models'
    """

    def __init__(
        self, denoise: Denoiser, finite_unet: Denoiser, max_rows: int = 0,
        row_work: Callable[[Tensor], float] = lambda x: 1.0,
    ) -> None:  # fmt: skip
        self.max_rows, self.row_work, self.speed = check.max_rows(max_rows), row_work, turns.Speed()
        self.model = UNetModel(denoise, finite_unet, self.max_rows, row_work, self.speed)
        self._changed = threading.Condition()
        self._waiting: list[Call] = []
        self._clients: set[Client] = set()
        self._clock = 0.0  # served, of the group whose call was last taken from the queue
        self._closed = self._busy = False  # busy: a call is being computed
        self._thread: threading.Thread | None = None  # the one that is in run()
        self.calls = self.rows = self.halved = 0
        self.seconds = self._last = 0.0  # of all calls, and of the last one

    @contextmanager
    def client(self, one: Client | None = None) -> Iterator[Client]:
        """Add a client for as long as the context lasts. It starts with the least that one has."""
        one = Client() if one is None else check_client(one)
        with self._changed:
            turns.join_shares(one.share, self._clients, self._clock, self._busy)
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

    def denoise(
        self, client: Client, x: Tensor, t: Tensor, c: Tensor, other: UNetModel | None = None
    ) -> Tensor:
        """Wait for the answer (b, 4, y, x) of the UNet, or of another one. Raises Stopped."""
        model = other or self.model
        row = model.row_work(x)
        most = model.speed.most_rows(row) if model.max_rows else len(x)
        parts = calls.split_rows(UNetRows(x, t, c), most)
        answers = [self._submit(client, one, row * len(one.x), model) for one in parts]
        return answers[0] if len(answers) == 1 else torch.cat(answers)

    def run_step(
        self, client: Client, x: Tensor, rows: int, run: Callable[[], Any],
        other: UNetModel | None = None,
    ) -> Any:  # fmt: skip
        """Wait for a whole step from latents x, with so many UNet rows; it is never in a batch."""
        model = other or self.model
        return self._submit(client, WholeStep(run, rows), rows * model.row_work(x), model)

    def call(self, client: Client, work: Callable[[], Any], cost: float = 1.0) -> Any:
        """Let the batcher's thread do other work, and wait for its result, or raise its error.

        cost is its amount, in the unit of row_work. The work may use the batcher itself, but must
        not wait for another thread that does.
        """
        if not callable(work):
            raise BadInput(f"work must be a function, got {work!r:.80}")
        return self._submit(client, work, cost)

    def stop(self, client: Client) -> None:
        """Raise Stopped in a client: in the call that it waits for, and in every later one."""
        check_client(client).stopped = True
        self._drop(lambda one: one.client is client)

    def close(self) -> None:
        """Stop all clients and end run()."""
        with self._changed:
            self._closed = True
            for one in self._clients:
                one.stopped = True
            self._changed.notify_all()
        self._drop(lambda one: True)

    @torch.no_grad()
    def run(self) -> None:
        """Compute calls until the batcher is closed; however it ends, nobody is left waiting.

        Ctrl-C in the main thread, and SystemExit there, end it; other errors are those of a call.
        """
        with self._changed:
            if self._thread is not None:
                raise BadInput(f"run() belongs to one thread, got another: {self._thread.name}")
            self._thread = threading.current_thread()
        try:
            while self._run_batch():
                pass
        finally:
            self.close()
            self._thread = None

    def _run_batch(self) -> bool:
        """Compute the next batch; False at the end. On return its tensors can be freed."""
        batch = self._next_batch()
        try:
            self._answer(batch)
        finally:
            self._busy = False
            for one in batch:
                if not one.answer.done():  # the thread ends
                    one.answer.set_exception(Stopped(calls.STOPPED))
        return bool(batch)

    def _submit(
        self, client: Client, work: UNetRows | WholeStep | Callable[[], Any], cost: float,
        model: UNetModel | None = None,
    ) -> Any:  # fmt: skip
        one = Call(check_client(client), work, Future(), cost, model or self.model)
        with self._changed:
            client.is_idle = False
            if client.stopped or self._closed:
                raise Stopped(calls.STOPPED)
            direct = threading.current_thread() is self._thread
            if not direct:
                self._waiting.append(one)
                self._changed.notify_all()
        return self._compute_now(one) if direct else self._wait(one)

    def _compute_now(self, one: Call) -> Any:
        """The answer to a call of the thread that computes the answers, which can't wait for it."""
        one.client.share.add(one.cost)
        with torch.no_grad():
            [answer] = self._compute([one])
        if isinstance(answer, Failure):
            raise answer.error
        return answer

    def _wait(self, one: Call) -> Any:
        """The answer to a call that waits; DeadlineExceeded if its turn does not come in time."""
        last = None if self._thread is None else len(self._clients) * self._last
        limit = turns.find_limit(one.client.end, last)
        try:
            if self._thread is None and (limit is None or limit > NOBODY):
                done = wait([one.answer], NOBODY).done
                if not done and self._thread is None:
                    warn_once(f"a client waits, but {IDLE}")
                limit = None if limit is None else limit - NOBODY
            wait([one.answer], limit)
        finally:
            why = IDLE if self._thread is None else "its turn did not come"
            late = DeadlineExceeded(f"the deadline passed while the work waited: {why}")
            self._drop(lambda other: other is one, late)
        return one.answer.result()

    def _drop(self, chosen: Callable[[Call], bool], error: Exception | None = None) -> None:
        """Take calls out of the queue; they raise this error, by default Stopped."""
        with self._changed:
            dropped = [one for one in self._waiting if chosen(one)]
            self._waiting = [one for one in self._waiting if not chosen(one)]
            self._changed.notify_all()
        for one in dropped:
            one.answer.set_exception(error or Stopped(calls.STOPPED))

    def _next_batch(self) -> list[Call]:
        """The calls to compute now, once all clients wait or patience is over; [] at the end."""
        with self._changed:
            while not self._closed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                patience = max(PATIENCE, SHARE * self._last) if self.max_rows else 0
                all_wait = lambda: self._closed or len(self._waiting) >= len(self._clients)  # noqa: E731
                self._changed.wait_for(all_wait, patience)
                if self._waiting:  # else those that waited were stopped
                    self._wait_for_expected()
                if self._waiting:
                    self._busy = True
                    return self._take_batch()
            return []

    def _find_expected(self) -> list[turns.Turn]:
        """Clients between two short steps whose turn is before that of all who wait."""
        waiting = [one.client for one in self._waiting]
        return turns.find_expected(self._clients, waiting, choose_batch(self._waiting, 0)[0].cost)

    def _wait_for_expected(self) -> None:
        seconds = choose_batch(self._waiting, 0)[0].seconds
        in_order = lambda: self._closed or not self._waiting or not self._find_expected()  # noqa: E731
        if not self._changed.wait_for(in_order, turns.choose_patience(seconds)):
            for one in self._find_expected():
                one.is_idle = True

    def _take_batch(self) -> list[Call]:
        """Take the next batch from the queue and count its work as served."""
        first = choose_batch(self._waiting, 0)[0]
        most = first.model.speed.most_rows(first.cost / first.rows) if first.rows else 1
        batch = choose_batch(self._waiting, min(first.model.max_rows, most))
        ids = {id(one) for one in batch}
        self._waiting = [one for one in self._waiting if id(one) not in ids]
        self._clock = batch[0].client.share.group.served
        for one in reversed(batch):  # the first was served least of its group
            one.client.share.group.begun = one.client.served
        for one in batch:
            one.client.share.add(one.cost)
            one.client.last = one.cost
        return batch

    def _answer(self, batch: Sequence[Call]) -> None:
        """Compute a batch and answer its calls; if it fails, compute smaller batches."""
        try:
            answers = self._compute(batch) if batch else []
        except BaseException as error:
            if calls.ends_process(error):
                raise
            if len(batch) == 1:
                return calls.deliver(batch[0], Failure(error))
            return self._retry(batch, error)
        for one, answer in zip(batch, answers, strict=True):
            calls.deliver(one, answer)

    def _retry(self, batch: Sequence[Call], error: BaseException) -> None:
        """Two halves if there was no memory; else each call by itself, as one may be the cause."""
        size = 1
        if out_of_memory(error):
            self.halved += 1
            free_memory()
            size = (len(batch) + 1) // 2
        for start in range(0, len(batch), size):
            self._answer(batch[start : start + size])

    def _compute(self, batch: Sequence[Call]) -> list[Any]:
        """The answer to each call of a batch, or its error."""
        first, model = batch[0].work, batch[0].model
        if isinstance(first, WholeStep):
            return [self._count(batch, first.run)]
        if not isinstance(first, UNetRows):
            return [first()]
        parts = [one.work for one in batch if isinstance(one.work, UNetRows)]
        out, finite = self._count(batch, lambda: calls.denoise_rows(model.denoise, parts))
        return calls.split_answers(model.finite_unet, parts, out, finite)

    def _count(self, batch: Sequence[Call], run: Callable[[], T]) -> T:
        """The result of a UNet call, whose rows and seconds are counted."""
        self.calls, self.rows = self.calls + 1, self.rows + sum(one.rows for one in batch)
        started = time.monotonic()
        result = run()
        self._last = time.monotonic() - started
        self.seconds += self._last
        batch[0].model.speed.add(sum(one.cost for one in batch), self._last)
        for one in batch:
            one.client.count(one.rows, one.cost)
        return result
