"""Recorded graphs of fixed shapes: which shapes get one, and functions that run as graphs.

A recorded graph reads its inputs at the addresses where it was recorded. Graphs of one recorder
share their memory, so one is replayed at a time and its results are copied out.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mdp_lite.engine.devices import free_memory
from mdp_lite.engine.unet_calls import Function
from mdp_lite.names import BadInput

MAX_GRAPHS = 128  # of one recorder
MAX_FAILURES = 3  # captures that fail before no more is tried
log = logging.getLogger("mdp_lite")
Work = Callable[[], Sequence[Tensor]]
Record = Callable[[Work], tuple[Sequence[Tensor], Callable[[], None]]]
NewShapes = Literal["record", "eager", "refuse"]


class GraphKey(NamedTuple):
    """What a graph is recorded for: what it is in words, and all that its recording depends on."""

    what: str
    details: Hashable


class GraphRecorder:
    """Records graphs of what is used again. record(work) returns its results and a replay.

    The first use of a shape runs eagerly, so that work which comes only once is never recorded; the
    second use records it. new_shapes says what becomes of a shape without a graph: "record",
    "eager" (a service, once it is warmed up) or "refuse" (warm_up(only=True)), which raises
    BadInput. If max_graphs are there, the one that was not used for the longest time is dropped,
    but never one that was recorded while permanent was set, as in a warm-up. If a capture fails,
    that shape runs eagerly and a warning is logged; after MAX_FAILURES nothing more is recorded or
    refused. count is the number of graphs recorded so far.

    A graph reads weights at their addresses. So it holds those of models, which stay in memory if
    somebody gives the models others.
    """

    def __init__(self, record: Record, max_graphs: int = MAX_GRAPHS) -> None:
        self.record, self.lock, self.max_graphs = record, threading.RLock(), max_graphs
        self.new_shapes: NewShapes = "record"
        self.permanent, self.models = False, list[nn.Module]()
        self.count = self.failures = 0
        self._graphs: OrderedDict[GraphKey, Any] = OrderedDict()
        self._weights: dict[GraphKey, list[Tensor]] = {}
        self._permanent = set[GraphKey]()
        self._used: OrderedDict[GraphKey, None] = OrderedDict()

    def get_or_capture(self, key: GraphKey, capture: Callable[[], Any]) -> Any:
        """The graph for a key, captured now if it is time to; None if the work is to run eagerly.

        Hold the lock from this call until the results of the replay are copied.
        """
        if key in self._graphs:
            self._graphs.move_to_end(key)
            return self._graphs[key]
        if self.failures >= MAX_FAILURES or self.new_shapes == "eager":
            return None
        if self.new_shapes == "refuse":
            raise BadInput(f"the engine was warmed up with only=True, but not for {key.what}")
        return None if self._is_first(key) else self._record(key, capture)

    def _record(self, key: GraphKey, capture: Callable[[], Any]) -> Any:
        self._graphs[key] = self._try_capture(key, capture)
        self._weights[key] = [one for model in self.models for one in model.parameters()]
        if self.permanent:
            self._permanent.add(key)
        others = [one for one in self._graphs if one not in self._permanent]
        for one in others[: max(0, len(self._graphs) - self.max_graphs)]:
            if one != key:
                del self._graphs[one], self._weights[one]
        return self._graphs[key]

    def list_graphs(self) -> list[str]:
        """What there are graphs for, in the order of their last use."""
        return [key.what for key, graph in self._graphs.items() if graph]

    def _is_first(self, key: GraphKey) -> bool:
        """Whether this is the first use of a key; so many keys are remembered as graphs."""
        first = key not in self._used
        self._used[key] = None
        self._used.move_to_end(key)
        if len(self._used) > self.max_graphs:
            self._used.popitem(last=False)
        return first

    def _try_capture(self, key: GraphKey, capture: Callable[[], Any]) -> Any:
        reason = None
        try:  # what is recorded outlives the caller's modes
            with torch.inference_mode(False), torch.no_grad():
                graph = capture()
        except RuntimeError as error:  # no memory is one, too
            reason = str(error).split("\n")[0]
        if reason is None:
            self.count += 1
            return graph
        self.failures += 1
        free_memory()  # the error, which held some, is gone
        log.warning("no graph for %s, it runs eagerly: %s", key.what, reason)
        return None


class CapturedGraph:
    """A function of tensors, recorded for the shapes of its first inputs."""

    def __init__(self, record: Record, function: Function, *inputs: Tensor) -> None:
        static = [one.clone() for one in inputs]
        self._static = static  # the graph reads its inputs at these addresses
        (self._out,), self._replay = record(lambda: (function(*static),))

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function of tensors of these shapes."""
        for static, one in zip(self._static, inputs, strict=True):
            static.copy_(one)
        self._replay()
        return self._out.clone()


class GraphCache:
    """A function of tensors that is recorded for each combination of shapes that comes again."""

    def __init__(self, recorder: GraphRecorder, function: Function, name: str = "a call") -> None:
        self._recorder, self._function, self._name = recorder, function, name

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function of these tensors."""
        shapes = tuple((tuple(one.shape), one.dtype) for one in inputs)
        sizes = "x".join(map(str, inputs[0].shape))
        key = GraphKey(f"{self._name} of {sizes}", (id(self), shapes))
        capture = partial(CapturedGraph, self._recorder.record, self._function, *inputs)
        with self._recorder.lock:
            graph = self._recorder.get_or_capture(key, capture)
            return graph(*inputs) if graph else self._function(*inputs)
