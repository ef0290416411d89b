"""Running plans: one edit, or many at once that share what they have in common.

Plans that begin alike are one tree of legs. Every tick of the loop takes all free legs (no call) or
one batch of calls, and yields what it reached; between ticks the caller may stop, look or wait.
"""

from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import torch
from torch import Tensor, lerp

from mdp_lite.method.ddim import ddim
from mdp_lite.method.mdp import Denoiser, Step, asked, guide, update
from mdp_lite.method.plan import Leg, Plan
from mdp_lite.method.sample import Conditions, Path, levels, source_row, weights_row
from mdp_lite.method.schedule import Grid, Row, Weights, row

Reads = tuple[str, ...]  # a call's rows, as in plan.Leg


class Task(NamedTuple):
    """One edit: from the source's noise x_A,0 along a plan of its table, towards a condition."""

    grid: Grid
    to: Conditions
    source: Path
    weights: Weights
    plan: Plan


# Takes step i of a task alone, all of it, from x; None where its prediction is not finite.
Alone = Callable[[Task, int, Reads, Tensor, bool], Step | None]


class Node(NamedTuple):
    """A leg that tasks (by index) take after the same legs; parent is its place, -1 at the root."""

    parent: int
    leg: Leg
    task: Task
    users: list[int]


class Reached(NamedTuple):
    """Where some tasks (by index) are at the end of a leg: x (1, 4, y, x) and its noise."""

    users: tuple[int, ...]
    leg: Leg
    step: Step


def tree(tasks: Sequence[Task]) -> list[Node]:
    """All legs of all tasks, each once; a parent comes before its children."""
    nodes: list[Node] = []
    places: dict[tuple[object, ...], int] = {}
    for index, task in enumerate(tasks):
        place = -1
        for leg in task.plan.legs:
            # Sources and conditions are told apart by being the same object: equal ones are shared
            # by whoever makes the tasks, which hold them, so that no id is used twice.
            key = (place, leg, id(task.source), id(task.to))
            if key not in places:
                places[key] = len(nodes)
                nodes.append(Node(place, leg, task, []))
            place = places[key]
            nodes[place].users.append(index)
    return nodes


def cost(nodes: Sequence[Node]) -> tuple[int, int]:
    """UNet rows and steps of the denoiser that a tree takes."""
    return sum(len(n.leg.reads) for n in nodes), sum(n.leg.kind == "call" for n in nodes)


def run(
    unet: Denoiser, nodes: Sequence[Node], v: bool = False, most: int = 0,
    alone: Alone | None = None,
) -> Iterator[list[Reached]]:  # fmt: skip
    """Take all legs of a tree, batching steps up to most UNet rows a call (0: each step alone)."""
    children: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        if node.parent >= 0:
            children[node.parent].append(i)
    left = [len(legs) for legs in children]
    steps: dict[int, Step] = {}  # only those that legs yet to be taken start from
    free: list[int] = []
    calls: list[tuple[int, int]] = []  # a heap: those that have the longest way to go come first
    _queue(nodes, [i for i, node in enumerate(nodes) if node.parent < 0], free, calls)
    while batch := free or _batch(nodes, calls, most):
        legs = [nodes[i] for i in batch]
        done = _taken(unet, legs, [_start(leg, steps) for leg in legs], v, alone)
        steps |= {i: step for i, step in zip(batch, done, strict=True) if children[i]}
        for i in batch:
            _release(nodes[i].parent, left, steps)
        free = []
        _queue(nodes, [child for i in batch for child in children[i]], free, calls)
        yield [Reached(tuple(n.users), n.leg, s) for n, s in zip(legs, done, strict=True)]


def _queue(
    nodes: Sequence[Node], new: Sequence[int], free: list[int], calls: list[tuple[int, int]]
) -> None:
    """Put legs that may be taken where run takes them from."""
    for i in new:
        if nodes[i].leg.kind == "call":
            heappush(calls, (nodes[i].leg.start - nodes[i].task.plan.n, i))
        else:
            free.append(i)


def _batch(nodes: Sequence[Node], calls: list[tuple[int, int]], most: int) -> list[int]:
    """Take the first call off the heap, and those of its shape that fit into a call with it."""
    batch: list[int] = []
    others: list[tuple[int, int]] = []
    rows = 0
    while calls and (not batch or rows < most):
        one = heappop(calls)
        node, first = nodes[one[1]], nodes[batch[0] if batch else one[1]]
        more = rows + len(node.leg.reads)
        if batch and (_shape(node) != _shape(first) or more > most):
            others.append(one)
        else:
            batch.append(one[1])
            rows = more
    for one in others:
        heappush(calls, one)
    return batch


