"""Tasks for rivals on generated and inverted pictures."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

from mdp_lite.editor import Editor
from mdp_lite.eval.rivals.task import RivalTask
from mdp_lite.method.mdp import Guidance
from mdp_lite.method.sample import Trajectory
from mdp_lite.pipeline.result import Source
from support.inverting import G, N, picture

SOURCE, TARGET = "a red house", "a blue boat"
T = TypeVar("T")


def join_paths(sources: Iterable[Source]) -> Trajectory:
    """One path of several sources."""
    paths = [source.path for source in sources]
    x, eps = (torch.cat([getattr(p, name) for p in paths], 1) for name in ("x", "eps"))
    noise = [p.noise for p in paths if p.noise is not None]
    c = torch.cat([p.c for p in paths])
    return Trajectory(x, eps, c, noise=torch.cat(noise, 1) if noise else None)


def build_task(
    editor: Editor, prompts: list[str], targets: list[str], method: str = ""
) -> RivalTask:
    """Edits of generated pictures, or of pictures inverted by a method."""
    if method:
        pictures = [picture(seed) for seed in range(len(prompts))]
        sources = editor.inverts(pictures, prompts, method, N, G)
    else:
        sources = [editor.generate(p, seed, N, G) for seed, p in enumerate(prompts)]
    c = torch.cat([editor.runner.condition(target) for target in targets])
    guidance = Guidance(c, editor.runner.condition(""), torch.tensor(G))
    unet, path = editor.models.unet, join_paths(sources)
    return RivalTask(unet, sources[0].grid, path, guidance, editor.runner.v_prediction)


def build_single_task(editor: Editor, target: str = TARGET, method: str = "") -> RivalTask:
    """One edit from SOURCE to the target."""
    return build_task(editor, [SOURCE], [target], method)


@torch.no_grad()
def run(rival: Callable[[RivalTask], T], task: RivalTask) -> T:
    """The result of a rival, computed without gradients."""
    return rival(task)
