"""Executing plans: one edit, or many at once that compute their common steps once.

Plans that begin with equal segments form a prefix tree, in which each segment stands once. Every
round of the loop takes all segments that need no UNet call, or else one batch of calls, and yields
where it arrived. Between two rounds the caller may stop, look or wait.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.ddim import carry_scale
from mdp_lite.method.mdp import (
    Denoiser,
    Guidance,
    Reads,
    Step,
    StepTerms,
    find_direction,
    move_direction,
    step_inputs,
    step_output,
    update,
)
from mdp_lite.method.plan import Plan, Segment
from mdp_lite.method.sample import Trajectory, edit_terms
from mdp_lite.method.schedule import Grid, StepIndex, Weights


class EditTask(NamedTuple):
    """One edit: from the source's noise x_A,0 along the plan of its table, steered by guidance."""

    grid: Grid
    guidance: Guidance
    source: Trajectory
    weights: Weights
    plan: Plan

    def select_step(self, i: StepIndex, x: Tensor) -> StepTerms:
        """All that step i reads besides the latent x."""
        return edit_terms(self.grid, self.guidance, self.source, self.weights, i, x)


# Computes step i of one edit from x as a whole, for a recorded graph; None if the result is not
# finite or there is no graph.
SingleStep = Callable[[EditTask, int, Reads, Tensor, bool], Step | None]


class TreeNode(NamedTuple):
    """A segment that the tasks in users share; parent is the index of the one before, or -1."""

    parent: int
    segment: Segment
    task: EditTask
    users: list[int]


class SegmentEnd(NamedTuple):
    """Where the tasks in users arrived at the end of a segment: x (1, 4, y, x) and its noise."""

    users: tuple[int, ...]
    segment: Segment
    step: Step


def build_tree(tasks: Sequence[EditTask]) -> list[TreeNode]:
    """The prefix tree of the tasks' segments; a parent comes before its children."""
    nodes: list[TreeNode] = []
    places: dict[tuple[object, ...], int] = {}
    for index, task in enumerate(tasks):
        place = -1
        for segment in task.plan.segments:
            # Sources and guidances are compared by identity: whoever makes the tasks shares equal
            # ones, and the tasks hold them, so no id is used twice.
            key = (place, segment, id(task.source), id(task.guidance))
            if key not in places:
                places[key] = len(nodes)
                nodes.append(TreeNode(place, segment, task, []))
            place = places[key]
            nodes[place].users.append(index)
    return nodes


def tree_cost(nodes: Sequence[TreeNode]) -> tuple[int, int]:
    """UNet rows and steps with a UNet call that a tree takes."""
    rows = sum(len(node.segment.reads) for node in nodes)
    return rows, sum(node.segment.kind == "call" for node in nodes)


def execute(
    unet: Denoiser, nodes: Sequence[TreeNode], v_prediction: bool = False, max_rows: int = 0,
    single_step: SingleStep | None = None,
) -> Iterator[list[SegmentEnd]]:  # fmt: skip
    """Compute all segments of a tree, at most max_rows UNet rows a call (0: one step a call)."""
    children: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        if node.parent >= 0:
            children[node.parent].append(i)
    waiting = [len(some) for some in children]  # how many still start from an end; at 0 it is freed
    steps: dict[int, Step] = {}  # the ends that segments still to come start from
    free: list[int] = []
    calls: list[tuple[int, int]] = []  # a heap: the segment with the most steps to go comes first
    _queue(nodes, [i for i, node in enumerate(nodes) if node.parent < 0], free, calls)
    while batch := free or _take_batch(nodes, calls, max_rows):
        some = [nodes[i] for i in batch]
        with torch.no_grad():
            if some[0].segment.kind == "call":
                starts = [_start(node, steps) for node in some]
                keeps = [any(nodes[k].segment.reuses for k in children[i]) for i in batch]
                ends = _call(unet, some, starts, keeps, v_prediction, single_step)
                del starts  # else they would stay in memory until the next round
            else:
                ends = [_follow(node, _start(node, steps).x) for node in some]
        steps |= {i: end for i, end in zip(batch, ends, strict=True) if children[i]}
        for i in batch:
            _release(nodes[i].parent, waiting, steps)
        free = []
        _queue(nodes, [child for i in batch for child in children[i]], free, calls)
        pairs = zip(some, ends, strict=True)
        yield [SegmentEnd(tuple(node.users), node.segment, end) for node, end in pairs]


def _queue(
    nodes: Sequence[TreeNode], new: Sequence[int], free: list[int], calls: list[tuple[int, int]]
) -> None:
    """Put segments that can be computed now where execute takes them from."""
    for i in new:
        if nodes[i].segment.kind == "call":
            heappush(calls, (nodes[i].segment.start - nodes[i].task.plan.n, i))
        else:
            free.append(i)


def _take_batch(
    nodes: Sequence[TreeNode], calls: list[tuple[int, int]], max_rows: int
) -> list[int]:
    """Take the first call off the heap, and the others of its shape that fit into one call."""
    batch: list[int] = []
    others: list[tuple[int, int]] = []
    rows = 0
    while calls and (not batch or rows < max_rows):
        entry = heappop(calls)
        node, first = nodes[entry[1]], nodes[batch[0] if batch else entry[1]]
        more = rows + len(node.segment.reads)
        if batch and (_shape(node) != _shape(first) or more > max_rows):
            others.append(entry)
        else:
            batch.append(entry[1])
            rows = more
    for entry in others:
        heappush(calls, entry)
    return batch


