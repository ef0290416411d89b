"""A whole step, and the loop over all steps; both serve plain sampling and editing."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.ddim import eps_to_x0, noisy_mean
from mdp_lite.method.mdp import (
    Denoiser,
    Guidance,
    Reads,
    SourceStep,
    Step,
    StepTerms,
    find_direction,
    step_inputs,
    step_output,
)
from mdp_lite.method.schedule import (
    Grid,
    StepCoefficients,
    StepIndex,
    Weights,
    select_step,
    zero_weights,
)


class Trajectory(NamedTuple):
    """A recorded path: x (N+1, b, 4, y, x), eps (N, b, 4, y, x) and its condition c (b or 1, l, d).

    x[0] is noise, x[N] the clean latent, eps[i] the guided noise of the step from x[i] to x[i+1].
    null (N, b, l, d) are null rows that were optimised for it. noise (N, b, 4, y, x) is what
    each step added where the path goes by DDPM or LCM. channels (b or 1, k, y, x) are what an
    inpainting UNet read beside it. direction (N, b, 4, y, x) is e - e_null at x[i], if it was
    recorded: what edits that ask the null row at some steps only move theirs by.
    """

    x: Tensor
    eps: Tensor
    c: Tensor
    null: Tensor | None = None
    noise: Tensor | None = None
    channels: Tensor | None = None
    direction: Tensor | None = None


def step(unet: Denoiser, x: Tensor, terms: StepTerms, reads: Reads, v_prediction: bool) -> Step:
    """x_i* -> x_{i+1}*, with its direction: one call of the UNet between the step's two halves."""
    rows, c = step_inputs(x, terms, reads)
    out = unet(rows, terms.coeffs.t, c)
    d = find_direction(out.to(x.dtype), reads)
    return step_output(out, x, terms, reads, v_prediction)._replace(d=d)


def sample(
    unet: Denoiser, grid: Grid, x: Tensor, guidance: Guidance, v_prediction: bool = False,
    source: Trajectory | None = None, weights: Weights | None = None, noise: Tensor | None = None,
) -> Iterator[Step]:  # fmt: skip
    """From the noise x (b, 4, y, x) down the grid, yielding every step.

    Without a source this is DDIM sampling, or DDPM's or LCM's with the noise (N, b, 4, y, x) that
    each step adds. With one, weights is a table of N rows that says how much of the source each
    step takes; nothing is skipped, see plan.py for that.
    """
    weights = weights or zero_weights(len(grid.t))
    for i in range(len(grid.t)):
        if source is None:
            terms, reads = free_terms(grid.select_step(i), guidance, x, i), guidance.reads
            added = None if noise is None else noise[i]
            terms = terms._replace(source=terms.source._replace(noise=added))
        else:
            terms = edit_terms(grid, guidance, source, weights, i, x)
            reads = all_reads(guidance, beta=weights.select_step(i, x).mixes_predictions)
        done = step(unet, x, terms, reads, v_prediction)
        x = done.x
        yield done


def all_reads(guidance: Guidance, beta: bool) -> Reads:
    """The rows of an edit's step where none is left out; beta says whether w_beta is not 0."""
    null: Reads = () if guidance.null is None else ("null",)
    return (*null, "c", "source") if beta else (*null, "c")


def edit_terms(
    grid: Grid, guidance: Guidance, source: Trajectory, weights: Weights, i: StepIndex, x: Tensor
) -> StepTerms:
    """All that step i of an edit reads beside the latent x."""
    return StepTerms(
        grid.select_step(i), guidance.select_step(i), source_step(source, grid, i),
        weights.select_step(i, x),
    )  # fmt: skip


def free_terms(
    coeffs: StepCoefficients, guidance: Guidance, x: Tensor, i: StepIndex = 0
) -> StepTerms:
    """The terms of a step without a source."""
    now = guidance.select_step(i)
    return StepTerms(coeffs, now, empty_source(x, now.c), Weights(*x.new_zeros(4)))


def empty_source(x: Tensor, c: Tensor) -> SourceStep:
    """A source of zeros. Uninitialised memory would not do: a weight of 0 times NaN is NaN."""
    zeros = torch.zeros_like(x)
    return SourceStep(torch.zeros_like(c), zeros, zeros, zeros)


def source_step(source: Trajectory, grid: Grid, i: StepIndex) -> SourceStep:
    """Step i of path A; its predicted x_0 follows from where the step arrived."""
    x, eps = select_step(source.x, i + 1), select_step(source.eps, i)
    noise = None if source.noise is None else select_step(source.noise, i)
    return SourceStep(source.c, eps, find_x0(source, grid, i, x, eps), x, noise)


def find_x0(source: Trajectory, grid: Grid, i: StepIndex, x: Tensor, eps: Tensor) -> Tensor:
    """The x_0 that step i predicted, if it arrived at x along eps by the source's kind of step."""
    coeffs = grid.select_step(i)
    if source.noise is None:
        return eps_to_x0(eps, x, coeffs.b)
    rest = noisy_mean(torch.zeros_like(eps), eps, select_step(source.x, i), coeffs)
    x0 = (x - select_step(source.noise, i) - rest) / coeffs.b.sqrt()
    return x0 if coeffs.skip is None else x0 / (1 - coeffs.skip).sqrt()


def record(
    x: Tensor, steps: list[Step], c: Tensor, noise: Tensor | None = None, directed: bool = False
) -> Trajectory:
    """The path that started at x (b, 4, y, x) and took these steps, which added this noise.

    directed: with the directions of the steps; 0 where the null row was left out because it is c.
    """
    xs, noises = [x, *(one.x for one in steps)], [one.eps for one in steps]
    ds = [torch.zeros_like(x) if one.d is None else one.d for one in steps]
    direction = torch.stack(ds) if directed else None
    return Trajectory(torch.stack(xs), torch.stack(noises), c, noise=noise, direction=direction)
