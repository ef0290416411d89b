"""The desk: whose rows go into a call, who comes first, who is let go, and what fails alone."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
import torch
from torch import Tensor

from mdp_lite.batcher.batcher import (
    Call,
    Desk,
    Member,
    Rows,
    Stopped,
    chosen,
    joined,
    out_of_memory,
)
from mdp_lite.names import NotFinite
from support.desks import WAIT, running, until, waiting

LOST = 666.0  # a row of these can't be computed


def plain(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """Depends on every row's own x, t and c."""
    return x + t.reshape(-1, 1, 1, 1) + c.mean((1, 2))[:, None, None, None]


def rows(value: float, count: int = 2, side: int = 3, t: int = 5) -> Rows:
    value = float(value)  # an int would make tensors of ints, which are of another kind
    x, c = torch.full((count, 4, side, side), value), torch.full((count, 5, 6), -value / 2)
    return Rows(x, torch.tensor(t), c)


def asking(asked: Rows) -> Callable[[Member], Tensor]:
    return lambda member: DESKS[-1].denoise(member, *asked)


DESKS: list[Desk] = []


class Watch:
    """A denoiser that notes the rows of its calls, and refuses some."""

    def __init__(self, room: int = 1000, answer: float | None = None) -> None:
        self.seen: list[int] = []
        self.room, self.answer = room, answer

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        self.seen.append(len(x))
        if len(x) > self.room:
            raise torch.OutOfMemoryError("no room")
        lost = (x == LOST).flatten(1).any(1)
        if lost.any() and self.answer is None:
            raise RuntimeError("lost")
        return torch.where(lost[:, None, None, None], self.answer or 0.0, plain(x, t, c))


def desk(unet: Watch, most: int) -> Desk:
    DESKS.append(Desk(unet, unet, most))
    return DESKS[-1]


def ended(ends: list["Future[Tensor]"], asked: list[Rows]) -> None:
    """Everybody has the answer that it would have alone."""
    for end, one in zip(ends, asked, strict=True):
        assert torch.equal(end.result(WAIT), plain(*one))


def test_all_that_wait_go_in_one_call_and_each_gets_its_own() -> None:
    unet = Watch()
    asked = [rows(i, count=1 + i % 3, t=i % 2) for i in range(8)]
    with waiting(desk(unet, 100), [asking(one) for one in asked]) as ends:
        ended(ends, asked)
    assert unet.seen == [sum(len(one.x) for one in asked)]


def test_a_call_has_at_most_so_many_rows() -> None:
    unet = Watch()
    asked = [rows(i, count=3) for i in range(5)] + [rows(9, count=8)]
    with waiting(desk(unet, 7), [asking(one) for one in asked]) as ends:
        ended(ends, asked)
    assert sorted(unet.seen) == [3, 6, 6, 8]  # one that is larger goes alone


def test_with_0_everybody_goes_alone() -> None:
    unet = Watch()
    asked = [rows(i) for i in range(5)]
    with waiting(desk(unet, 0), [asking(one) for one in asked]) as ends:
        ended(ends, asked)
    assert unet.seen == [2] * 5


def test_unlike_sizes_go_apart() -> None:
    unet = Watch()
    asked = [rows(i, side=3 + i % 2) for i in range(6)]
    with waiting(desk(unet, 100), [asking(one) for one in asked]) as ends:
        ended(ends, asked)
    assert unet.seen == [6, 6]


def test_other_work_is_done_by_the_same_thread_alone() -> None:
    threads: list[int] = []

    def work() -> int:
        threads.append(threading.get_ident())
        return 7

    unet, asked = Watch(), rows(1)
    asks = [lambda member: DESKS[-1].work(member, work)] * 2 + [asking(asked)]
    with waiting(desk(unet, 100), asks) as ends:
        assert [end.result(WAIT) for end in ends[:2]] == [7, 7]
        ended(ends[2:], [asked])
    assert len(set(threads)) == 1 and threads[0] != threading.get_ident()
    assert unet.seen == [2]


def call(member: Member, count: int = 2, side: int = 3) -> Call:
    return Call(member, rows(1, count, side), Future())


def served(*shares: float) -> list[Member]:
    members = [Member() for _ in shares]
    for one, share in zip(members, shares, strict=True):
        one.served = share
    return members


def test_who_had_least_comes_first_then_who_came_first() -> None:
    a, b, c, d = (call(one) for one in served(4, 2, 6, 2))
    assert [id(one) for one in chosen([a, b, c, d], 4)] == [id(b), id(d)]
    assert [id(one) for one in chosen([a, b, c, d], 6)] == [id(b), id(d), id(a)]
    assert [id(one) for one in chosen([a, b, c, d], 0)] == [id(b)]


def test_smaller_ones_fill_a_call_past_one_that_does_not_fit() -> None:
    members = served(0, 1, 2)
    a, b, c = (call(one, count) for one, count in zip(members, (2, 5, 1), strict=True))
    assert [id(one) for one in chosen([a, b, c], 4)] == [id(a), id(c)]


