"""What an edit is asked for: a source, a target, and a table of weights however it is described."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.checkpoint.identity import Origin
from mdp_lite.method.mdp import Denoiser
from mdp_lite.method.plan import Known, Plan
from mdp_lite.method.sample import Conditions
from mdp_lite.method.schedule import (
    DEFAULTS,
    SHAPES,
    VARIANTS,
    Default,
    Weights,
    leashed,
    table,
    window,
)
from mdp_lite.pipeline import check
from mdp_lite.pipeline.masks import (
    LOOKS,
    Mask,
    Where,
    differing,
    from_cells,
    pasted,
    read,
    to_cells,
)
from mdp_lite.pipeline.result import Cost, Source

Prompt = str | Sequence[tuple[str, float]]  # one text, or a blend: texts with their shares


@dataclass(frozen=True)
class Request:
    """One edit: a source, a target prompt, and how; what is None is the model's default.

    A window that is given has constant weights unless a schedule is given too.
    A blend of prompts mixes their conditions. strength stands for t_m: 0 is the source, 0.5 the
    default window, 1 the target alone. weights is a whole table instead. mask is where the edit
    happens: a picture of the source's size (white: here), a box of its pixels, latent cells (y, x)
    in 0..1, or "auto". paste keeps all pixels outside the mask; feather is how many pixels inside
    its edge the edit fades over. proximal is the quantile (0.7 in its paper) under which
    differences between the two predictions are left out of the guidance.
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
    mask: Where | Mask | None = None
    paste: bool = True
    feather: int = 0
    proximal: float | None = None


def named(prompt: Prompt) -> str:
    """A prompt for people: "a cat", or "0.5 a cat + 0.5 a dog"."""
    if isinstance(prompt, str):
        return prompt
    return " + ".join(f"{share:g} {text}" for text, share in prompt)


def variant_of(request: Request, defaults: Defaults) -> str:
    """The variant asked for, or what suits the source; "table" where weights are given.

    Where no window is given that is x for a source with noise maps, along which an edit that starts
    on it goes on: epsilon's edits show more often there and keep less. For others, where x is
    behind, it is epsilon.
    """
    if request.weights is not None:
        return "table"
    if request.variant is not None:
        return request.variant
    usual = all(one is None for one in (request.t_max, request.t_m, defaults.t_max))
    return "x" if usual and request.source.path.noise is not None else "epsilon"


def guidance_of(request: Request) -> float | None:
    """The guidance asked for, or the source's where edits repeat that, or None for the model's."""
    repeats = request.guidance_scale is None and request.source.repeats
    return request.source.guidance_scale if repeats else request.guidance_scale


def negative_of(request: Request) -> str:
    """The negative prompt asked for, or the source's."""
    asked = request.negative_prompt
    return request.source.negative_prompt if asked is None else asked


def nulls_of(request: Request) -> Tensor | None:
    """The null rows (N, 1, l, d) optimised for the source, unless others are asked for."""
    return request.source.path.null if request.negative_prompt is None else None


def known(source: Source, origin: Origin, to: Conditions, g: float, negative_prompt: str) -> Known:
    """What need not be computed: rows that are equal, and what the source's own model computed."""
    tuned = to.null is not None and to.null.ndim == 4
    one_null = negative_prompt == source.negative_prompt and tuned == (source.path.null is not None)
    alike = g == source.guidance_scale and (g == 1 or one_null)
    return Known(
        guided=to.null is not None,
        same=torch.equal(to.c, source.path.c),
        own=source.sampled and alike and to.q is None and source.origin == origin,
        null_is_c=to.null is not None and torch.equal(to.null, to.c),
        null_is_source=to.null is not None and torch.equal(to.null, source.path.c),
        exact=source.exact,
    )


def located(
    request: Request, unet: Denoiser, condition: Callable[[Prompt], Tensor], factor: int
) -> Request:
    """The request with its mask read, or found where that is "auto"."""
    where, source = request.mask, request.source
    check.blend(request.prompt)
    check.feather(request.feather)
    if where is None or isinstance(where, Mask):
        return request
    if isinstance(where, str) and where == "auto":
        shown = to_cells(Image.new("L", source.frame.size, 255), source.frame, factor)  # no padding
        cells = differing(unet, source.grid, source.path, condition(request.prompt), shown)
        mask = from_cells(cells, source.frame, factor)._replace(
            unet_rows=2 * LOOKS, unet_calls=LOOKS
        )
    else:
        mask = read(where, source.frame, factor)
    return replace(request, mask=mask)


def mask_of(request: Request) -> Mask | None:
    """The mask of a located request, if it has one."""
    return request.mask if isinstance(request.mask, Mask) else None


