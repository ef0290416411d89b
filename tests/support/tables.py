"""Random edits to plan: grids, tables with runs of whole weights and maps, sources, targets."""

from typing import NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor

from mdp_lite.method.execute import EditTask, build_tree, execute
from mdp_lite.method.inversion import add_noise, invert, noise_maps, predict_along, replay
from mdp_lite.method.mdp import Denoiser, Guidance
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.method.sample import Trajectory, record, sample
from mdp_lite.method.schedule import Grid, Weights, ddim_grid
from mdp_lite.models.config import SchedulerConfig
from support.toy import C_A, C_B, NULL, random


class RandomEdits(NamedTuple):
    """Edits of one source, with their plans, and whether the model predicts v."""

    tasks: list[EditTask]
    v_prediction: bool


def grids(prediction: str, max_steps: int) -> st.SearchStrategy[Grid]:
    """Grids of up to max_steps steps, of every spacing, offset and end; v with zero SNR or not."""
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
        st.integers(1, max_steps),
        st.sampled_from(["leading", "trailing", "linspace"]),
        st.integers(0, 1),
        st.booleans(),
        st.booleans(),
    )


@st.composite
def columns(draw: st.DrawFn, n: int, shapes: tuple[tuple[int, ...], ...]) -> Tensor:
    """Weights (n,) or maps (n, ...) in runs of 0, 1, nearly 1, fractions, and other numbers."""
    value = st.sampled_from([0.0, 0.0, 1.0, 1.0, 1 - 1e-12, 0.25, -0.5, 1.5]) | st.floats(-1, 2)
    values: list[float] = []
    while len(values) < n:
        values += [draw(value)] * draw(st.integers(1, n))
    column = torch.tensor(values[:n], dtype=torch.float64)
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
    """Tables of n steps for latents like x (b, 4, y, x)."""
    _, c, height, width = x.shape
    maps = ((1, 1, height, width), (1, c, 1, 1), (1, 1, height, 1))
    mixing, local = columns(n, maps), st.none() | columns(n, ((1, 1, height, width),))
    return st.builds(Weights, columns(n, ()), mixing, mixing, mixing, local, local)


def guidance_of(c: Tensor, g: float) -> Guidance:
    return Guidance(c, None if g == 1 else NULL, torch.tensor(g))


def source(
    unet: Denoiser, grid: Grid, x: Tensor, guidance: Guidance, sampled: bool, v_prediction: bool
) -> Trajectory:
    """A path sampled from the noise x, or found by inverting x as a picture."""
    if sampled:
        return record(x, list(sample(unet, grid, x, guidance, v_prediction)), guidance.c)
    return replay(x, list(invert(unet, grid, x, guidance, v_prediction)), guidance.c)


KINDS = ("sampled", "inverted", "tuned", "direct", "noisy")


def nulls(n: int) -> Tensor:
    """Another null row for every step (n, 1, l, d)."""
    return NULL + 0.3 * random(12, n, *NULL.shape)


def source_of(
    kind: str, unet: Denoiser, grid: Grid, x: Tensor, guidance: Guidance, v_prediction: bool
) -> Trajectory:
    """A path of every kind: tuned has a null row for each step, noisy goes by DDPM.

    The noise of direct does not lead along it; from noise alone nothing would.
    """
    if kind == "tuned":
        if guidance.null is not None:
            guidance = guidance._replace(null=nulls(len(grid.t)))
        path = source(unet, grid, x, guidance, True, v_prediction)
        return path._replace(null=guidance.null)
    if kind == "direct":
        unguided = Guidance(guidance.c, None, guidance.g)
        pivots = source(unet, grid, x, unguided, False, v_prediction).x
        steps = list(predict_along(unet, grid, pivots, guidance, v_prediction))
        return record(pivots[0], steps, guidance.c)
    if kind == "noisy":
        pivots = add_noise(grid, x, random(13, len(grid.t), *x.shape))
        pairs = noise_maps(unet, grid, pivots, guidance, v_prediction)
        steps, maps = zip(*pairs, strict=True)
        path = record(pivots[0], list(steps), guidance.c)
        return path._replace(noise=torch.stack(maps))
    return source(unet, grid, x, guidance, kind == "sampled", v_prediction)


@st.composite
def edits(
    draw: st.DrawFn, unet: Denoiser, x: Tensor, max_steps: int, count: int, prediction: str,
    kind: str | None = None,
) -> RandomEdits:  # fmt: skip
    """Up to count edits of one source, with facts that are true of it and of them."""
    grid, v_prediction = draw(grids(prediction, max_steps)), prediction != "epsilon"
    kind = draw(st.sampled_from(KINDS)) if kind is None else kind
    kind = "inverted" if kind == "direct" and grid.a[0] == 0 else kind
    g, target_g = draw(st.sampled_from([1.0, 7.5])), draw(st.sampled_from([1.0, 7.5]))
    guidance = guidance_of(draw(st.sampled_from([C_A, NULL])), g)
    path = source_of(kind, unet, grid, x, guidance, v_prediction)
    tasks = []
    for c in draw(st.lists(st.sampled_from([C_B, C_B, C_A, NULL]), min_size=1, max_size=count)):
        to, weights = guidance_of(c, target_g), draw(tables(len(grid.t), x))
        tuned = path.null is not None and to.null is not None and draw(st.booleans())
        proximal = to.null is not None and draw(st.integers(0, 2)) == 0
        to = to._replace(null=path.null) if tuned else to
        to = to._replace(q=torch.tensor(0.7).double()) if proximal else to
        facts = facts_of(kind, path, to, g == target_g)
        tasks.append(EditTask(grid, to, path, weights, plan(weights, grid, facts)))
    return RandomEdits(tasks, v_prediction)


def facts_of(kind: str, path: Trajectory, to: Guidance, same_scale: bool) -> EditFacts:
    """What is true of an edit whose guidance scale is its source's, or another one."""
    guided, tuned = to.null is not None, to.null is path.null
    return EditFacts(
        guided=guided,
        same_condition=to.c is path.c,
        own_noise=kind in ("sampled", "tuned", "noisy")
        and same_scale
        and to.q is None
        and (not guided or tuned or path.null is None),
        null_is_c=guided and to.c is to.null,
        null_is_source=guided and path.c is to.null,
        exact=kind != "direct",
    )


def naive(unet: Denoiser, task: EditTask, v_prediction: bool) -> Tensor:
    """Where all N steps lead, every one a call."""
    steps = sample(
        unet, task.grid, task.source.x[0], task.guidance, v_prediction, task.source, task.weights
    )
    return list(steps)[-1].x


def final_latents(
    unet: Denoiser, tasks: list[EditTask], v_prediction: bool, max_rows: int = 0
) -> list[Tensor]:
    """Where the plans of tasks lead, executed as one tree."""
    last: dict[int, Tensor] = {}
    for ends in execute(unet, build_tree(tasks), v_prediction, max_rows):
        for one in ends:
            last |= dict.fromkeys(one.users, one.step.x)
    return [last[i] for i in range(len(tasks))]


def count_rows(unet: Denoiser, rows: list[int]) -> Denoiser:
    """The same denoiser, which appends how many rows each call has."""

    def call(x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        rows.append(len(x))
        if t.ndim == 0:
            return unet(x, t, c)
        every = zip(x.split(1), t, c.split(1), strict=True)
        return torch.cat([unet(*one) for one in every])

    return call


def relative_error(a: Tensor, b: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((a - b).abs().max() / b.abs().max())


NOISE = random(7, 1, 4, 4, 4)  # a square one: maps of its rows and of its columns are alike in size
