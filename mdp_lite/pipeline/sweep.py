"""Sweeps: many settings of an edit at once, what they have in common computed once.

Every combination is a cell. All cells are one tree of steps: equal beginnings are one branch, equal
cells one leaf, and steps of different branches go through the UNet together.
"""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.engine.estimate import walked
from mdp_lite.method.execute import Alone, Node, Task, cost, run, tree
from mdp_lite.method.mdp import Denoiser, Step
from mdp_lite.models.config import UNetConfig
from mdp_lite.pipeline import check
from mdp_lite.pipeline.progress import Standing
from mdp_lite.pipeline.request import Prompt, Request
from mdp_lite.pipeline.result import Cost, Edit, Source
from mdp_lite.pipeline.runner import Codec
from mdp_lite.pipeline.sources import OnStep

Result = Callable[[Standing, Image.Image], Edit]  # of an edit that is done, and its picture
Window = tuple[float | None, float | None]  # t_max, t_m in steps; None is the model's

BUDGET = 2 * 2**30  # bytes that the activations of one call may take
MOST = 64  # rows of a call beyond which no device gains
UNET_MAPS, VAE_MAPS = 32, 16  # most activations of a row, in feature maps of the first level


@dataclass(frozen=True)
class Sweep:
    """The cells of a sweep, what each became, and what all cost; naive walks each step of each."""

    cells: tuple[Request, ...]
    edits: tuple[Edit, ...]
    cost: Cost
    naive: Cost
    seconds: float


def cells(
    sources: Source | Iterable[Source],
    prompts: str | Iterable[Prompt],
    variants: str | Iterable[str | None] | None,
    windows: Iterable[Window],
    schedules: str | Iterable[str | None] | None,
    guidance_scales: float | Iterable[float | None] | None,
) -> list[Request]:
    """All combinations; the last setting changes fastest. A setting alone needs no list."""
    names = ("sources", "prompts", "variants", "windows", "schedules", "guidance_scales")
    axes = (sources, prompts, variants, windows, schedules, guidance_scales)
    listed = [_listed(name, axis) for name, axis in zip(names, axes, strict=True)]
    return [
        Request(source, prompt, variant, t_max, t_m, schedule, guidance_scale=g)
        for source, prompt, variant, (t_max, t_m), schedule, g in itertools.product(*listed)
    ]


def sweep(
    codec: Codec, asked: Sequence[Request], tasks: Sequence[Task], result: Result,
    most: int | None, on_step: OnStep | None,
) -> Sweep:  # fmt: skip
    """Edit every cell; most is as in Editor.edits, None as many rows as BUDGET has room for."""
    started, engine = time.monotonic(), codec.engine
    if most is not None and check.whole("rows of a call", most) < 0:
        raise ValueError(f"rows of a call must be 0 or more, got {most}")
    if most is None:
        most = min(
            room(codec.models.unet.config, task.source.x.shape, task.to.c.element_size())
            for task in tasks
        )
    last, spent = finished(codec.unet, tree(tasks), codec.v, most, on_step, engine.alone)
    at = [
        Standing(one, task, task.plan.n, *last[i])
        for i, (one, task) in enumerate(zip(asked, tasks, strict=True))
    ]
    pictures = decoded(codec, [one.x for one in at], alone=most == 0)
    edits = [result(one, picture) for one, picture in zip(at, pictures, strict=True)]
    plans = [walked(task.weights, task.to.null is not None) for task in tasks]
    naive = Cost(sum(one.unet_rows for one in plans), sum(one.unet_calls for one in plans))
    return Sweep(tuple(asked), tuple(edits), spent, naive, time.monotonic() - started)


@torch.no_grad()
def finished(
    unet: Denoiser, nodes: Sequence[Node], v: bool, most: int, on_step: OnStep | None = None,
    alone: Alone | None = None,
) -> tuple[dict[int, Step], Cost]:  # fmt: skip
    """The last step of each task of a tree, and what was spent on all of them."""
    last: dict[int, Step] = {}
    total, done, calls = sum(node.leg.stop - node.leg.start for node in nodes), 0, 0
    for reached in run(unet, nodes, v, most, alone):
        for users, leg, step in reached:
            last |= dict.fromkeys(users, step)
            done += leg.stop - leg.start
        calls += reached[0].leg.kind == "call"  # a tick is calls or free legs, never both
        if on_step:
            on_step(done, total, reached[-1].step.x)
    return last, Cost(cost(nodes)[0], calls)


def decoded(codec: Codec, latents: Sequence[Tensor], alone: bool) -> list[Image.Image]:
    """The pictures of latents (1, 4, y, x), each alone or many in a call; equal ones once."""
    unique = {id(latent): latent for latent in latents}  # equal cells have the same tensor
    pictures: dict[int, Image.Image] = {}
    for shape in dict.fromkeys(latent.shape for latent in latents):
        alike = {key: latent for key, latent in unique.items() if latent.shape == shape}
        parts = torch.cat(list(alike.values())).split(
            1 if alone else room_for_pictures(codec, shape)
        )
        made = [picture for part in parts for picture in codec.pictures(part)]
        pictures |= dict(zip(alike, made, strict=True))
    return [pictures[id(latent)] for latent in latents]


def room(config: UNetConfig, shape: Sequence[int], size: int) -> int:
    """UNet rows of latents (..., y, x), size bytes a number, that BUDGET has room for."""
    return _room(UNET_MAPS * config.block_out_channels[0] * size, shape)


def room_for_pictures(codec: Codec, shape: Sequence[int]) -> int:
    """Latents (..., y, x) that BUDGET has room for in the VAE."""
    vae = codec.models.vae
    cell = codec.factor**2 * VAE_MAPS * vae.config.block_out_channels[0]
    return _room(cell * next(vae.parameters()).element_size(), shape)


def _room(cell: int, shape: Sequence[int]) -> int:
    """How many latents are within BUDGET, from 1 to MOST, if a cell of one takes so many bytes."""
    return max(1, min(MOST, BUDGET // (cell * shape[-2] * shape[-1])))


def _listed(name: str, axis: Any) -> list[Any]:
    if axis is None or isinstance(axis, Source | str | float | int):
        return [axis]
    values = list(axis)
    if not values:
        raise ValueError(f"{name} must have at least one entry, got none")
    return values
