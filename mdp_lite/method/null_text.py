"""Null-text inversion (Mokady et al. 2022, arXiv 2211.09794): the null row is tuned at every step.

Guided sampling drifts away from the pivots, the latents that a DDIM inversion without guidance went
through. So at each step the null row is optimised until the guided step leads to the next pivot.
Only the null row has a gradient, and what does not depend on the text is computed once a step.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.ddim import eps_between, step_gain
from mdp_lite.method.mdp import Denoiser, Guidance, Step, StepTerms, add_channels, step_output
from mdp_lite.method.sample import Trajectory, free_terms
from mdp_lite.method.schedule import Grid
from mdp_lite.models.unet import UNet
from mdp_lite.names import BadInput

BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8  # Adam's own defaults (Kingma & Ba 2015)
MAX_STEPS = 100  # the authors' learning rate reaches 0 there

# guard(run, model, what) returns run(model). If that is not finite, it may try a float32 copy of
# the model; what names the work in the error.
Guard = Callable[[Callable[[Any], Any], Any, str], Any]
Predict = Callable[[Tensor], Tensor]  # c (b, l, d) -> the prediction (b, 4, y, x) at one x and t


class TunedStep(NamedTuple):
    """A step to x along eps (b, 4, y, x) with the null row null (b, l, d), and how it was found.

    iterations (b,) counts the inner iterations, 0 if the step was not tuned; loss (b,) is that of
    the last iteration, before its update. forward and backward are UNet rows of one picture.
    """

    x: Tensor
    eps: Tensor
    null: Tensor
    iterations: Tensor
    loss: Tensor
    forward: int
    backward: int


class StepGoal(NamedTuple):
    """The task of one step: lead from x (b, 4, y, x) to the pivot in at most inner_steps.

    Iterations stop once the loss is below max_loss.
    """

    x: Tensor
    pivot: Tensor
    learning_rate: float
    max_loss: float
    inner_steps: int


def step_goal(i: int, x: Tensor, pivot: Tensor, inner_steps: int, early_stop: float) -> StepGoal:
    """Learning rate 1e-2 (1 - i / 100), stop below early_stop + 2e-5 i (the authors' code)."""
    return StepGoal(x, pivot, 1e-2 * (1 - i / 100), early_stop + 2e-5 * i, inner_steps)


@torch.no_grad()
def null_text(
    unet: Denoiser, grid: Grid, pivots: Trajectory, guidance: Guidance, v_prediction: bool,
    inner_steps: int, early_stop: float, tuned_steps: Collection[int],
    guard: Guard = lambda run, model, what: run(model),
) -> Iterator[TunedStep]:  # fmt: skip
    """From pivots.x[0] down the grid, with the null row tuned at the steps in tuned_steps.

    Every other step goes to the inversion's pivot, along the noise that leads there. guard runs
    each tuned step.
    """
    x, null = pivots.x[0], guidance.null
    if null is None:
        message = "null-text needs a guidance_scale above 1: without one there is no null"
        raise BadInput(message, "guidance_scale")
    null = null.float().expand(len(x), -1, -1)
    for i in range(len(grid.t)):
        terms = free_terms(grid.select_step(i), guidance, x)
        goal = step_goal(i, x, pivots.x[i + 1], inner_steps, early_stop)
        if terms.coeffs.a == terms.coeffs.b:  # a step from a level to itself can't be steered
            tries = inner_steps if i in tuned_steps else 0
            done = _skip_tuning(goal._replace(inner_steps=tries), pivots.eps[i], null)
        elif i not in tuned_steps:
            a, b = terms.coeffs.a, terms.coeffs.b
            eps = eps_between(x, goal.pivot, a, b) if a > 0 else pivots.eps[i]
            done = _skip_tuning(goal._replace(x=goal.pivot, inner_steps=0), eps, null)
        else:
            tune = partial(_tune, terms=terms, null=null, v_prediction=v_prediction, goal=goal)
            done = guard(tune, unet, f"null-text inversion at step {i}")
        x, null = done.x, done.null
        yield done


def _skip_tuning(goal: StepGoal, eps: Tensor, null: Tensor) -> TunedStep:
    """A step that no null row changes; iterations are those that the authors' code would count."""
    loss = _loss(goal.x, goal.pivot)
    tries = torch.where(loss < goal.max_loss, min(1, goal.inner_steps), goal.inner_steps)
    return TunedStep(goal.x, eps, null, tries, loss, 0, 0)


def _tune(
    unet: Denoiser, terms: StepTerms, null: Tensor, v_prediction: bool, goal: StepGoal
) -> TunedStep:
    """Adam on the null row until the loss is small, each picture by itself.

    As in the authors' code the null row is updated first and the loss is compared after that.
    """
    (t, a, b, *_), guidance, x = terms.coeffs, terms.guidance, goal.x
    c = guidance.c.expand(len(x), -1, -1)
    inputs = add_channels(x, guidance.channels)
    e_c = _predictor(unet, inputs, t, c)(c)
    predict = _predictor(unet, inputs, t, null.to(c.dtype))
    # d x_b / d e_null: of e = e_null + g (e_c - e_null) the null row has 1 - g.
    gain = (1 - guidance.g) * step_gain(a, b, v_prediction)

    def lead(e_null: Tensor) -> Step:
        out = torch.cat([e_null, e_c])
        return step_output(out, x, terms, ("null", "c"), v_prediction)

    m = v = torch.zeros_like(null)
    active = torch.ones(len(x), dtype=torch.bool, device=x.device)
    iterations, last = active.long() * 0, torch.zeros(len(x), device=x.device)
    n = 0
    while n < goal.inner_steps and (n % _check_interval(x) or active.any()):
        loss, slope = _loss_gradient(predict, null, lead, gain, goal.pivot)
        n += 1
        m = BETA_1 * m + (1 - BETA_1) * slope  # lerp takes 1 - 0.999 in float32
        v = BETA_2 * v + (1 - BETA_2) * slope**2
        root = (v / (1 - BETA_2**n)).sqrt() + TINY
        moved = null - goal.learning_rate / (1 - BETA_1**n) * m / root  # Kingma & Ba, Algorithm 1
        null = torch.where(active[:, None, None], moved, null)
        iterations, last = iterations + active, torch.where(active, loss, last)
        active = active & (loss >= goal.max_loss)
    x, eps, _ = lead(predict(null))
    return TunedStep(x, eps, null, iterations, last, 2 + n, n)


def _check_interval(x: Tensor) -> int:
    """Iterations between two checks whether all are done; on a GPU a check waits for the result."""
    return 1 if x.is_cpu else 3


def _predictor(unet: Denoiser, x: Tensor, t: Tensor, c: Tensor) -> Predict:
    """The UNet at one x and t; our own UNet computes the part that does not read texts only once.

    Of c it reads the pooled state and the sizes (SDXL), which are not tuned.
    """
    if not isinstance(unet, UNet):
        return lambda c_: unet(x.to(c.dtype), t, c_.to(c.dtype)).to(x.dtype)
    dtype = unet.conv_in.weight.dtype
    part = unet.text_free(x.to(dtype), unet.times(t, c))
    return lambda c_: unet.with_text(part, unet.text(c_.to(dtype))).to(x.dtype)


def _loss(x: Tensor, pivot: Tensor) -> Tensor:
    """Mean squared distance of each picture (b,), in float32."""
    return (x - pivot).float().square().mean((1, 2, 3))


def _loss_gradient(
    predict: Predict, null: Tensor, lead: Callable[[Tensor], Step], gain: Tensor, pivot: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss (b,) of null rows (b, l, d) and its gradient; gain is d x / d e_null of the step.

    d loss / d e = 2 gain (x - pivot) / n. The division by n comes after the UNet, where 16 bits
    could not hold such small numbers.
    """
    leaf = null.detach().requires_grad_()
    with torch.enable_grad():
        e = predict(leaf)
    x, n = lead(e.detach()).x, pivot[0].numel()
    (slope,) = torch.autograd.grad(e, leaf, 2 * gain * (x - pivot))
    return _loss(x, pivot), slope / n
