"""UNet calls and whole steps of fixed shapes, for recorded graphs, and the wrappers around a UNet.

A recorded graph reads its inputs at the addresses where it was recorded. Graphs of one recorder
share their memory, so one is replayed at a time and its results are copied out.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.execute import EditTask
from mdp_lite.method.mdp import Denoiser, Reads, Step, StepTerms, step_inputs, step_output
from mdp_lite.models.condition import find_extra
from mdp_lite.names import BadInput

# CachedUNet holds the projections of so many timesteps (40 KB each at SD 1.5's size), then it
# starts again with none.
MAX_TIMESTEPS = 1000
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # row counts of a call
log = logging.getLogger("mdp_lite")
Function = Callable[..., Tensor]
Work = Callable[[], Sequence[Tensor]]
Record = Callable[[Work], tuple[Sequence[Tensor], Callable[[], None]]]


class GraphRecorder:
    """Records graphs on first use of a shape. record(work) returns its results and a replay.

    After `closed` is set (warm_up(only=True)) a new shape raises BadInput. If a capture fails, that
    shape runs eagerly and a warning is logged once. count is the number of graphs recorded.
    """

    def __init__(self, record: Record) -> None:
        self.record, self.lock = record, threading.Lock()
        self.closed, self.count = False, 0

    def get_or_capture(
        self, graphs: dict[Any, Any], shapes: Any, capture: Callable[[], Any]
    ) -> Any:
        """The graph for these shapes, captured now if there is none; None if capture failed."""
        if shapes not in graphs:
            if self.closed:
                known = ", ".join(map(str, graphs)) or "none"
                raise BadInput(f"the engine was warmed up for shapes {known}, got {shapes}")
            graphs[shapes] = self._try_capture(capture, shapes)
        return graphs[shapes]

    def _try_capture(self, capture: Callable[[], Any], shapes: Any) -> Any:
        try:
            graph = capture()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = str(error).split("\n")[0]
            log.warning("no graph for shapes %s, they run eagerly: %s", shapes, reason)
            return None
        self.count += 1
        return graph


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
    """A function of tensors that is recorded once for each combination of shapes."""

    def __init__(self, recorder: GraphRecorder, function: Function) -> None:
        self._recorder, self._function = recorder, function
        self._graphs: dict[Any, CapturedGraph] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function of these tensors."""
        shapes = tuple(tuple(one.shape) for one in inputs)
        capture = partial(CapturedGraph, self._recorder.record, self._function, *inputs)
        with self._recorder.lock:
            graph = self._recorder.get_or_capture(self._graphs, shapes, capture)
            return graph(*inputs) if graph else self._function(*inputs)


class PaddedUNet:
    """A denoiser whose calls are padded to one of a few row counts."""

    def __init__(self, unet: Denoiser) -> None:
        self._unet = unet

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x)."""
        return self._unet(*pad_to_bucket(x, t, c))[: len(x)]


def pad_to_bucket(
    x: Tensor, t: Tensor, c: Tensor, counts: Sequence[int] = BUCKETS
) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of a call, and copies of the last one up to the next of counts, if there is one."""
    more = next((count for count in counts if count >= len(x)), len(x)) - len(x)
    if not more:
        return x, t, c
    x, c = (torch.cat([rows, rows[-1:].expand(more, -1, *rows.shape[2:])]) for rows in (x, c))
    return x, torch.cat([t, t[-1:].expand(more)]) if t.ndim else t, c


class SplitUNet(NamedTuple):
    """A UNet in three parts: predict reads times(t, c) and text(c).

    text depends on c alone, times on t alone where extra_dim is 0, else on the pooled part of c
    too. So they are computed once for a whole edit. step_output is the second half of a step.
    """

    predict: Denoiser
    times: Function
    text: Function
    extra_dim: int = 0
    step_output: Callable[[Tensor, Tensor, StepTerms, Reads, bool], Step] = step_output


