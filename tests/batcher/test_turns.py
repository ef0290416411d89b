"""Turns by work: shares, where a new one begins, who is waited for, and how long a call may be."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch
from torch import Tensor

from mdp_lite.batcher import turns
from mdp_lite.batcher.batcher import Batcher, Client, UNetRows
from mdp_lite.batcher.calls import split_rows
from mdp_lite.batcher.turns import (
    Group,
    Share,
    Speed,
    choose_start,
    find_expected,
    join_shares,
)

WAIT = 60.0


def denoise(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    return x + t.view(-1, 1, 1, 1) + c.mean()


def rows(count: int, side: int = 2) -> UNetRows:
    x = torch.arange(count * 4.0 * side * side).view(count, 4, side, side)
    return UNetRows(x, torch.arange(float(count)), torch.ones(count, 3, 5))


def client(served: float, last: float = 0.0) -> Client:
    one = Client()
    one.share.served = one.share.group.served = served
    one.last = last
    return one


def test_speed_follows_the_last_calls() -> None:
    speed = Speed()
    assert speed.estimate(5) == 0 and speed.most_rows(1) > 1000
    speed.add(10, 2)
    assert speed.estimate(20) == pytest.approx(4) and speed.most_rows(2.5) == 4
    assert speed.most_rows(1000) == 1
    for _ in range(500):
        speed.add(10, 1)
    assert speed.estimate(20) == pytest.approx(2, rel=0.01)


def test_a_new_share_begins_where_the_running_call_began() -> None:
    others = [client(7.0).share, client(9.0).share]
    assert choose_start(Share(), others, 3.0, True) == 3
    assert choose_start(Share(), others, 3.0, False) == 7
    assert choose_start(Share(), [], 3.0, False) == 3
    used = Share()
    used.served = 8
    assert choose_start(used, others, 3.0, True) == 8  # it does not forget by coming again


def test_clients_of_one_share_are_served_as_one() -> None:
    one, share = Batcher(denoise, denoise), Share()
    pair = [Client(share=share), Client(share=share)]
    with one.client(pair[0]):
        share.add(6)
        with one.client(pair[1]):
            assert [each.served for each in pair] == [6, 6]
            with one.client() as other:
                assert other.share.group.served == 6


def test_requests_of_one_group_have_the_turns_of_one() -> None:
    one, many = Batcher(denoise, denoise), Group()
    with ExitStack() as stack:
        crowd = [stack.enter_context(one.client(Client(share=Share(many)))) for _ in range(9)]
        other = stack.enter_context(one.client())
        clients, order = [*crowd, other], []
        for _ in range(40):
            chosen = min(clients, key=lambda each: each.share.rank)
            chosen.share.add(4 if chosen is crowd[0] else 1)
            order.append(clients.index(chosen))
        assert abs(many.served - other.served) <= 4  # half of the work, and not 9 of 10 parts
        assert set(order) == set(range(10))  # of the group each has turns, the long one fewer
        assert order.count(0) <= 1 + order.count(1)
        newcomer = Share(many)
        join_shares(newcomer, clients, 0.0, False)
        assert newcomer.served == min(each.served for each in crowd)


def test_who_is_waited_for() -> None:
    long, short = client(10, 8), client(4, 1)
    assert find_expected([long, short], [long], 8) == [short]
    assert find_expected([long, short], [long, short], 8) == []  # it waits already
    assert find_expected([long, short], [long], 2) == []  # a call as short as its own
    assert find_expected([long, client(10, 1)], [long], 8) == []  # it is not its turn
    short.is_idle = True
    assert find_expected([long, short], [long], 8) == []


def test_a_long_call_does_not_come_between_the_steps_of_a_short_edit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ten short calls with pauses, beside calls of a hundred times their work."""
    monkeypatch.setattr(turns, "PATIENCE", 10.0)
    monkeypatch.setattr(turns, "GAP", 10.0)
    order: list[int] = []

    def record(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        order.append(x.shape[-1])
        return denoise(x, t, c)

    batcher, over = Batcher(record, record, 0, lambda x: float(x[0, 0].numel())), threading.Event()

    def run_long() -> None:
        with batcher.client() as one:
            while not over.is_set():
                batcher.denoise(one, *rows(1, 20))

    def run_short() -> None:
        with batcher.client() as one:
            for _ in range(10):
                batcher.denoise(one, *rows(1, 2))
                time.sleep(0.01)

    with ThreadPoolExecutor(3) as pool:
        ends = [pool.submit(batcher.run), pool.submit(run_long)]
        while len(order) < 3:
            time.sleep(0.001)
        pool.submit(run_short).result(WAIT)
        over.set()
        ends[1].result(WAIT)
        batcher.close()
    between = order[order.index(2) : len(order) - order[::-1].index(2)]
    assert between.count(2) == 10 and between.count(20) <= 1  # one if it came between two calls


def test_a_client_who_keeps_others_waiting_is_waited_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    batcher = Batcher(denoise, denoise)
    with batcher.client() as idle, batcher.client() as busy, ThreadPoolExecutor(1) as pool:
        end = pool.submit(batcher.run)
        busy.share.served = 1
        started = time.monotonic()
        batcher.denoise(busy, *rows(1))
        assert time.monotonic() - started >= 0.2 and idle.is_idle
        monkeypatch.setattr(turns, "PATIENCE", WAIT)
        batcher.denoise(busy, *rows(1))
        assert time.monotonic() - started < WAIT
        batcher.denoise(idle, *rows(1))
        assert not idle.is_idle
        batcher.close()
        end.result(WAIT)


def test_rows_in_parts_are_the_same_rows() -> None:
    whole = rows(5)
    parts = split_rows(whole, 2)
    assert [len(one.x) for one in parts] == [2, 2, 1]
    for joined, one in zip(zip(*parts, strict=True), whole, strict=True):
        assert torch.equal(torch.cat(joined), one)
    assert split_rows(whole, 5)[0] is whole


@pytest.mark.parametrize(("max_rows", "counts"), [(100, [2, 2, 2]), (0, [6])])
def test_a_call_of_several_rows_lasts_two_seconds_at_most(max_rows: int, counts: list[int]) -> None:
    """By estimate; with 0 the rows of a client stay together, as its bits depend on it."""
    found: list[int] = []

    def record(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        found.append(len(x))
        return denoise(x, t, c)

    batcher, part = Batcher(record, record, max_rows), rows(6)
    batcher.speed.add(1000, 1000)  # a row a second
    with ThreadPoolExecutor(1) as pool:
        end = pool.submit(batcher.run)
        with batcher.client() as one:
            answer = batcher.denoise(one, *part)
        batcher.close()
        end.result(WAIT)
    assert found == counts and torch.equal(answer, denoise(*part))
