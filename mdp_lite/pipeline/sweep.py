"""Sweeps: many settings of an edit at once, with equal work done once.

Every combination of settings is a cell. The plans of all cells form one prefix tree: equal
beginnings are computed once, equal cells share their end, and steps of different branches go
through the UNet together.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.method.execute import (
    EditTask,
    SingleStep,
    TreeNode,
    build_tree,
    execute,
    tree_cost,
)
from mdp_lite.method.mdp import Denoiser, Step
from mdp_lite.method.plan import naive_plan
from mdp_lite.models.config import UNetConfig
from mdp_lite.names import BadInput
from mdp_lite.pipeline import check
from mdp_lite.pipeline.progress import EditState
from mdp_lite.pipeline.request import Prompt, Request
from mdp_lite.pipeline.result import Cost, Edit, Source
from mdp_lite.pipeline.runner import ModelRunner
from mdp_lite.pipeline.sources import OnStep
from mdp_lite.pipeline.xl import XLCondition

BuildEdit = Callable[[EditState, Image.Image], Edit]  # of a finished edit and its picture
Window = tuple[float | None, float | None]  # t_max, t_m in steps; None is the default

MEMORY_BUDGET = 2 * 2**30  # bytes that the activations of one call may take
MAX_ROWS = 64  # rows of a call; more rows make no device faster
UNET_MAPS, VAE_MAPS = 32, 16  # peak activations of a row, in feature maps of the first level


@dataclass(frozen=True)
class Sweep:
    """The cells of a sweep, their edits and the cost; naive is that of each step of each cell.

    >>> sweep = editor.sweep(source, "a blue house", variants=["epsilon", "x"], windows=[(4, 2)])
    >>> len(sweep.edits), sweep.cost.unet_rows, sweep.naive.unet_rows
    (2, 4, 16)
    """

    cells: tuple[Request, ...]
    edits: tuple[Edit, ...]
    cost: Cost
    naive: Cost
    seconds: float


def build_cells(
    sources: Source | Iterable[Source],
    prompts: str | Iterable[Prompt],
    variants: str | Iterable[str | None] | None,
    windows: Iterable[Window],
    schedules: str | Iterable[str | None] | None,
    guidance_scales: float | Iterable[float | None] | None,
    xl: XLCondition | None = None,
    guidance_every: int = 1,
) -> list[Request]:
    """All combinations; the last setting changes fastest. A single value needs no list."""
    names = ("sources", "prompts", "variants", "windows", "schedules", "guidance_scales")
    axes = (sources, prompts, variants, windows, schedules, guidance_scales)
    lists = [_to_list(name, axis) for name, axis in zip(names, axes, strict=True)]
    for one in lists[names.index("windows")]:
        if not isinstance(one, Sequence) or isinstance(one, str) or len(one) != 2:
            raise BadInput(f"windows must be pairs (t_max, t_m), got {one!r:.80}")
    return [
        Request(
            source, prompt, variant, t_max, t_m, schedule, guidance_scale=g, xl=xl,
            guidance_every=guidance_every,
        )
        for source, prompt, variant, (t_max, t_m), schedule, g in itertools.product(*lists)
    ]  # fmt: skip


def check_run(max_rows: int | None, on_step: OnStep | None) -> None:
    """Raise BadInput for what run_sweep can't use."""
    check.callback("on_step", on_step)
    if max_rows is not None:
        check.max_rows(max_rows)