def _shape(node: Node) -> torch.Size:
    return node.task.source.x.shape[2:]


def _taken(
    unet: Denoiser, nodes: Sequence[Node], starts: Sequence[Tensor], v: bool, alone: Alone | None
) -> list[Step]:
    first = nodes[0]
    if first.leg.kind != "call":
        return [_free(node, x) for node, x in zip(nodes, starts, strict=True)]
    if alone and len(nodes) == 1:
        step = alone(first.task, first.leg.start, first.leg.reads, starts[0], v)
        if step is not None:
            return [step]
    return _calls(unet, nodes, starts, v)


def _start(node: Node, steps: dict[int, Step]) -> Tensor:
    return node.task.source.x[0] if node.parent < 0 else steps[node.parent].x


def _release(parent: int, left: list[int], steps: dict[int, Step]) -> None:
    """Forget a step that no leg starts from any more."""
    if parent >= 0:
        left[parent] -= 1
        if not left[parent]:
            del steps[parent]


def _free(node: Node, x: Tensor) -> Step:
    """Where a leg without a call leads: to the source, as far from it as its rows scale, along."""
    (grid, _, source, weights, _), leg = node.task, node.leg
    if leg.kind == "along":
        return _along(node, x)
    reached, apart = source.x[leg.stop], x - source.x[leg.start]
    for i in range(leg.start, leg.stop) if leg.kind == "carry" else ():
        keep = (grid.b[i] / grid.a[i]).sqrt() if grid.a[i] > 0 else 0.0
        apart = keep * (1 - weights.x[i].to(x)) * apart  # DDIM along one noise, then MDP-x
    x = reached + apart if leg.kind == "carry" else reached.clone()  # never the source's own memory
    return Step(x, source.eps[leg.stop - 1])


def _along(node: Node, x: Tensor) -> Step:
    """DDIM along the source's noise, which does not lead along the source, then MDP-x."""
    (grid, _, source, weights, _), leg = node.task, node.leg
    for i in range(leg.start, leg.stop):
        onward = source.x[i + 1]  # at a = 0 it is all that the noise does not say
        moved = ddim(x, source.eps[i], grid.a[i], grid.b[i]) if grid.a[i] > 0 else onward
        x = lerp(moved, onward, weights.x[i].to(x))
    return Step(x, source.eps[leg.stop - 1])


def _calls(unet: Denoiser, nodes: Sequence[Node], starts: Sequence[Tensor], v: bool) -> list[Step]:
    """One step each of several edits, in one call of the denoiser."""
    legs = [(node.task, node.leg.start, node.leg.reads) for node in nodes]
    asks = [asking(*leg, x) for leg, x in zip(legs, starts, strict=True)]
    sizes = [len(x) for x, _ in asks]
    times = [task.grid.t[i] for task, i, _ in legs]
    same = all(t == times[0] for t in times)  # one timestep is embedded once
    counts = torch.tensor(sizes, device=times[0].device)
    t = times[0] if same else torch.stack(times).repeat_interleave(counts)
    x, c = (torch.cat(rows) for rows in zip(*asks, strict=True))
    out = unet(x, t.to(x.device), c).split(sizes)
    return [answered(*leg, x, e, v) for leg, x, e in zip(legs, starts, out, strict=True)]


def asking(task: Task, i: Row, reads: Reads, x: Tensor) -> tuple[Tensor, Tensor]:
    """What step i asks of the denoiser at x: a latent and a condition for each of its rows."""
    to, source = task.to.at(i), task.source
    mixed = lerp(to.c, source.c, row(task.weights.c, i).to(to.c))  # MDP-c
    conditions = {"null": to.null, "c": mixed, "source": source.c}
    return asked(x, *(conditions[name] for name in reads))


def answered(task: Task, i: Row, reads: Reads, x: Tensor, out: Tensor, v: bool) -> Step:
    """Where step i leads from x by the denoiser's rows."""
    grid, to, source, weights, _ = task
    w = weights_row(weights, i, x)
    beta = w.beta if {"c", "source"} <= set(reads) else None
    e = guide(out.to(x.dtype), "null" in reads, to.g, beta, to.q)
    return update(e, x, levels(grid, i), source_row(source, grid, i), w, v)
