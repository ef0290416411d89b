"""Edits step by step: after each the caller may look, stop or go on, or time may be up."""

import time
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, lerp

from mdp_lite.method.execute import Alone, Task, run, tree
from mdp_lite.method.mdp import Denoiser
from mdp_lite.method.sample import headed, source_row
from mdp_lite.pipeline.request import Request


class Standing(NamedTuple):
    """Where an edit is: at a row of its path, with the latent x (1, 4, y, x) and its noise eps."""

    asked: Request
    task: Task
    row: int
    x: Tensor
    eps: Tensor

    @property
    def finished(self) -> bool:
        """Whether it has gone all its path."""
        return self.row == self.task.plan.n

    @property
    def x0(self) -> Tensor:
        """The clean latent that it heads for: predicted, until at the end it is x itself."""
        if self.finished:
            return self.x
        (grid, _, source, weights, _), i = self.task, self.row - 1
        if self.row == 0:
            return source_row(source, grid, 0).x0
        # Where MDP-x mixed x with the source's, the noise in it is the same mixture.
        eps = lerp(self.eps, source.eps[i], weights.x[i].to(self.x))
        return headed(source, grid, i, self.x, eps)


class Progress(NamedTuple):
    """After a tick of the loop: steps done and in all, which edits it moved, where each edit is.

    Steps that edits have in common are one. Whoever keeps it keeps the latents.
    """

    done: int
    total: int
    moved: tuple[int, ...]
    at: tuple[Standing, ...]


Steps = Generator[Progress, None, None]


@torch.no_grad()
def walked(
    unet: Denoiser, requests: Sequence[Request], tasks: Sequence[Task], v: bool, most: int,
    alone: Alone | None = None,
) -> Steps:  # fmt: skip
    """Run edits together, yielding after every tick; closing the generator frees all it made."""
    nodes = tree(tasks)
    at = [
        Standing(asked, task, 0, task.source.x[0], task.source.eps[0])
        for asked, task in zip(requests, tasks, strict=True)
    ]
    total, done = sum(node.leg.stop - node.leg.start for node in nodes), 0
    for reached in run(unet, nodes, v, most, alone):
        done += sum(one.leg.stop - one.leg.start for one in reached)
        for users, leg, step in reached:
            for i in users:
                at[i] = at[i]._replace(row=leg.stop, x=step.x, eps=step.eps)
        moved = tuple(i for one in reached for i in one.users)
        yield Progress(done, total, moved, tuple(at))


def until(end: float, steps: Steps, ending: Callable[[Progress], float]) -> Steps:
    """Steps while there is time: to the monotonic clock's end, less the seconds an ending takes."""
    for progress in steps:
        yield progress
        if time.monotonic() + ending(progress) >= end:
            return  # between two ticks: the one that was begun before the end is the last