def run_sweep(
    runner: ModelRunner, requests: Sequence[Request], tasks: Sequence[EditTask],
    build_edit: BuildEdit, max_rows: int | None, on_step: OnStep | None,
) -> Sweep:  # fmt: skip
    """Edit every cell; max_rows as in Editor.edits, or None: what MEMORY_BUDGET allows."""
    started, engine = time.monotonic(), runner.engine
    if max_rows is None:
        max_rows = min(
            rows_in_budget(
                runner.models.unet.config, task.source.x.shape, task.guidance.c.element_size()
            )
            for task in tasks
        )
    nodes = build_tree(tasks)
    ends, cost = run_to_end(
        runner.unet, nodes, runner.v_prediction, max_rows, on_step, engine.single_step
    )
    states = [
        EditState(request, task, task.plan.n, ends[i].x, ends[i].eps)
        for i, (request, task) in enumerate(zip(requests, tasks, strict=True))
    ]
    pictures = decode_unique(runner, [one.x for one in states], batched=max_rows > 0)
    edits = [build_edit(one, picture) for one, picture in zip(states, pictures, strict=True)]
    plans = [naive_plan(task.weights, task.guidance.null is not None) for task in tasks]
    naive = Cost(sum(one.unet_rows for one in plans), sum(one.unet_calls for one in plans))
    return Sweep(tuple(requests), tuple(edits), cost, naive, time.monotonic() - started)


def run_to_end(
    unet: Denoiser, nodes: Sequence[TreeNode], v_prediction: bool, max_rows: int,
    on_step: OnStep | None = None, single_step: SingleStep | None = None,
) -> tuple[dict[int, Step], Cost]:  # fmt: skip
    """The last step of each task of a tree, and the cost of all of them."""
    ends: dict[int, Step] = {}
    total, done, calls = sum(node.segment.stop - node.segment.start for node in nodes), 0, 0
    for batch in execute(unet, nodes, v_prediction, max_rows, single_step):
        for users, segment, step in batch:
            ends |= dict.fromkeys(users, step)
            done += segment.stop - segment.start
        calls += batch[0].segment.kind == "call"  # a round is UNet calls or not, never both
        if on_step:
            on_step(done, total, batch[-1].step.x)
    return ends, Cost(tree_cost(nodes)[0], calls)


def decode_unique(
    runner: ModelRunner, latents: Sequence[Tensor], batched: bool
) -> list[Image.Image]:
    """The pictures of latents (1, 4, y, x), one or many in a call; equal ones are decoded once."""
    unique = {id(latent): latent for latent in latents}  # equal cells have the same tensor
    pictures: dict[int, Image.Image] = {}
    for shape in dict.fromkeys(latent.shape for latent in latents):
        alike = {key: latent for key, latent in unique.items() if latent.shape == shape}
        size = pictures_in_budget(runner, shape) if batched else 1
        parts = torch.cat(list(alike.values())).split(size)
        decoded = [picture for part in parts for picture in runner.decode_batch(part)]
        pictures |= dict(zip(alike, decoded, strict=True))
    return [pictures[id(latent)] for latent in latents]


def rows_in_budget(config: UNetConfig, shape: Sequence[int], size: int) -> int:
    """UNet rows of latents (..., y, x), size bytes a number, that MEMORY_BUDGET allows."""
    return _count_in_budget(UNET_MAPS * config.block_out_channels[0] * size, shape)


def pictures_in_budget(runner: ModelRunner, shape: Sequence[int]) -> int:
    """Latents (..., y, x) that MEMORY_BUDGET allows in one call of the VAE."""
    vae = runner.models.vae
    cell = runner.factor**2 * VAE_MAPS * vae.config.block_out_channels[0]
    return _count_in_budget(cell * next(vae.parameters()).element_size(), shape)


def _count_in_budget(cell: int, shape: Sequence[int]) -> int:
    """How many latents fit, from 1 to MAX_ROWS, if a cell of one takes so many bytes."""
    return max(1, min(MAX_ROWS, MEMORY_BUDGET // (cell * shape[-2] * shape[-1])))


def _to_list(name: str, axis: Any) -> list[Any]:
    if axis is None or isinstance(axis, Source | str | float | int):
        return [axis]
    values = check.several(name, axis)
    if not values:
        raise BadInput(f"{name} must have at least one entry, got none", name)
    return values
