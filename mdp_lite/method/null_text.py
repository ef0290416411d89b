"""Null-text inversion (Mokady et al. 2022, arXiv 2211.09794): a null row tuned for every step.

Guided sampling drifts from the pivots that a DDIM inversion without guidance passed. So at each
step the null row is optimised until the step leads to the next pivot. Nothing else has a gradient,
and what the text has no part in is computed once a step.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.ddim import between, gain, renoise, seen
from mdp_lite.method.mdp import Denoiser, Levels, Step, guide
from mdp_lite.method.sample import Conditions, Path, levels
from mdp_lite.method.schedule import Grid
from mdp_lite.models.unet import UNet

BETA_1, BETA_2, TINY = 0.9, 0.999, 1e-8  # Adam's own defaults (Kingma & Ba 2015)
MOST_STEPS = 100  # the learning rate is 0 there

Guard = Callable[[Callable[[Any], Any], Any, str], Any]  # runs a function of a model, see finite.py
Predict = Callable[[Tensor], Tensor]  # c (b, l, d) -> the prediction (b, 4, y, x) at one x and t


class Tuned(NamedTuple):
    """A step to x along eps (b, 4, y, x) with null (b, l, d), and how that was found.

    iterations (b,) are the inner ones, loss (b,) that of the last of them, before its update; 0
    iterations: not tuned. forward and backward are the UNet rows of a picture.
    """

    x: Tensor
    eps: Tensor
    null: Tensor
    iterations: Tensor
    loss: Tensor
    forward: int
    backward: int


class Goal(NamedTuple):
    """What a step is tuned for: from x (b, 4, y, x) to the pivot, in so many iterations at most.

    It is good enough once the loss is under least; rate is the learning rate.
    """

    x: Tensor
    pivot: Tensor
    rate: float
    least: float
    inner_steps: int


def goal(i: int, x: Tensor, pivot: Tensor, inner_steps: int, early_stop: float) -> Goal:
    """Learning rate 1e-2 (1 - i / 100), threshold early_stop + 2e-5 i (the authors' code)."""
    return Goal(x, pivot, 1e-2 * (1 - i / 100), early_stop + 2e-5 * i, inner_steps)


@torch.no_grad()
def null_text(
    unet: Denoiser, grid: Grid, pivots: Path, to: Conditions, v: bool,
    inner_steps: int, early_stop: float, rows: Collection[int],
    guard: Guard = lambda run, model, what: run(model),
) -> Iterator[Tuned]:  # fmt: skip
    """From pivots.x[0] down the grid under to, its null row tuned on the rows given.

    On the others it goes where the inversion was, along the noise that leads there. guard calls
    each tuned step, and may call it again with a wider model where the result is not finite.
    """
    x, null = pivots.x[0], to.null
    if null is None:
        raise ValueError("null-text needs a guidance_scale above 1: without one there is no null")
    null = null.float().expand(len(x), -1, -1)
    for i in range(len(grid.t)):
        at, asked = levels(grid, i), goal(i, x, pivots.x[i + 1], inner_steps, early_stop)
        if at.a == at.b:  # a step that stays where it is can't be steered
            tried = inner_steps if i in rows else 0
            done = _still(asked._replace(inner_steps=tried), pivots.eps[i], null)
        elif i not in rows:
            eps = between(x, asked.pivot, at.a, at.b) if at.a > 0 else pivots.eps[i]
            done = _still(asked._replace(x=asked.pivot, inner_steps=0), eps, null)
        else:
            tune = partial(_tuned, at=at, to=to, null=null, v=v, goal=asked)
            done = guard(tune, unet, f"null-text inversion at step {i}")
        x, null = done.x, done.null
        yield done


def _still(goal: Goal, eps: Tensor, null: Tensor) -> Tuned:
    """A step that no null row changes: iterations are those that would have been tried."""
    loss = _loss(goal.x, goal.pivot)
    tries = torch.where(loss < goal.least, min(1, goal.inner_steps), goal.inner_steps)
    return Tuned(goal.x, eps, null, tries, loss, 0, 0)


def _tuned(unet: Denoiser, at: Levels, to: Conditions, null: Tensor, v: bool, goal: Goal) -> Tuned:
    """Adam on the null row until the loss is small, "update, then stop", for each picture alone."""
    predict, g, x = _predictor(unet, goal.x, at.t, to.c), to.g, goal.x
    e_c = predict(to.c.expand(len(x), -1, -1))
    k = (1 - g) * gain(at.a, at.b, v)
    m = v2 = torch.zeros_like(null)
    active = torch.ones(len(x), dtype=torch.bool, device=x.device)
    iterations, last = active.long() * 0, torch.zeros(len(x), device=x.device)
    taken = 0
    while taken < goal.inner_steps and (taken % _apart(x) or active.any()):
        loss, slope = _slope(predict, null, lambda e: _led(e, e_c, g, x, at, v).x, k, goal.pivot)
        taken += 1
        m = BETA_1 * m + (1 - BETA_1) * slope  # a lerp's 1 - 0.999 would be float32's
        v2 = BETA_2 * v2 + (1 - BETA_2) * slope**2
        root = (v2 / (1 - BETA_2**taken)).sqrt() + TINY
        moved = null - goal.rate / (1 - BETA_1**taken) * m / root  # Kingma & Ba 2015, Algorithm 1
        null = torch.where(active[:, None, None], moved, null)
        iterations, last = iterations + active, torch.where(active, loss, last)
        active = active & (loss >= goal.least)
    step = _led(predict(null), e_c, g, x, at, v)
    return Tuned(*step, null, iterations, last, 2 + taken, taken)


def _apart(x: Tensor) -> int:
    """Iterations between two looks at whether all are done: on a GPU a look waits for all work."""
    return 3 if x.is_cuda else 1


def _predictor(unet: Denoiser, x: Tensor, t: Tensor, c: Tensor) -> Predict:
    """The denoiser at one x and t; the model's own UNet does there but once what needs no c."""
    if not isinstance(unet, UNet):
        return lambda c_: unet(x.to(c.dtype), t, c_.to(c.dtype)).to(x.dtype)
    dtype = unet.conv_in.weight.dtype
    stem = unet.stem(x.to(dtype), unet.times(t))
    return lambda c_: unet.finish(stem, unet.text(c_.to(dtype))).to(x.dtype)


def _led(e_null: Tensor, e_c: Tensor, g: Tensor, x: Tensor, at: Levels, v: bool) -> Step:
    """The guided DDIM step from x."""
    x0, eps = seen(guide(torch.cat([e_null, e_c]), True, g), x, at.a, v)
    return Step(renoise(x0, eps, at.b), eps)


def _loss(x: Tensor, pivot: Tensor) -> Tensor:
    """Mean squared distance of each picture (b,), in float32."""
    return (x - pivot).float().square().mean((1, 2, 3))


def _slope(
    predict: Predict, null: Tensor, lead: Callable[[Tensor], Tensor], k: Tensor, pivot: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss (b,) of null rows (b, l, d), and its gradient; k is d x / d e of where they lead.

    d loss / d e = 2 k (x - pivot) / n; without the n on its way through the UNet, where 16 bits
    could not hold it.
    """
    leaf = null.detach().requires_grad_()
    with torch.enable_grad():
        e = predict(leaf)
    x, n = lead(e.detach()), pivot[0].numel()
    (slope,) = torch.autograd.grad(e, leaf, 2 * k * (x - pivot))
    return _loss(x, pivot), slope / n