def picture_of(request: Request, image: Image.Image) -> Image.Image:
    """What a located request made, put back into the source's picture at its own size."""
    source, mask = request.source, mask_of(request)
    made = source.frame.undone(image, source.picture)
    if mask is None or not request.paste:
        return made
    return pasted(made, source.picture, mask.pixels, request.feather)


def cost_of(request: Request, plan: Plan) -> Cost:
    """What a located request takes: finding a mask is calls of the UNet too."""
    mask = mask_of(request)
    found = Cost(mask.unet_rows, mask.unet_calls) if mask else Cost(0, 0)
    return Cost(plan.unet_rows + found.unet_rows, plan.unet_calls + found.unet_calls)


def weights_of(request: Request, defaults: Defaults) -> Weights:
    """The table of n rows that a located request describes; a mask makes maps (n, 1, 1, y, x)."""
    asked = request
    how = (asked.variant, asked.t_max, asked.t_m, asked.schedule, asked.strength)
    if asked.weights is not None:
        check.table(asked.weights, asked.source.path.eps, how)
        columns = asked.weights._asdict().items()  # whole numbers may be given, not computed with
        weights = Weights(**{k: w if w.is_floating_point() else w.double() for k, w in columns})
    else:
        n, variant = len(asked.source.grid.t), variant_of(asked, defaults)
        weights = described(n, defaults, variant, *how[1:])
    mask = mask_of(asked)
    return weights if mask is None else confined(weights, mask.cells)


def described(
    n: int, defaults: Defaults, variant: str | None = None, t_max: float | None = None,
    t_m: float | None = None, schedule: str | None = None, strength: float | None = None,
) -> Weights:  # fmt: skip
    """The table of n rows of a window or a strength."""
    variant = "epsilon" if variant is None else variant
    usual, given = usual_window(n, defaults, variant), t_max is not None or t_m is not None
    if schedule is None:
        schedule = "constant" if given else usual.schedule
    shape = check.one_of("schedule", schedule, tuple(SHAPES))
    t_max = usual.t_max if t_max is None else check.number("t_max", t_max)
    if strength is not None:
        check.strength(strength, t_m)
        return _strength(n, variant, t_max, min(usual.t_m, t_max), shape, strength)
    t_m = min(usual.t_m, t_max) if t_m is None else check.number("t_m", t_m)
    return _shaped(table(variant, window(n, t_max, t_m, shape)), t_max, t_m, shape)


def usual_window(n: int, defaults: Defaults, variant: str) -> Default:
    """What is taken where no window is given, in steps: the checkpoint's own or the variant's."""
    usual = DEFAULTS[check.one_of("variant", variant, VARIANTS)]
    if defaults.t_max is not None and defaults.t_m is not None:
        usual = Default(defaults.t_max, defaults.t_m, "constant")
    return usual._replace(t_max=round(usual.t_max * n), t_m=round(usual.t_m * n))


def confined(weights: Weights, mask: Tensor) -> Weights:
    """The same table where the mask (y, x) is 1, as maps (n, 1, 1, y, x) of eps and x.

    Towards 0 the noise becomes the source's, which alone keeps a path on the source's; where the
    mask is 0, w_x = 1 does so bit for bit.
    """
    n, cells = len(weights.eps), mask.to(weights.eps)
    eps, x = (w.reshape(n, 1, 1, 1, 1) if w.ndim == 1 else w for w in (weights.eps, weights.x))
    eps = torch.lerp(torch.ones_like(eps), eps, cells)
    return weights._replace(eps=eps, x=torch.where(cells > 0, x, torch.ones_like(x)))


def _strength(
    n: int, variant: str, t_max: float, t_m: float, shape: str, strength: float
) -> Weights:
    """A window that shrinks from the default (0.5) to none (1), or fades into the source (0).

    Growing it out to all rows instead was measured not to be monotone: edits between 0 and 0.5 were
    further from their sources than at 0.5. Following the source's condition is not yet to follow
    the source where it was inverted, so c and beta, whole from 0.25 down, fade into epsilon too.
    """
    window(n, t_max, t_m, shape)  # must be one, whatever is left of it
    fade, left = max(0.0, 1 - 2 * strength), min(1.0, 2 - 2 * strength)
    w = window(n, t_max, t_m * left, shape)
    ones, asks = torch.ones_like(w), variant in ("c", "beta")
    weights = table(variant, torch.lerp(w, ones, min(1.0, 2 * fade) if asks else fade))
    weights = weights._replace(eps=fade * ones) if asks else weights
    return _shaped(weights, t_max, t_m * left, shape, left)


def _shaped(weights: Weights, t_max: float, t_m: float, shape: str, share: float = 1.0) -> Weights:
    """The table with what a schedule has after its window, or a share of that."""
    return leashed(weights, t_max, t_m, share) if shape == "leash" else weights