def _shape(node: TreeNode) -> torch.Size:
    return node.task.source.x.shape[2:]


def _start(node: TreeNode, steps: dict[int, Step]) -> Step:
    """The step that a segment starts from; before the first one it is the source's noise."""
    source = node.task.source
    return Step(source.x[0], source.eps[0]) if node.parent < 0 else steps[node.parent]


def _release(parent: int, waiting: list[int], steps: dict[int, Step]) -> None:
    """Forget an end that no segment starts from any more."""
    if parent >= 0:
        waiting[parent] -= 1
        if not waiting[parent]:
            del steps[parent]


def _call(
    unet: Denoiser, nodes: Sequence[TreeNode], starts: Sequence[Step], keeps: Sequence[bool],
    v_prediction: bool, single_step: SingleStep | None,
) -> list[Step]:  # fmt: skip
    """One step of each of several edits, in one call of the UNet.

    keeps: the next step needs this one's direction. Recorded graphs neither give nor read one.
    """
    if single_step and len(nodes) == 1 and not (keeps[0] or nodes[0].segment.reuses):
        (node,), (start,) = nodes, starts
        segment = node.segment
        end = single_step(node.task, segment.start, segment.reads, start.x, v_prediction)
        if end is not None:
            return [end]
    reads, xs = [node.segment.reads for node in nodes], [one.x for one in starts]
    terms = list(map(_select_terms, nodes, starts))
    inputs = [step_inputs(*one) for one in zip(xs, terms, reads, strict=True)]
    sizes = [len(rows) for rows, _ in inputs]
    rows, c = (torch.cat(parts) for parts in zip(*inputs, strict=True))
    out = unet(rows, _timesteps(nodes, terms, sizes), c)
    answers = list(zip(out.split(sizes), xs, terms, reads, strict=True))
    ends = [step_output(*one, v_prediction) for one in answers]
    ds = [_direction(*one) if keep else None for one, keep in zip(answers, keeps, strict=True)]
    return [end._replace(d=d) for end, d in zip(ends, ds, strict=True)]


def _select_terms(node: TreeNode, start: Step) -> StepTerms:
    """What the step of a call reads, with its direction if it comes from the step before."""
    task, i = node.task, node.segment.start
    d = start.d if node.segment.reuses else None
    d = d if d is None else move_direction(d, task.source.direction, i)
    return task.select_step(i, start.x)._replace(d=d)


def _direction(out: Tensor, x: Tensor, terms: StepTerms, reads: Reads) -> Tensor | None:
    """The direction of a step: the one that it reused, else that of its answer."""
    return find_direction(out.to(x.dtype), reads) if terms.d is None else terms.d


def _timesteps(
    nodes: Sequence[TreeNode], terms: Sequence[StepTerms], sizes: Sequence[int]
) -> Tensor:
    """A timestep for each row of a call, or () for one step of one grid: it is embedded once.

    Values are not compared: on a GPU that would wait for all work before.
    """
    times = [one.coeffs.t for one in terms]
    steps = {(id(node.task.grid.t), node.segment.start) for node in nodes}
    if len(steps) == 1:
        return times[0]
    return torch.cat([t.expand(size) for t, size in zip(times, sizes, strict=True)])


def _follow(node: TreeNode, x: Tensor) -> Step:
    """The end of a segment without a UNet call."""
    task, segment = node.task, node.segment
    end = task.source.x[segment.stop]
    if segment.kind == "source":
        return Step(end.clone(), task.source.eps[segment.stop - 1])  # never the source's own memory
    if segment.kind == "carry":
        return Step(end + _carry(task, segment, x), task.source.eps[segment.stop - 1])
    for i in range(segment.start, segment.stop):
        x, eps, _ = _step_along(task, i, x)
    return Step(x, eps)


def _carry(task: EditTask, segment: Segment, x: Tensor) -> Tensor:
    """x* - x_A at the end of the segment.

    Each step scales it: sqrt(b / a) by DDIM or DDPM along one noise, then 1 - w_x by MDP-x.
    """
    difference, noisy = x - task.source.x[segment.start], task.source.noise is not None
    for i in range(segment.start, segment.stop):
        _, a, b, skip, *_ = task.grid.select_step(i)
        scale = carry_scale(a, b, skip if noisy else None)
        scale = torch.where(a > 0, scale, 0)  # where a is 0, x is noise alone
        difference = scale * (1 - task.weights.x[i].to(x)) * difference
    return difference


def _step_along(task: EditTask, i: int, x: Tensor) -> Step:
    """A step along the source's noise, which leads elsewhere than the source, then MDP-x."""
    coeffs, _, source, w, _ = task.select_step(i, x)
    end = update(source.eps, x, coeffs, source, w, v_prediction=False)
    # Where a is 0, x is noise alone, so eps gives no x_0: take the source's next latent.
    pairs = (end.x, source.x), (end.eps, source.eps)
    return Step(*(torch.where(coeffs.a > 0, *pair) for pair in pairs))
