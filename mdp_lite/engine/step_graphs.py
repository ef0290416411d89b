"""Whole steps of one edit as graphs: both halves of the step and the UNet call between them.

A graph knows one step alone and no table of steps, so it serves paths of every length, every step
of them, every source and prompt, with a mask or without. What a step reads is copied to where the
graph was recorded: the entries of its tables, and the condition if it is another one.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mdp_lite.engine.graphs import GraphKey, GraphRecorder, Record
from mdp_lite.engine.unet_calls import SplitUNet
from mdp_lite.method.execute import EditTask
from mdp_lite.method.mdp import Reads, Step, step_inputs
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import Weights

MAX_PROJECTIONS = 32  # of conditions (4 MB each at SD 1.5's size), timesteps and weights
# Parts of a task that not every task has, and what an edit with it has.
OPTIONS = {
    "q": "proximal guidance", "channels": "an inpainting model's mask",
    "noise": "recorded noise", "local": "a local pull", "tilt": "a tilt of MDP-beta",
}  # fmt: skip


class StepGraphs:
    """Computes a step of an edit as a graph, if it was recorded or is to be recorded now."""

    def __init__(self, recorder: GraphRecorder, unet: SplitUNet) -> None:
        self._recorder, self._unet, self._steps = recorder, unet, StepTables(unet)

    def __call__(
        self, task: EditTask, i: int, reads: Reads, x: Tensor, v_prediction: bool
    ) -> Step | None:
        """Step i of an edit from x (1, 4, y, x); None if it is not finite or there is no graph."""
        with self._recorder.lock:
            now = self._steps.cut(task, i, reads)
            shapes = tuple(None if one is None else tuple(one.shape) for one in list_columns(now))
            key = GraphKey(_describe(now, reads, x), (id(self), reads, v_prediction, shapes))
            capture = partial(
                CapturedStep, self._recorder.record, self._unet, now, reads, x, v_prediction
            )
            graph = self._recorder.get_or_capture(key, capture)
            return graph(now, x) if graph else None


class CapturedStep:
    """One step, recorded once for all steps that read tensors of these shapes."""

    def __init__(
        self, record: Record, unet: SplitUNet, now: EditTask, reads: Reads, x: Tensor,
        v_prediction: bool,
    ) -> None:  # fmt: skip
        static, place = _copy(now), x.clone()
        self._static, self._x = [one for one in list_columns(static) if one is not None], place
        self._loaded: list[Any] = [None] * len(self._static)

        def work() -> Sequence[Tensor]:
            terms = static.select_step(0, place)
            rows, c = step_inputs(place, terms, reads)
            out = _predict_step(unet, rows, terms.coeffs.t[None], c)
            step = unet.step_output(out, place, terms, reads, v_prediction)
            return step.x, step.eps, out.isfinite().all()

        self._out, self._replay = record(work)

    def __call__(self, now: EditTask, x: Tensor) -> Step | None:
        """The step of a task of one step with the recorded shapes; None if it is not finite."""
        tables = [one for one in list_columns(now) if one is not None]
        changed = [i for i, one in enumerate(tables) if one is not self._loaded[i]]
        copy_together(
            [*(self._static[i] for i in changed), self._x], [*(tables[i] for i in changed), x]
        )
        self._loaded = tables
        self._replay()
        x, eps, finite = self._out
        return Step(x.clone(), eps.clone()) if finite else None


class StepTables:
    """Cuts single steps out of tasks. What the steps of a task share is projected only once."""

    def __init__(self, unet: SplitUNet) -> None:
        self._unet = unet
        self._known: OrderedDict[Hashable, tuple[Tensor, Tensor]] = OrderedDict()

    def cut(self, task: EditTask, i: int, reads: Reads) -> EditTask:
        """Step i as a task of one step, with times(t, c) for t and text(c) for its conditions.

        text is linear, so mixing projected conditions gives the projection of the mixed condition.
        What a pooled state adds to times is not linear, so there t and c stay as they are. A null
        row that the step does not read is left out, so that it needs no other graph.
        """
        grid, guidance, source = task.grid.cut(i, i + 1), task.guidance.select_step(i), task.source
        guidance = guidance if "null" in reads else guidance._replace(null=None)
        noise = None if source.noise is None else source.noise[i : i + 1]
        path = Trajectory(source.x[i : i + 2], source.eps[i : i + 1], source.c, noise=noise)
        weights = self._spread(task.weights, i, source.x)
        if self._unet.extra_dim:
            return EditTask(grid, guidance, path, weights, task.plan)
        times = self._get(task.grid.t, "times", partial(self._unet.times, c=guidance.c))
        c, null = self._project(guidance.c), guidance.null
        if null is not None:  # of null-text there is one for each step
            tuned = null is not task.guidance.null
            null = self._unet.text(null) if tuned else self._project(null)
        return EditTask(
            grid._replace(t=times[i : i + 1]), guidance._replace(c=c, null=null),
            path._replace(c=self._project(source.c)), weights, task.plan,
        )  # fmt: skip

    def _project(self, c: Tensor) -> Tensor:
        return self._get(c, "text", self._unet.text)

    def _spread(self, weights: Weights, i: int, x: Tensor) -> Weights:
        """The weights of step i as maps (1, 1, 1, y, x), so that a mask needs no other graph."""
        size = x.shape[-2:]

        def spread(column: Tensor) -> Tensor:
            sides = column.shape[-2:] if column.ndim > 1 else (1, 1)
            return column.to(x).reshape(-1, 1, 1, *sides).expand(-1, 1, 1, *size).contiguous()

        maps = weights.change(lambda column: self._get(column, size, spread)[i : i + 1])
        return maps._replace(c=weights.c[i : i + 1].to(x))

    def _get(self, table: Tensor, how: Hashable, change: Callable[[Tensor], Tensor]) -> Tensor:
        """change(table), which how names; that of the last tables is remembered, by identity."""
        key = id(table), how
        known = self._known.pop(key, None) or (table, change(table))
        self._known[key] = known  # it holds the table, so that no other gets its id
        if len(self._known) > MAX_PROJECTIONS:
            self._known.popitem(last=False)
        return known[1]


def list_columns(task: EditTask) -> list[Tensor | None]:
    """Each tensor that a task may have, in a fixed order; None is one that it has not."""
    parts = (task.grid, task.guidance, task.source, task.weights)
    return [one for part in parts for one in part]


def copy_together(places: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Copy values into places, with one launch for all of one dtype."""
    for dtype in {one.dtype for one in places}:
        chosen = [i for i, one in enumerate(places) if one.dtype == dtype]
        torch._foreach_copy_([places[i] for i in chosen], [values[i] for i in chosen])


def _describe(now: EditTask, reads: Reads, x: Tensor) -> str:
    """A step in words, for an error."""
    parts = (now.guidance, now.source, now.weights)
    extras = {name for part in parts for name, one in part._asdict().items() if one is not None}
    having = [text for name, text in OPTIONS.items() if name in extras]
    more = f" with {', '.join(having)}" if having else ""
    return f"a step of {x.shape[3]}x{x.shape[2]} cells that reads {', '.join(reads)}{more}"


def _predict_step(unet: SplitUNet, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    """The prediction in a step that StepTables cut."""
    if unet.extra_dim:
        t, c = unet.times(t, c), unet.text(c)
    return unet.predict(x, t, c)


def _copy(task: EditTask) -> EditTask:
    """A task with its own copies of all tensors."""

    def copy(part: Any) -> Any:
        return type(part)(*(None if one is None else one.clone() for one in part))

    grid, guidance, source, weights, plan = task
    return EditTask(copy(grid), copy(guidance), copy(source), copy(weights), plan)
