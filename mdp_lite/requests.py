"""What an edit is asked for: a source, a target, and a table of weights however it is described."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mdp_lite import check
from mdp_lite.load import Defaults
from mdp_lite.plan import Known
from mdp_lite.results import Source
from mdp_lite.sample import Conditions
from mdp_lite.schedule import SHAPES, Weights, table, window

Prompt = str | Sequence[tuple[str, float]]  # one text, or a blend: texts with their shares


@dataclass(frozen=True)
class Request:
    """One edit: a source, a target prompt, and how; what is None is the model's default.

    A blend of prompts mixes their conditions. strength stands for t_m: 0 is the source, 0.5 the
    default window, 1 the target alone. weights is a whole table instead. mask (y, x) in 0..1, in
    latent cells, is where the edit happens: where it is 0 the source stays.
    """

    source: Source
    prompt: Prompt
    variant: str | None = None
    t_max: float | None = None
    t_m: float | None = None
    schedule: str | None = None
    strength: float | None = None
    weights: Weights | None = None
    guidance_scale: float | None = None
    negative_prompt: str | None = None
    mask: Tensor | None = None


def named(prompt: Prompt) -> str:
    """A prompt for people: "a cat", or "0.5 a cat + 0.5 a dog"."""
    if isinstance(prompt, str):
        return prompt
    return " + ".join(f"{share:g} {text}" for text, share in prompt)


def guidance_of(request: Request) -> float | None:
    """The guidance asked for, or the source's if that was sampled, or None for the model's."""
    sampled = request.guidance_scale is None and request.source.sampled
    return request.source.guidance_scale if sampled else request.guidance_scale


def negative_of(request: Request) -> str:
    """The negative prompt asked for, or the source's."""
    asked = request.negative_prompt
    return request.source.negative_prompt if asked is None else asked


def known(source: Source, to: Conditions, g: float, negative_prompt: str) -> Known:
    """What need not be computed: rows that are equal, and what the source has computed."""
    alike = g == source.guidance_scale and (g == 1 or negative_prompt == source.negative_prompt)
    return Known(
        guided=to.null is not None,
        same=torch.equal(to.c, source.path.c),
        own=source.sampled and alike,
        null_is_c=to.null is not None and torch.equal(to.null, to.c),
        null_is_source=to.null is not None and torch.equal(to.null, source.path.c),
    )


def weights_of(request: Request, defaults: Defaults) -> Weights:
    """The table of n rows that a request describes; a mask makes maps (n, 1, 1, y, x) of some."""
    n, asked = len(request.source.grid.t), request
    if asked.weights is not None:
        others = (asked.variant, asked.t_max, asked.t_m, asked.schedule, asked.strength)
        check.table(asked.weights, asked.source.path.eps, others)
        weights = asked.weights
    else:
        weights = described(
            n, defaults, asked.variant, asked.t_max, asked.t_m, asked.schedule, asked.strength
        )
    return weights if asked.mask is None else confined(weights, asked.mask)


def described(
    n: int, defaults: Defaults, variant: str | None = None, t_max: float | None = None,
    t_m: float | None = None, schedule: str | None = None, strength: float | None = None,
) -> Weights:  # fmt: skip
    """The table of n rows of a window or a strength."""
    variant = "epsilon" if variant is None else variant
    shape = "constant" if schedule is None else check.one_of("schedule", schedule, tuple(SHAPES))
    t_max = round(defaults.t_max * n) if t_max is None else check.number("t_max", t_max)
    if strength is not None:
        check.strength(strength, t_m)
        t_m = min(round(defaults.t_m * n), t_max)
        return _strength(n, variant, t_max, t_m, shape, strength)
    t_m = min(round(defaults.t_m * n), t_max) if t_m is None else check.number("t_m", t_m)
    return table(variant, window(n, t_max, t_m, shape))


def confined(weights: Weights, mask: Tensor) -> Weights:
    """The same table where the mask (y, x) is 1; where it is 0, w_eps = 1 keeps the source.

    A path that follows the source's noise from the source's start stays on it, exactly.
    """
    eps = weights.eps.reshape(len(weights.eps), *(1,) * 4) if weights.eps.ndim == 1 else weights.eps
    return weights._replace(eps=torch.lerp(torch.ones_like(eps), eps, mask.to(eps)))


def _strength(
    n: int, variant: str, t_max: float, t_m: float, shape: str, strength: float
) -> Weights:
    """A window that grows from none (1) over the default (0.5) to all rows (0).

    Following the source's condition is not yet to follow the source where it was inverted, so c and
    beta fade into epsilon below 0.5.
    """
    wide = max(0.0, 1 - 2 * strength)  # from the default out to all rows
    narrow = max(0.0, 2 * strength - 1)  # from the default down to none
    start = (n - t_max) * (1 - wide)
    end = n - (t_max - t_m) * (1 - wide) - t_m * narrow
    share = window(n, n - start, end - start)
    w = share.lerp(window(n, n - start, end - start, shape), 1 - wide)
    weights = table(variant, w)
    return weights._replace(eps=share * wide) if variant in ("c", "beta") else weights
