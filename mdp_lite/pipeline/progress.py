"""Edits step by step: after each step the caller may look, stop or go on."""

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from torch import Tensor

from mdp_lite.method.execute import EditTask, SingleStep, build_tree, execute
from mdp_lite.method.mdp import Denoiser
from mdp_lite.method.sample import find_x0, source_step
from mdp_lite.pipeline.request import Request


class EditState(NamedTuple):
    """Where an edit is after `step` of its steps: the latent x (1, 4, y, x) and its noise eps.

    >>> *_, last = editor.steps([Request(source, "a blue house")])
    >>> last.states[0].step, last.states[0].finished
    (4, True)
    """

    request: Request
    task: EditTask
    step: int
    x: Tensor
    eps: Tensor

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step == self.task.plan.n

    @property
    def x0(self) -> Tensor:
        """The clean latent that the edit heads for: a prediction, and x itself at the end."""
        if self.finished:
            return self.x
        grid, source, i = self.task.grid, self.task.source, self.step - 1
        if self.step == 0:
            return source_step(source, grid, 0).x0
        return find_x0(source, grid, i, self.x, self.eps)


class Progress(NamedTuple):
    """Steps done and in all, the indices of the edits that moved, and where every edit is.

    A step that several edits share counts once. Keeping a Progress keeps its latents in memory.

    >>> requests = [Request(source, "a blue house"), Request(source, "a red tent")]
    >>> [progress.done for progress in editor.steps(requests)][-1]
    8
    """

    done: int
    total: int
    moved: tuple[int, ...]
    states: tuple[EditState, ...]


EditSteps = Generator[Progress, None, None]


def run_edits(
    unet: Denoiser, requests: Sequence[Request], tasks: Sequence[EditTask], v_prediction: bool,
    max_rows: int, single_step: SingleStep | None = None,
    stop: Callable[[Progress], bool] = lambda progress: False,
) -> EditSteps:  # fmt: skip
    """Run edits together and yield after every round, until all are done or stop says so.

    Closing the generator frees everything that it holds.
    """
    nodes = build_tree(tasks)
    pairs = zip(requests, tasks, strict=True)
    states = [EditState(*pair, 0, pair[1].source.x[0], pair[1].source.eps[0]) for pair in pairs]
    total, done = sum(node.segment.stop - node.segment.start for node in nodes), 0
    for ends in execute(unet, nodes, v_prediction, max_rows, single_step):
        done += sum(end.segment.stop - end.segment.start for end in ends)
        for users, segment, step in ends:
            for i in users:
                states[i] = states[i]._replace(step=segment.stop, x=step.x, eps=step.eps)
        moved = tuple(i for end in ends for i in end.users)
        progress = Progress(done, total, moved, tuple(states))
        yield progress
        if stop(progress):
            return
