"""Running plans: one edit, or many at once that share what they have in common.

Plans that begin alike are one tree of legs. Every tick of the loop takes all free legs (no call) or
one batch of calls, and yields what it reached; between ticks the caller may stop, look or wait.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, lerp

from mdp_lite.mdp import Denoiser, Step, asked, guide, update
from mdp_lite.plan import Leg, Plan
from mdp_lite.sample import Conditions, Path, levels, source_row
from mdp_lite.schedule import Grid, Weights


class Task(NamedTuple):
    """One edit: from the source's noise x_A,0 along a plan of its table, towards a condition."""

    grid: Grid
    to: Conditions
    source: Path
    weights: Weights
    plan: Plan


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
            # by whoever makes the tasks.
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
    unet: Denoiser, nodes: Sequence[Node], v: bool = False, most: int = 0
) -> Iterator[list[Reached]]:
    """Take all legs of a tree, batching steps up to most UNet rows a call (0: each step alone)."""
    left = [sum(other.parent == i for other in nodes) for i in range(len(nodes))]
    steps: dict[int, Step] = {}
    ready = [i for i, node in enumerate(nodes) if node.parent < 0]
    while ready:
        batch = _batch(nodes, ready, most)
        starts = [_start(nodes[i], steps) for i in batch]
        if nodes[batch[0]].leg.kind == "call":
            done = _calls(unet, [nodes[i] for i in batch], starts, v)
        else:
            done = [_free(nodes[i], x) for i, x in zip(batch, starts, strict=True)]
        steps |= dict(zip(batch, done, strict=True))
        for i in batch:
            _release(nodes[i].parent, left, steps)
        yield [Reached(tuple(nodes[i].users), nodes[i].leg, steps[i]) for i in batch]
        ready = [i for i in ready if i not in batch]
        ready += [i for i, node in enumerate(nodes) if node.parent in batch]


def _batch(nodes: Sequence[Node], ready: list[int], most: int) -> list[int]:
    """All free legs, or else calls of one shape: those that have the longest way to go first."""
    free = [i for i in ready if nodes[i].leg.kind != "call"]
    if free:
        return free
    order = sorted(ready, key=lambda i: nodes[i].leg.start - nodes[i].task.plan.n)
    batch, rows = [], 0
    shape = nodes[order[0]].task.source.x.shape[1:]
    for i in order:
        rows += len(nodes[i].leg.reads)
        if batch and (rows > most or nodes[i].task.source.x.shape[1:] != shape):
            break
        batch.append(i)
    return batch


def _start(node: Node, steps: dict[int, Step]) -> Tensor:
    return node.task.source.x[0] if node.parent < 0 else steps[node.parent].x


def _release(parent: int, left: list[int], steps: dict[int, Step]) -> None:
    """Forget a step that no leg starts from any more."""
    if parent >= 0:
        left[parent] -= 1
        if not left[parent]:
            del steps[parent]


def _free(node: Node, x: Tensor) -> Step:
    """Where a leg without a call leads: to the source, or as far from it as its rows scale."""
    (grid, _, source, weights, _), leg = node.task, node.leg
    reached, apart = source.x[leg.stop], x - source.x[leg.start]
    for i in range(leg.start, leg.stop) if leg.kind == "carry" else ():
        keep = (grid.b[i] / grid.a[i]).sqrt() if grid.a[i] > 0 else 0.0
        apart = keep * (1 - weights.x[i].to(x)) * apart  # DDIM along one noise, then MDP-x
    x = reached + apart if leg.kind == "carry" else reached
    return Step(x, source.eps[leg.stop - 1])


def _calls(unet: Denoiser, nodes: Sequence[Node], starts: Sequence[Tensor], v: bool) -> list[Step]:
    """One step each of several edits, in one call of the denoiser."""
    asks = [_asks(node, x) for node, x in zip(nodes, starts, strict=True)]
    sizes = [len(x) for x, _ in asks]
    times = [node.task.grid.t[node.leg.start] for node in nodes]
    same = all(t == times[0] for t in times)  # one timestep is embedded once
    t = times[0] if same else torch.stack(times).repeat_interleave(torch.tensor(sizes))
    x, c = (torch.cat(rows) for rows in zip(*asks, strict=True))
    out = unet(x, t.to(x.device), c).split(sizes)
    return [_step(*all, v) for all in zip(nodes, starts, out, strict=True)]


def _asks(node: Node, x: Tensor) -> tuple[Tensor, Tensor]:
    to, source, w = node.task.to, node.task.source, node.task.weights
    mixed = lerp(to.c, source.c, w.c[node.leg.start].to(to.c))  # MDP-c
    conditions = {"null": to.null, "c": mixed, "source": source.c}
    return asked(x, *(conditions[name] for name in node.leg.reads))


def _step(node: Node, x: Tensor, out: Tensor, v: bool) -> Step:
    (grid, to, source, weights, _), reads, i = node.task, node.leg.reads, node.leg.start
    w = Weights(*(column[i].to(x) for column in weights))
    beta = w.beta if {"c", "source"} <= set(reads) else None
    e = guide(out.to(x.dtype), "null" in reads, to.g, beta)
    return update(e, x, levels(grid, i), source_row(source, grid, i), w, v)
