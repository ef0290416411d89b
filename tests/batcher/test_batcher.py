"""The batcher: which rows go into a call, who comes first, who is stopped, what fails alone."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
import torch
from torch import Tensor

from mdp_lite.batcher.batcher import Batcher
from mdp_lite.batcher.calls import (
    Call,
    Client,
    UNetModel,
    UNetRows,
    choose_batch,
    join_rows,
    out_of_memory,
)
from mdp_lite.batcher.turns import Speed
from mdp_lite.names import NotFinite, Stopped
from support.batchers import WAIT, running, wait_until, waiting

LOST = 666.0  # a row of these can't be computed


def plain(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """Depends on every row's own x, t and c."""
    return x + t.reshape(-1, 1, 1, 1) + c.mean((1, 2))[:, None, None, None]


def rows(value: float, count: int = 2, side: int = 3, t: int = 5) -> UNetRows:
    value = float(value)  # an int would make tensors of ints, which are of another kind
    x, c = torch.full((count, 4, side, side), value), torch.full((count, 5, 6), -value / 2)
    return UNetRows(x, torch.tensor(t), c)


def ask(rows: UNetRows) -> Callable[[Client], Tensor]:
    return lambda client: BATCHERS[-1].denoise(client, *rows)


BATCHERS: list[Batcher] = []


class StubDenoiser:
    """A denoiser that records how many rows each call has, and fails on some."""

    def __init__(self, room: int = 1000, answer: float | None = None) -> None:
        self.row_counts: list[int] = []
        self.room, self.answer = room, answer

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        self.row_counts.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("no room")
        lost = (x == LOST).flatten(1).any(1)
        if lost.any() and self.answer is None:
            raise RuntimeError("lost")
        return torch.where(lost[:, None, None, None], self.answer or 0.0, plain(x, t, c))


def batcher(unet: StubDenoiser, max_rows: int) -> Batcher:
    BATCHERS.append(Batcher(unet, unet, max_rows))
    return BATCHERS[-1]


def check_answers(ends: list["Future[Tensor]"], parts: list[UNetRows]) -> None:
    """Every call has the answer that it would have alone."""
    for end, one in zip(ends, parts, strict=True):
        assert torch.equal(end.result(WAIT), plain(*one))


def test_all_that_wait_go_in_one_call_and_each_gets_its_own() -> None:
    unet = StubDenoiser()
    parts = [rows(i, count=1 + i % 3, t=i % 2) for i in range(8)]
    with waiting(batcher(unet, 100), [ask(one) for one in parts]) as ends:
        check_answers(ends, parts)
    assert unet.row_counts == [sum(len(one.x) for one in parts)]


def test_a_call_has_at_most_so_many_rows() -> None:
    unet = StubDenoiser()
    parts = [rows(i, count=3) for i in range(5)] + [rows(9, count=8)]
    with waiting(batcher(unet, 7), [ask(one) for one in parts]) as ends:
        check_answers(ends, parts)
    assert sorted(unet.row_counts) == [3, 6, 6, 8]  # one that is larger goes alone


def test_with_0_every_client_goes_alone() -> None:
    unet = StubDenoiser()
    parts = [rows(i) for i in range(5)]
    with waiting(batcher(unet, 0), [ask(one) for one in parts]) as ends:
        check_answers(ends, parts)
    assert unet.row_counts == [2] * 5


def test_unlike_sizes_go_apart() -> None:
    unet = StubDenoiser()
    parts = [rows(i, side=3 + i % 2) for i in range(6)]
    with waiting(batcher(unet, 100), [ask(one) for one in parts]) as ends:
        check_answers(ends, parts)
    assert unet.row_counts == [6, 6]


def test_other_work_is_done_by_the_same_thread_alone() -> None:
    threads: list[int] = []

    def work() -> int:
        threads.append(threading.get_ident())
        return 7

    unet, part = StubDenoiser(), rows(1)
    calls = [lambda client: BATCHERS[-1].call(client, work)] * 2 + [ask(part)]
    with waiting(batcher(unet, 100), calls) as ends:
        assert [end.result(WAIT) for end in ends[:2]] == [7, 7]
        check_answers(ends[2:], [part])
    assert len(set(threads)) == 1 and threads[0] != threading.get_ident()
    assert unet.row_counts == [2]


MODEL = UNetModel(plain, plain, 0, lambda x: 1.0, Speed())


def call(client: Client, count: int = 2, side: int = 3) -> Call:
    return Call(client, rows(1, count, side), Future(), count, MODEL)


def clients_served(*shares: float) -> list[Client]:
    clients = [Client() for _ in shares]
    for one, share in zip(clients, shares, strict=True):
        one.share.served = share
    return clients


def test_the_client_served_least_comes_first_then_the_first_to_wait() -> None:
    a, b, c, d = (call(one) for one in clients_served(4, 2, 6, 2))
    assert [id(one) for one in choose_batch([a, b, c, d], 4)] == [id(b), id(d)]
    assert [id(one) for one in choose_batch([a, b, c, d], 6)] == [id(b), id(d), id(a)]
    assert [id(one) for one in choose_batch([a, b, c, d], 0)] == [id(b)]


def test_smaller_ones_fill_a_call_past_one_that_does_not_fit() -> None:
    clients = clients_served(0, 1, 2)
    a, b, c = (call(one, count) for one, count in zip(clients, (2, 5, 1), strict=True))
    assert [id(one) for one in choose_batch([a, b, c], 4)] == [id(a), id(c)]