def test_a_long_job_and_a_stream_of_short_ones_both_go_on() -> None:
    """No room for two: turns alternate, whoever comes and goes."""
    one, order = desk(Watch(), 0), []
    with one.member() as long:
        for _ in range(20):
            with one.member() as short:
                for _ in range(2):
                    pair = [call(long), call(short)]
                    one._waiting = pair
                    (first,) = one._taken()
                    order.append("long" if first.member is long else "short")
                    one._waiting = []
        assert order.count("long") == order.count("short") == 20


def test_who_joins_late_does_not_make_up_for_it() -> None:
    one = desk(Watch(), 0)
    with one.member() as old:
        for _ in range(100):
            one._waiting = [call(old)]
            one._taken()
        with one.member() as new:
            assert new.served == old.served == 200
    with one.member() as later:
        assert later.served == 198  # as of the last that was called


def test_one_that_cannot_be_computed_fails_alone() -> None:
    unet = Watch()
    asked = [rows(1), rows(LOST), rows(2)]
    with waiting(desk(unet, 100), [asking(one) for one in asked]) as ends:
        with pytest.raises(RuntimeError, match="lost"):
            ends[1].result(WAIT)
        ended([ends[0], ends[2]], [asked[0], asked[2]])
    assert unet.seen == [6, 2, 2, 2]


def test_one_that_is_not_finite_goes_to_the_guard_alone() -> None:
    def guard(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        if (x == LOST).any():
            raise NotFinite("no")
        raise AssertionError("this one was finite")

    unet = Watch(answer=float("nan"))
    asked = [rows(1), rows(LOST), rows(2)]
    DESKS.append(Desk(unet, guard, 100))
    with waiting(DESKS[-1], [asking(one) for one in asked]) as ends:
        with pytest.raises(NotFinite):
            ends[1].result(WAIT)
        ended([ends[0], ends[2]], [asked[0], asked[2]])
    assert unet.seen == [6]


def test_what_the_guard_saves_is_the_answer() -> None:
    unet, asked = Watch(answer=float("inf")), [rows(LOST), rows(3)]
    DESKS.append(Desk(unet, plain, 100))
    with waiting(DESKS[-1], [asking(one) for one in asked]) as ends:
        ended(ends, asked)


def test_without_memory_a_batch_is_halved_once() -> None:
    unet, asked = Watch(room=4), [rows(i) for i in range(4)]
    with waiting(desk(unet, 100), [asking(one) for one in asked]) as ends:
        ended(ends, asked)
    assert unet.seen == [8, 4, 4] and DESKS[-1].halved == 1


def test_and_then_fails_but_the_desk_goes_on() -> None:
    unet, asked = Watch(room=3), [rows(1, 4), rows(2, 4), rows(3, 3)]
    with waiting(desk(unet, 8), [asking(one) for one in asked]) as ends:
        for end in ends[:2]:
            with pytest.raises(torch.OutOfMemoryError):
                end.result(WAIT)
        ended(ends[2:], asked[2:])


def test_what_is_out_of_memory() -> None:
    assert out_of_memory(torch.OutOfMemoryError("x")) and out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)
    assert not out_of_memory(RuntimeError("shapes")) and not out_of_memory(ValueError("x"))


def test_a_closed_desk_answers_nobody() -> None:
    one = desk(Watch(), 100)
    with running(one):
        pass
    with one.member() as late, pytest.raises(Stopped):
        one.denoise(late, *rows(1))


def test_to_stop_takes_effect_within_one_call() -> None:
    """Stopped while its rows are computed: no other call of its own is made."""
    inside, go = threading.Event(), threading.Event()

    def slow(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        inside.set()
        assert go.wait(WAIT)
        return plain(x, t, c)

    one = Desk(slow, slow, 0)
    found: list[object] = []

    def run() -> None:
        with one.member() as member:
            found.append(member)
            try:
                for _ in range(10):
                    one.denoise(member, *rows(1))
            except Stopped:
                found.append("stopped")

    with running(one):
        thread = threading.Thread(target=run)
        thread.start()
        assert inside.wait(WAIT)
        member = found[0]
        assert isinstance(member, Member)
        one.stop(member)
        go.set()
        thread.join(WAIT)
        assert found[1:] == ["stopped"] and member.calls == one.calls == 1
        until(lambda: one.members == 0)


def test_to_stop_one_that_waits_takes_its_rows_out() -> None:
    unet = Watch()
    one, found = desk(unet, 0), []

    def run() -> None:
        with one.member() as member:
            found.append(member)
            with pytest.raises(Stopped):
                one.denoise(member, *rows(1))
            found.append("stopped")

    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: one._waiting)
    one.stop(found[0])
    thread.join(WAIT)
    assert found[1:] == ["stopped"] and one._waiting == [] and unet.seen == []


def test_rows_of_one_are_passed_on_as_they_are() -> None:
    one = rows(1)
    assert joined([one]) is one
    both = joined([one, rows(2, 3, t=9)])
    assert both.t.tolist() == [5, 5, 9, 9, 9] and both.x.shape[0] == both.c.shape[0] == 5
