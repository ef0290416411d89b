"""Work that raises anything at all, and calls that can't be answered: no client waits for ever."""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from mdp_lite import BadInput, Client, DeadlineExceeded, Editor, Stopped, client_editor, run_batcher
from mdp_lite.batcher import batcher as module
from mdp_lite.batcher import turns
from mdp_lite.batcher.batcher import Batcher
from mdp_lite.batcher.calls import UNetRows
from mdp_lite.batcher.client import make_batcher
from mdp_lite.pipeline.warm_up import warm_up
from support.batchers import WAIT, running, wait_until, waiting
from support.inverting import picture

HARD: list[BaseException] = [
    asyncio.CancelledError("a"), KeyboardInterrupt("b"), SystemExit(3), GeneratorExit("c"),
    StopIteration("d"), TimeoutError("e"),
]  # fmt: skip
kinds = pytest.mark.parametrize("error", HARD, ids=lambda one: type(one).__name__)


def plain(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    return x + 1


def rows(value: float = 0.0) -> UNetRows:
    return UNetRows(torch.full((1, 4, 3, 3), value), torch.tensor(5), torch.zeros(1, 5, 6))


def fail(error: BaseException) -> Callable[..., Any]:
    """Work that raises this error, whatever it is called with."""

    def work(*_: object) -> Any:
        raise error

    return work


def in_thread(work: Callable[[], Any]) -> "Future[Any]":
    """The result of work in a thread that does not keep the tests from ending."""
    end: Future[Any] = Future()

    def run() -> None:
        try:
            end.set_result(work())
        except BaseException as error:
            end.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return end


@kinds
def test_whatever_work_raises_is_its_callers(error: BaseException) -> None:
    with running(Batcher(plain, plain)) as one, one.client() as client, one.client() as other:
        end = in_thread(lambda: one.call(client, fail(error)))
        assert end.exception(WAIT) is error
        assert in_thread(lambda: one.call(other, lambda: 7)).result(WAIT) == 7
        again = in_thread(lambda: one.denoise(client, *rows()))
        assert torch.equal(again.result(WAIT), rows(1.0).x)


@kinds
@pytest.mark.parametrize("max_rows", [0, 8])
def test_whatever_the_denoiser_raises_too(error: BaseException, max_rows: int) -> None:
    def denoise(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        if (x == 9).any():
            raise error
        return plain(x, t, c)

    one = Batcher(denoise, plain, max_rows)
    calls = [lambda client, v=v: one.denoise(client, *rows(v)) for v in (1.0, 9.0, 3.0)]
    with waiting(one, calls) as ends:
        assert ends[1].exception(WAIT) is error
        assert [float(ends[i].result(WAIT).mean()) for i in (0, 2)] == [2.0, 4.0]


@kinds
def test_and_the_second_attempt(error: BaseException) -> None:
    one = Batcher(lambda x, t, c: x * float("nan"), fail(error))
    with running(one), one.client() as client:
        end = in_thread(lambda: one.denoise(client, *rows()))
        assert end.exception(WAIT) is error


def test_null_text_that_is_cancelled_from_on_step(editor: Editor) -> None:
    """As a service does it: its progress callback raises what asyncio raises."""
    on = fail(asyncio.CancelledError())
    with run_batcher(editor) as batcher, batcher.client() as client, batcher.client() as other:
        invert = lambda: editor.invert(picture(), "a house", "null-text", 4, 2.0, on_step=on)  # noqa: E731
        end = in_thread(lambda: batcher.call(client, invert))
        assert isinstance(end.exception(WAIT), asyncio.CancelledError)
        work = lambda: client_editor(editor, batcher, other).generate("a boat", 1, 2)  # noqa: E731
        assert in_thread(work).result(WAIT).cost.unet_calls == 2


def test_an_error_that_work_returns_is_a_result() -> None:
    with running(Batcher(plain, plain)) as one, one.client() as client:
        error = ValueError("no failure")
        assert in_thread(lambda: one.call(client, lambda: error)).result(WAIT) is error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupt_of_the_main_thread_ends_run_and_answers_all(error: BaseException) -> None:
    assert threading.current_thread() is threading.main_thread()
    one = Batcher(plain, plain)
    with one.client() as client, one.client() as other:
        both = [in_thread(lambda: one.call(client, fail(error)))]
        wait_until(lambda: len(one._waiting) == 1)
        both.append(in_thread(lambda: one.call(other, lambda: 7)))
        wait_until(lambda: len(one._waiting) == 2)
        with pytest.raises(type(error)):
            one.run()
        assert [type(end.exception(WAIT)) for end in both] == [Stopped, Stopped]


def test_closing_answers_clients_that_never_joined() -> None:
    one = Batcher(plain, plain)
    end = in_thread(lambda: one.call(Client(), lambda: 7))
    wait_until(lambda: one._waiting)
    one.close()
    assert isinstance(end.exception(WAIT), Stopped)


@pytest.mark.parametrize("deadline", [None, 60])
def test_work_may_use_the_batcher_itself(deadline: float | None) -> None:
    with running(Batcher(plain, plain)) as one, one.client(Client(deadline)) as client:
        nested = lambda: one.call(client, lambda: one.call(client, lambda: 7))  # noqa: E731
        assert in_thread(lambda: one.call(client, nested)).result(WAIT) == 7
        end = in_thread(lambda: one.call(client, lambda: one.denoise(client, *rows())))
        assert torch.equal(end.result(WAIT), rows(1.0).x)
        assert (client.rows, client.calls, one.rows, one.calls) == (1, 1, 1, 1)


def test_and_its_rows_and_errors_are_those_of_other_calls() -> None:
    failing = Batcher(lambda x, t, c: x * float("nan"), fail(ValueError("not finite")))
    with running(failing) as one, one.client() as client:
        end = in_thread(lambda: one.call(client, lambda: one.denoise(client, *rows())))
        with pytest.raises(ValueError, match="^not finite$"):
            end.result(WAIT)

        def stop() -> None:
            one.stop(client)
            one.denoise(client, *rows())

        assert isinstance(in_thread(lambda: one.call(client, stop)).exception(WAIT), Stopped)


def test_a_clients_editor_may_be_warmed_up_and_used_by_the_models_thread(editor: Editor) -> None:
    with run_batcher(editor) as batcher, batcher.client(Client(deadline=WAIT)) as client:
        own = in_thread(lambda: client_editor(editor, batcher, client)).result(WAIT)
        warm = lambda: batcher.call(client, lambda: warm_up(own, rows=(2,)))  # noqa: E731
        assert in_thread(warm).result(WAIT) is None
        make = lambda: batcher.call(client, lambda: own.generate("a boat", 1, 2))  # noqa: E731
        source = in_thread(make).result(WAIT)
        assert torch.equal(source.path.x, editor.generate("a boat", 1, 2).path.x)


def test_a_deadline_holds_if_nobody_runs_the_batcher(editor: Editor) -> None:
    batcher, late = make_batcher(editor), Client(deadline=1e-3)
    with batcher.client(late), pytest.raises(DeadlineExceeded, match="no thread runs the batcher"):
        client_editor(editor, batcher, late)
    assert batcher._waiting == []
    with running(batcher), batcher.client() as client:
        assert in_thread(lambda: batcher.call(client, lambda: 7)).result(WAIT) == 7


def test_it_holds_too_if_its_turn_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LATE", 1e-3)
    inside, go = threading.Event(), threading.Event()

    def block() -> None:
        inside.set()
        assert go.wait(WAIT)

    with running(Batcher(plain, plain)) as one, one.client() as slow, ThreadPoolExecutor(1) as pool:
        pool.submit(one.call, slow, block)
        assert inside.wait(WAIT)
        with one.client(Client(deadline=1e-3)) as client:
            end = in_thread(lambda: one.call(client, lambda: 7))
            with pytest.raises(DeadlineExceeded, match="its turn did not come"):
                end.result(WAIT)
        assert one._waiting == []
        go.set()


def test_a_late_client_whose_turn_comes_is_answered() -> None:
    """Else an edit could not decode its best picture."""
    client = Client(deadline=1e-3)
    wait_until(lambda: client.end is not None and module.time.monotonic() > client.end)
    with running(Batcher(plain, plain)) as one, one.client(client):
        wait_until(lambda: one._thread is not None)
        assert in_thread(lambda: one.call(client, lambda: 7)).result(WAIT) == 7


def test_waiting_for_a_batcher_that_nobody_runs_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "NOBODY", 1e-3)
    module.warn_once.cache_clear()
    one = Batcher(plain, plain)
    with caplog.at_level(logging.WARNING, "mdp_lite"), one.client() as client:
        end = in_thread(lambda: one.call(client, lambda: 7))
        wait_until(lambda: "a client waits, but no thread runs the batcher" in caplog.text)
        with running(one):
            assert end.result(WAIT) == 7


def test_run_belongs_to_one_thread() -> None:
    with running(Batcher(plain, plain)) as one, one.client() as client:
        assert in_thread(lambda: one.call(client, lambda: 7)).result(WAIT) == 7
        for run in (one.run, lambda: one.call(client, one.run)):
            with pytest.raises(BadInput, match=r"^run\(\) belongs to one thread, got another"):
                in_thread(run).result(WAIT)
