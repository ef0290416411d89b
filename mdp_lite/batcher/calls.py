"""What clients of a batcher wait for: calls, and which of them are computed together."""

import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.batcher.turns import Share, Speed
from mdp_lite.engine.devices import free_memory
from mdp_lite.method.mdp import Denoiser
from mdp_lite.names import BadInput, DeadlineExceeded, Stopped
from mdp_lite.pipeline import check

STOPPED = "the work was cancelled, or the batcher was closed"


class Client:
    """One piece of work that uses the models. Who has the smallest served (work so far) is next.

    deadline is how many seconds from now it has for all that it does; left() says how many it still
    has. share: clients of one request may have one together. served is the work that was computed
    for the share, in the batcher's unit; it starts at the smallest value of the others, so a new
    client has no advantage. rows, calls and work count what UNet calls computed for the client.

    >>> client = Client(deadline=30)
    >>> with run_batcher(editor) as batcher, batcher.client(client):
    ...     own = client_editor(editor, batcher, client)
    ...     edit = own.edit(source, "a blue house on the grass", deadline=client.left())
    >>> client.rows == edit.cost.unet_rows
    True
    """

    def __init__(self, deadline: float | None = None, share: Share | None = None) -> None:
        self.share = Share() if share is None else share
        self.rows = self.calls = 0
        self.work = 0.0
        self.last = 0.0  # work of its last call
        self.stopped = self.is_idle = False  # idle: its next call was waited for in vain
        self.end = None if deadline is None else time.monotonic() + check.deadline(deadline)

    @property
    def served(self) -> float:
        """The work of all calls of its share so far."""
        return self.share.served

    def count(self, rows: int, work: float) -> None:
        """Count a UNet call of so many rows and so much work."""
        self.rows, self.calls, self.work = self.rows + rows, self.calls + 1, self.work + work

    def left(self) -> float | None:
        """The seconds that are left, or None without a deadline; DeadlineExceeded if none are."""
        if self.end is None:
            return None
        seconds = self.end - time.monotonic()
        if seconds <= 0:
            raise DeadlineExceeded("the deadline passed while the work waited to go on")
        return seconds


def check_client(value: Any) -> Client:
    """A client; its name, say, which is an easy mistake, raises BadInput."""
    if not isinstance(value, Client):
        raise BadInput(f"client must be a Client, got {value!r:.80}")
    return value


class UNetModel(NamedTuple):
    """A UNet that a batcher calls: its functions, as in Batcher, and the speed of its calls.

    Calls of two of these are never part of one batch.
    """

    denoise: Denoiser
    finite_unet: Denoiser
    max_rows: int
    row_work: Callable[[Tensor], float]
    speed: Speed


class UNetRows(NamedTuple):
    """Input rows of the denoiser: x (b, 4, y, x), t () or (b,), c (b, l, d)."""

    x: Tensor
    t: Tensor
    c: Tensor


class WholeStep(NamedTuple):
    """A step of one edit as one piece of work: the UNet call of so many rows and all around it."""

    run: Callable[[], Any]
    rows: int


class Call(NamedTuple):
    """What a client waits for: UNet rows, or other work, which is never part of a batch.

    cost is its work in the unit of the batcher that computes it, model the UNet that it is for.
    """

    client: Client
    work: UNetRows | WholeStep | Callable[[], Any]
    answer: "Future[Any]"
    cost: float
    model: UNetModel

    @property
    def rows(self) -> int:
        """How many UNet rows it has; other work has none."""
        if isinstance(self.work, WholeStep):
            return self.work.rows
        return len(self.work.x) if isinstance(self.work, UNetRows) else 0

    @property
    def seconds(self) -> float:
        """How long it lasts, by estimate."""
        return self.model.speed.estimate(self.cost)

    @property
    def kind(self) -> Hashable:
        """Calls of equal kind may go into one batch; no two of other work are of equal kind."""
        if not isinstance(self.work, UNetRows):
            return id(self)
        x, _, c = self.work
        return id(self.model.denoise), x.shape[1:], c.shape[1:], x.dtype, c.dtype


class Failure(NamedTuple):
    """The answer to a call that raised; an error that a call returned is an answer like others."""

    error: BaseException


def choose_batch(waiting: Sequence[Call], max_rows: int) -> list[Call]:
    """The call of the client served least, and others of its kind, max_rows rows in all."""
    order = sorted(waiting, key=lambda one: one.client.share.rank)
    batch, rows = order[:1], order[0].rows
    for one in order[1:]:
        if one.kind == batch[0].kind and rows + one.rows <= max_rows:
            batch.append(one)
            rows += one.rows
    return batch


def split_rows(rows: UNetRows, max_rows: int) -> list[UNetRows]:
    """The rows in parts of at most this many; all in one part are left as they are."""
    if len(rows.x) <= max_rows:
        return [rows]
    whole = UNetRows(rows.x, rows.t.expand(len(rows.x)), rows.c)
    return [UNetRows(*part) for part in zip(*(one.split(max_rows) for one in whole), strict=True)]


def join_rows(parts: Sequence[UNetRows]) -> UNetRows:
    """The rows of several calls as one call, with a timestep for each row; one is left as it is."""
    if len(parts) == 1:
        return parts[0]
    t = [one.t.expand(len(one.x)) for one in parts]
    x, c = (torch.cat([getattr(one, name) for one in parts]) for name in ("x", "c"))
    return UNetRows(x, torch.cat(t), c)


def denoise_rows(denoise: Denoiser, parts: Sequence[UNetRows]) -> tuple[Tensor, bool]:
    """The answer to all rows, and whether it is finite, for which it waits for a GPU."""
    out = denoise(*join_rows(parts))
    return out, bool(out.isfinite().all())


def split_answers(
    finite_unet: Denoiser, parts: Sequence[UNetRows], out: Tensor, is_finite: bool
) -> list[Any]:
    """The answer to each part, or its error, of the answer to all rows."""
    answers = list(out.split([len(one.x) for one in parts]))
    if is_finite:
        return answers
    return [make_finite(finite_unet, *pair) for pair in zip(parts, answers, strict=True)]


def make_finite(finite_unet: Denoiser, rows: UNetRows, answer: Tensor) -> Any:
    """The answer to these rows if it is finite; else that of finite_unet, or its error."""
    if bool(answer.isfinite().all()):
        return answer
    try:
        return finite_unet(*rows)
    except Exception as error:
        return Failure(error)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the machine had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    texts = ("can't allocate memory", "MPS backend out of memory")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def deliver(one: Call, answer: Any) -> None:
    """Answer a call with a result, its error, or Stopped."""
    if isinstance(answer, Failure):
        if out_of_memory(answer.error):
            free_memory()
        one.answer.set_exception(answer.error)
    elif one.client.stopped:
        one.answer.set_exception(Stopped(STOPPED))
    else:
        one.answer.set_result(answer)


def ends_process(error: BaseException) -> bool:
    """Whether an error is Ctrl-C, or what a signal's handler raised, and not of a call."""
    ends = isinstance(error, KeyboardInterrupt | SystemExit)
    return ends and threading.current_thread() is threading.main_thread()
