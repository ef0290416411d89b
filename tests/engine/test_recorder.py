"""Which shapes get a graph, which graphs stay, and what happens when a capture fails."""

from typing import Any

import torch

from mdp_lite.engine.graphs import GraphCache, GraphKey, GraphRecorder, Work
from support.recording import record_again


def test_what_comes_once_is_not_recorded_and_few_graphs_are_kept() -> None:
    recorder = GraphRecorder(record_again, max_graphs=2)
    x, double = torch.ones(1), GraphCache(recorder, lambda x: 2 * x)
    assert [float(double(x)) for _ in range(3)] == [2, 2, 2] and recorder.count == 1
    for size in (2, 3, 4):
        double(torch.ones(size))
    assert recorder.count == 1
    for size in (5, 6, 5, 6, 1, 1):
        assert torch.equal(double(torch.ones(size)), 2 * torch.ones(size))
    assert recorder.count == 4  # 1 was dropped for 6, and recorded again
    double(torch.ones(6))
    assert recorder.count == 4


def test_graphs_of_a_warm_up_are_never_dropped() -> None:
    recorder = GraphRecorder(record_again, max_graphs=2)
    double, recorder.permanent = GraphCache(recorder, lambda x: 2 * x), True
    for size in (1, 1, 2, 2, 3, 3):
        double(torch.ones(size))
    assert len(recorder.list_graphs()) == 3
    recorder.permanent = False
    for size in (4, 4, 5, 5):
        double(torch.ones(size))
    assert [one.split()[-1] for one in recorder.list_graphs()][-4:] == ["1", "2", "3", "5"]


def test_what_inference_mode_records_serves_without_it() -> None:
    recorder = GraphRecorder(record_again)
    double, x = GraphCache(recorder, lambda x: 2 * x), torch.ones(3)
    with torch.inference_mode():
        double(x), double(x)
    assert recorder.count == 1 and torch.equal(double(x + 1), 2 * (x + 1))


def test_after_three_failures_nothing_more_is_recorded() -> None:
    tries = []

    def refuse(run: Work) -> Any:
        tries.append(run)
        raise torch.OutOfMemoryError("no memory")

    recorder = GraphRecorder(refuse)
    for size in range(5):
        key = GraphKey("a call", size)
        for _ in range(3):
            assert recorder.get_or_capture(key, lambda: recorder.record(tuple)) is None
    assert len(tries) == 3 == recorder.failures