class CachedUNet:
    """A denoiser that computes times(t, c) and text(c) only when t or c changes.

    Only for a CPU: whether they changed is decided in Python, and on a GPU that would wait for all
    queued work. Each timestep is computed by itself, so that a row does not depend on the other
    rows of its call.
    """

    def __init__(self, unet: SplitUNet) -> None:
        self._unet = unet
        self._times: dict[Any, Tensor] = {}
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x)."""
        if torch.is_grad_enabled():
            return self._unet.predict(x, self._unet.times(t, c), self._unet.text(c))
        return self._unet.predict(x, self._get_times(t, c), self._get_text(c))

    def _get_times(self, t: Tensor, c: Tensor) -> Tensor:
        if t.ndim or (self._unet.extra_dim and len(c) > 1):
            pairs = zip(t.expand(len(c)), c.split(1), strict=True)
            return torch.cat([self._get_times(*pair) for pair in pairs])
        if len(self._times) >= MAX_TIMESTEPS:
            self._times = {}
        key = float(t), self._find_key(c)
        if key not in self._times:
            self._times[key] = self._unet.times(t, c)
        return self._times[key]

    def _find_key(self, c: Tensor) -> bytes:
        """The bits of what times(t, c) reads of c (1, l, d)."""
        if not self._unet.extra_dim:
            return b""
        return find_extra(c, self._unet.extra_dim).contiguous().view(torch.uint8).numpy().tobytes()

    def _get_text(self, c: Tensor) -> Tensor:
        last = self._last  # read once: another thread may replace it
        if last and last[0].shape == c.shape and torch.equal(last[0], c):
            return last[1]
        self._last = c, self._unet.text(c)
        return self._last[1]


class StepGraphs:
    """Whole steps of one edit as graphs: both halves of the step and the UNet call between them."""

    def __init__(self, recorder: GraphRecorder, unet: SplitUNet) -> None:
        self._recorder, self._unet = recorder, unet
        self._graphs: dict[Any, CapturedStep] = {}

    def __call__(
        self, task: EditTask, i: int, reads: Reads, x: Tensor, v_prediction: bool
    ) -> Step | None:
        """Step i of an edit from x (1, 4, y, x); None if it is not finite or capture failed."""
        shapes = (reads, v_prediction, tuple(x.shape), *_list_shapes(task))
        capture = partial(
            CapturedStep, self._recorder.record, self._unet, task, reads, x, v_prediction
        )
        with self._recorder.lock:
            graph = self._recorder.get_or_capture(self._graphs, shapes, capture)
            return graph(task, i, x) if graph else None


class CapturedStep:
    """One step, recorded once for all steps.

    The step number i is a tensor that the graph increments, and the graph reads its tables at i.
    """

    def __init__(
        self, record: Record, unet: SplitUNet, task: EditTask, reads: Reads, x: Tensor,
        v_prediction: bool,
    ) -> None:  # fmt: skip
        self._project, self._loaded = partial(_project, unet), task
        self._task = _copy(self._project(task), x.device)
        self._x, self._i = x.clone(), torch.zeros(1, dtype=torch.long, device=x.device)

        def work() -> Sequence[Tensor]:
            task, i, x = self._task, self._i, self._x
            terms = task.select_step(i, x)
            rows, c = step_inputs(x, terms, reads)
            out = _predict_step(unet, rows, terms.coeffs.t[None], c)
            step = unet.step_output(out, x, terms, reads, v_prediction)
            # The remainder keeps i in range: a recorder runs this several times before it captures.
            i.add_(1).remainder_(len(task.grid.t))
            return step.x, step.eps, out.isfinite().all()

        self._out, self._replay = record(work)
        self._next = -1

    def __call__(self, task: EditTask, i: int, x: Tensor) -> Step | None:
        """Step i of a task with the shapes of the recorded one; None if it is not finite."""
        if task is not self._loaded:
            projected = self._project(task)
            for static, table in zip(_tables(self._task), _tables(projected), strict=True):
                static.copy_(table)
            self._loaded = task
        if i != self._next:
            self._i.fill_(i)
        self._x.copy_(x)
        self._replay()
        self._next = i + 1
        x, eps, finite = self._out
        return Step(x.clone(), eps.clone()) if finite else None


def _tables(task: EditTask) -> list[Tensor]:
    """All tensors of a task, in a fixed order."""
    return [one for one in _list_columns(task) if one is not None]


def _list_shapes(task: EditTask) -> list[tuple[int, ...] | None]:
    """The shape of each tensor that a task may have, None in the place of one that it has not."""
    return [None if one is None else tuple(one.shape) for one in _list_columns(task)]


def _list_columns(task: EditTask) -> list[Tensor | None]:
    """Each tensor that a task may have, in a fixed order; None is one that it has not."""
    parts = (task.grid, task.guidance, task.source, task.weights)
    return [one for part in parts for one in part]


def _project(unet: SplitUNet, task: EditTask) -> EditTask:
    """A task with times(t, c) for its timesteps and text(c) for its conditions.

    text is linear, so mixing projected conditions gives the projection of the mixed condition. What
    a pooled state adds to times is not linear, so such a task stays as it is.
    """
    guidance, text = task.guidance, unet.text
    if unet.extra_dim:
        return task
    null = None if guidance.null is None else text(guidance.null)
    return task._replace(
        grid=task.grid._replace(t=unet.times(task.grid.t, guidance.c)),
        guidance=guidance._replace(c=text(guidance.c), null=null),
        source=task.source._replace(c=text(task.source.c)),
    )


def _predict_step(unet: SplitUNet, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """The prediction in a step of a task that _project gave."""
    if unet.extra_dim:
        t, c = unet.times(t, c), unet.text(c)
    return unet.predict(x, t, c)


def _copy(task: EditTask, device: torch.device) -> EditTask:
    """A task with its own copies of all tensors on a device."""

    def copy(part: Any) -> Any:
        return type(part)(*(None if one is None else one.to(device, copy=True) for one in part))

    grid, guidance, source, weights, plan = task
    return EditTask(copy(grid), copy(guidance), copy(source), copy(weights), plan)