def test_a_long_job_and_a_stream_of_short_ones_both_go_on() -> None:
    """No room for two: turns alternate, whoever comes and goes."""
    one, order = batcher(StubDenoiser(), 0), []
    with one.client() as long:
        for _ in range(20):
            with one.client() as short:
                for _ in range(2):
                    pair = [call(long), call(short)]
                    one._waiting = pair
                    (first,) = one._take_batch()
                    order.append("long" if first.client is long else "short")
                    one._waiting = []
        assert order.count("long") == order.count("short") == 20


def test_a_client_that_joins_late_has_no_advantage() -> None:
    one = batcher(StubDenoiser(), 0)
    with one.client() as old:
        for _ in range(100):
            one._waiting = [call(old)]
            one._take_batch()
        with one.client() as new:
            assert new.share.group.served == old.share.group.served == 200
    with one.client() as later:
        assert later.share.group.served == 198  # as of the last that was called


def test_one_that_cannot_be_computed_fails_alone() -> None:
    unet = StubDenoiser()
    parts = [rows(1), rows(LOST), rows(2)]
    with waiting(batcher(unet, 100), [ask(one) for one in parts]) as ends:
        with pytest.raises(RuntimeError, match="lost"):
            ends[1].result(WAIT)
        check_answers([ends[0], ends[2]], [parts[0], parts[2]])
    assert unet.row_counts == [6, 2, 2, 2]


def test_rows_that_are_not_finite_are_computed_again_alone() -> None:
    def finite_unet(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        if (x == LOST).any():
            raise NotFinite("no")
        raise AssertionError("this one was finite")

    unet = StubDenoiser(answer=float("nan"))
    parts = [rows(1), rows(LOST), rows(2)]
    BATCHERS.append(Batcher(unet, finite_unet, 100))
    with waiting(BATCHERS[-1], [ask(one) for one in parts]) as ends:
        with pytest.raises(NotFinite):
            ends[1].result(WAIT)
        check_answers([ends[0], ends[2]], [parts[0], parts[2]])
    assert unet.row_counts == [6]


def test_the_second_attempt_is_the_answer() -> None:
    unet, parts = StubDenoiser(answer=float("inf")), [rows(LOST), rows(3)]
    BATCHERS.append(Batcher(unet, plain, 100))
    with waiting(BATCHERS[-1], [ask(one) for one in parts]) as ends:
        check_answers(ends, parts)


def test_without_memory_a_batch_is_halved_once() -> None:
    unet, parts = StubDenoiser(room=4), [rows(i) for i in range(4)]
    with waiting(batcher(unet, 100), [ask(one) for one in parts]) as ends:
        check_answers(ends, parts)
    assert unet.row_counts == [8, 4, 4] and BATCHERS[-1].halved == 1


def test_and_then_fails_but_the_batcher_goes_on() -> None:
    unet, parts = StubDenoiser(room=3), [rows(1, 4), rows(2, 4), rows(3, 3)]
    with waiting(batcher(unet, 8), [ask(one) for one in parts]) as ends:
        for end in ends[:2]:
            with pytest.raises(torch.OutOfMemoryError):
                end.result(WAIT)
        check_answers(ends[2:], parts[2:])


def test_what_is_out_of_memory() -> None:
    assert out_of_memory(torch.OutOfMemoryError("x")) and out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)
    assert out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"))
    assert not out_of_memory(RuntimeError("shapes")) and not out_of_memory(ValueError("x"))


def test_a_closed_batcher_answers_no_client() -> None:
    one = batcher(StubDenoiser(), 100)
    with running(one):
        pass
    with one.client() as late, pytest.raises(Stopped):
        one.denoise(late, *rows(1))


def test_to_stop_takes_effect_within_one_call() -> None:
    """Stopped while its rows are computed: it makes no other call."""
    inside, go = threading.Event(), threading.Event()

    def slow(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        inside.set()
        assert go.wait(WAIT)
        return plain(x, t, c)

    one = Batcher(slow, slow, 0)
    found: list[object] = []

    def run() -> None:
        with one.client() as client:
            found.append(client)
            try:
                for _ in range(10):
                    one.denoise(client, *rows(1))
            except Stopped:
                found.append("stopped")

    with running(one):
        thread = threading.Thread(target=run)
        thread.start()
        assert inside.wait(WAIT)
        client = found[0]
        assert isinstance(client, Client)
        one.stop(client)
        go.set()
        thread.join(WAIT)
        assert found[1:] == ["stopped"] and client.calls == one.calls == 1
        wait_until(lambda: one.clients == 0)


def test_to_stop_one_that_waits_takes_its_rows_out() -> None:
    unet = StubDenoiser()
    one, found = batcher(unet, 0), []

    def run() -> None:
        with one.client() as client:
            found.append(client)
            with pytest.raises(Stopped):
                one.denoise(client, *rows(1))
            found.append("stopped")

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(lambda: one._waiting)
    one.stop(found[0])
    thread.join(WAIT)
    assert found[1:] == ["stopped"] and one._waiting == [] and unet.row_counts == []


def test_rows_of_one_are_passed_on_as_they_are() -> None:
    one = rows(1)
    assert join_rows([one]) is one
    both = join_rows([one, rows(2, 3, t=9)])
    assert both.t.tolist() == [5, 5, 9, 9, 9] and both.x.shape[0] == both.c.shape[0] == 5
