"""Random edits to compile: grids, tables with runs of whole weights and maps, sources, targets."""

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from mdp_lite.method.execute import Task, run, tree
from mdp_lite.method.inversion import invert, noise_maps, noised, observed, replay
from mdp_lite.method.mdp import Denoiser
from mdp_lite.method.plan import Known, plan
from mdp_lite.method.sample import Conditions, Path, record, walk
from mdp_lite.method.schedule import Grid, Weights, ddim_grid
from mdp_lite.models.config import SchedulerConfig
from support.toy import C_A, C_B, NULL, random


class Made(NamedTuple):
    """Edits of one source, what is known of them, and whether the model predicts v."""

    tasks: list[Task]
    v: bool


def grids(prediction: str, most: int) -> st.SearchStrategy[Grid]:
    """Grids of up to so many steps, of every spacing, offset and end; v with zero SNR or not."""
    return st.builds(
        lambda n, spacing, offset, to_one, snr: ddim_grid(
            SchedulerConfig(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                prediction_type=prediction,
                timestep_spacing=spacing,
                rescale_betas_zero_snr=snr and prediction != "epsilon",
                steps_offset=offset,
                set_alpha_to_one=to_one,
            ),
            n,
        ),
        st.integers(1, most),
        st.sampled_from(["leading", "trailing", "linspace"]),
        st.integers(0, 1),
        st.booleans(),
        st.booleans(),
    )


@st.composite
def columns(draw: st.DrawFn, n: int, shapes: tuple[tuple[int, ...], ...]) -> Tensor:
    """Weights (n,) or maps (n, ...) in runs of 0, 1, nearly 1 and fractions."""
    value = st.sampled_from([0.0, 0.0, 1.0, 1.0, 1 - 1e-12, 0.25]) | st.floats(0, 1)
    rows: list[float] = []
    while len(rows) < n:
        rows += [draw(value)] * draw(st.integers(1, n))
    column = torch.tensor(rows[:n], dtype=torch.float64)
    shape = draw(st.sampled_from([(), (), *shapes]))
    if not shape:
        return column
    low = torch.rand(shape, generator=torch.Generator().manual_seed(n)).double().round(decimals=1)
    maps = column.reshape(n, *(1,) * len(shape)).expand(n, *shape).clone()
    spread = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    for i in (i for i in range(n) if spread[i]):
        maps[i] *= low > 0.5 if draw(st.booleans()) else low
    return maps


def tables(n: int, x: Tensor) -> st.SearchStrategy[Weights]:
    """Tables of n rows for latents like x (b, 4, y, x)."""
    _, c, height, width = x.shape
    maps = ((1, 1, height, width), (1, c, 1, 1), (1, 1, height, 1))
    return st.builds(Weights, columns(n, ()), columns(n, maps), columns(n, maps), columns(n, maps))


def conditions(c: Tensor, g: float) -> Conditions:
    return Conditions(c, None if g == 1 else NULL, torch.tensor(g))


def source(
    unet: Denoiser, grid: Grid, x: Tensor, under: Conditions, sampled: bool, v: bool
) -> Path:
    """A path sampled from the noise x, or found by inverting x as a picture."""
    if sampled:
        return record(x, list(walk(unet, grid, x, under, v=v)), under.c)
    return replay(x, list(invert(unet, grid, x, under, v)), under.c)


KINDS = ("sampled", "inverted", "tuned", "direct", "noisy")


def nulls(n: int) -> Tensor:
    """A null row (n, 1, l, d) of its own for every step."""
    return NULL + 0.3 * random(12, n, *NULL.shape)


def source_of(kind: str, unet: Denoiser, grid: Grid, x: Tensor, under: Conditions, v: bool) -> Path:
    """A path of every kind: tuned has null rows of its own, noisy goes by DDPM.

    The noise of direct does not lead along it; from noise alone nothing would.
    """
    if kind == "tuned":
        under = under if under.null is None else under._replace(null=nulls(len(grid.t)))
        return source(unet, grid, x, under, True, v)._replace(null=under.null)
    if kind == "direct":
        pivots = source(unet, grid, x, under.alone._replace(null=None), False, v).x
        return record(pivots[0], list(observed(unet, grid, pivots, under, v)), under.c)
    if kind == "noisy":
        pivots = noised(grid, x, random(13, len(grid.t), *x.shape))
        steps, maps = zip(*noise_maps(unet, grid, pivots, under, v), strict=True)
        return record(pivots[0], list(steps), under.c)._replace(noise=torch.stack(maps))
    return source(unet, grid, x, under, kind == "sampled", v)


@st.composite
def edits(
    draw: st.DrawFn, unet: Denoiser, x: Tensor, most: int, count: int, prediction: str,
    kind: str | None = None,
) -> Made:  # fmt: skip
    """Up to count edits of one source, which say of it and them what is true."""
    on, v = draw(grids(prediction, most)), prediction != "epsilon"
    kind = draw(st.sampled_from(KINDS)) if kind is None else kind
    kind = "inverted" if kind == "direct" and on.a[0] == 0 else kind
    g, target_g = draw(st.sampled_from([1.0, 7.5])), draw(st.sampled_from([1.0, 7.5]))
    path = source_of(kind, unet, on, x, conditions(draw(st.sampled_from([C_A, NULL])), g), v)
    tasks = []
    for c in draw(st.lists(st.sampled_from([C_B, C_B, C_A, NULL]), min_size=1, max_size=count)):
        to, weights = conditions(c, target_g), draw(tables(len(on.t), x))
        tuned = path.null is not None and to.null is not None and draw(st.booleans())
        proximal = to.null is not None and draw(st.integers(0, 2)) == 0
        to = to._replace(null=path.null) if tuned else to
        to = to._replace(q=torch.tensor(0.7).double()) if proximal else to
        known = known_of(kind, path, to, g == target_g)
        tasks.append(Task(on, to, path, weights, plan(weights, on, known)))
    return Made(tasks, v)


def known_of(kind: str, path: Path, to: Conditions, alike: bool) -> Known:
    """What is true of an edit under other or the same guidance as its source."""
    guided, tuned = to.null is not None, to.null is path.null
    return Known(
        guided=guided,
        same=to.c is path.c,
        own=kind in ("sampled", "tuned", "noisy")
        and alike
        and to.q is None
        and (not guided or tuned or path.null is None),
        null_is_c=guided and to.c is to.null,
        null_is_source=guided and path.c is to.null,
        exact=kind != "direct",
    )


def naive(unet: Denoiser, task: Task, v: bool) -> Tensor:
    """Where all N steps lead, every one a call."""
    steps = walk(unet, task.grid, task.source.x[0], task.to, task.source, task.weights, v)
    return list(steps)[-1].x


def reached(unet: Denoiser, tasks: list[Task], v: bool, most: int = 0) -> list[Tensor]:
    """Where the plans of tasks lead, run as one tree."""
    last: dict[int, Tensor] = {}
    for legs in run(unet, tree(tasks), v, most):
        for one in legs:
            last |= dict.fromkeys(one.users, one.step.x)
    return [last[i] for i in range(len(tasks))]


def counted(unet: Denoiser, rows: list[int]) -> Denoiser:
    """The same denoiser, which notes how many rows each call has."""

    def call(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        rows.append(len(x))
        if t.ndim == 0:
            return unet(x, t, c)
        every = zip(x.split(1), t, c.split(1), strict=True)
        return torch.cat([unet(*one) for one in every])

    return call


def apart(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((a - b).abs().max() / b.abs().max())


NOISE = random(7, 1, 4, 4, 4)  # a square one: maps of its rows and of its columns are alike in size
