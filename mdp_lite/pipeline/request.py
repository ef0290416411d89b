"""A request for an edit: a source, a target, and how; and the table of weights that follows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.checkpoint.identity import Origin
from mdp_lite.method.mdp import Denoiser, Guidance
from mdp_lite.method.plan import EditFacts, Plan
from mdp_lite.method.schedule import (
    DEFAULT_WINDOWS,
    FEW_STEPS,
    LOCAL_WINDOW,
    DefaultWindow,
    Weights,
    few_steps_table,
)
from mdp_lite.names import SCHEDULES, VARIANTS, BadInput
from mdp_lite.pictures.alpha import reveal
from mdp_lite.pipeline import check
from mdp_lite.pipeline.check_table import check_table
from mdp_lite.pipeline.layers import RecordedLayers
from mdp_lite.pipeline.masks import (
    MASK_STEPS,
    Mask,
    MaskSpec,
    find_differences,
    from_cells,
    paste,
    read_mask,
    to_cells,
)
from mdp_lite.pipeline.result import Cost, Source
from mdp_lite.pipeline.tables import (
    check_mixing,
    confine,
    make_floating,
    strength_weights,
    window_weights,
)
from mdp_lite.pipeline.xl import XLCondition, follow_source, has_same_null

Prompt = str | Sequence[tuple[str, float]]  # one text, or a blend: texts with their shares
DEFAULT_VARIANT = "epsilon"


@dataclass(frozen=True)
class Request:
    """One edit: a source, a target prompt, and how; None means the default.

    prompt: a text, or a blend: pairs of a text and its share.
    variant: "epsilon", "c", "x" or "beta". t_max, t_m: the window in steps. schedule: the weights
    over the window; constant if a window is given without one.
    strength, instead of t_m: 0 is the source, 0.5 the default window, 1 the target alone.
    weight: the source's share on the steps of the window, 1 if None; any number, also below 0.
    weights, instead of all these: a whole table of N steps.
    mask: where the edit happens: a picture of the source's size, its path or array (white is
    edited, or what is transparent if it has transparency), a box (x0, y0, x1, y1) of its pixels,
    latent cells (y, x) in 0..1, or "auto"; None: that of layers, or the source's own. paste: keep
    all pixels outside the mask. feather: over how many pixels inside its edge the edit fades.
    proximal: the quantile (0.7 in its paper) below which differences between the conditional and
    the null prediction are left out of the guidance.
    guidance_every: of guided steps in a row only every so many asks the null row; the others move
    the guidance direction of the step before as the source's moved, if the source recorded its
    directions. 1 is exact; 2 saves about a quarter of the UNet rows and changes the picture little.
    xl: what SDXL reads beside the prompts; its sizes are by default the source's.
    layers: what record_layers kept of the source: only the rectangle of its mask is computed.

    Wrong values raise BadInput as soon as an Editor gets the request, before any work.

    >>> request = Request(source, "a blue house", t_max=4, t_m=2, guidance_scale=3.0)
    >>> editor.plan(request).unet_rows
    4
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
    mask: MaskSpec | Mask | None = None
    paste: bool = True
    feather: int = 0
    proximal: float | None = None
    xl: XLCondition | None = None
    weight: float | None = None
    guidance_every: int = 1
    layers: RecordedLayers | None = None


def format_prompt(prompt: Prompt) -> str:
    """A prompt for people: "a cat", or "0.5 a cat + 0.5 a dog"."""
    if isinstance(prompt, str):
        return prompt
    return " + ".join(f"{share:g} {text}" for text, share in prompt)


def variant_of(request: Request) -> str:
    """The variant that is asked for, or the default; "table" for given weights."""
    return (request.variant or DEFAULT_VARIANT) if request.weights is None else "table"


def _has_few_steps(n: int, defaults: Defaults) -> bool:
    """Whether few_steps_table is the default: the model is made for few steps, and takes them."""
    return defaults.distilled and n <= FEW_STEPS and defaults.t_max is None


def guidance_of(request: Request) -> float | None:
    """The guidance that is asked for, or the source's if edits repeat it, or None: the model's."""
    given = request.guidance_scale
    return request.source.own_guidance if given is None else given


def negative_of(request: Request) -> str:
    """The negative prompt that is asked for, or the source's."""
    negative = request.negative_prompt
    return request.source.negative_prompt if negative is None else negative


def nulls_of(request: Request) -> Tensor | None:
    """The null rows (N, 1, l, d) optimised for the source, unless the request has its own."""
    same = request.negative_prompt is None and has_same_null(xl_of(request), request.source.xl)
    return request.source.path.null if same else None


def xl_of(request: Request) -> XLCondition:
    """What SDXL reads beside the prompts: the request's own, else the source's sizes."""
    own_negative = request.negative_prompt is not None
    return follow_source(request.xl, request.source.xl, own_negative)


def find_facts(
    source: Source, origin: Origin, to: Guidance, g: float, negative_prompt: str, xl: XLCondition
) -> EditFacts:
    """What a plan may leave out: rows that are equal, and what the source's model computed."""
    tuned = to.null is not None and to.null.ndim == 4
    one_null = negative_prompt == source.negative_prompt and has_same_null(xl, source.xl)
    one_null = one_null and tuned == (source.path.null is not None)
    alike = g == source.guidance_scale and (g == 1 or one_null)
    alike = alike and _equal(to.channels, source.path.channels)
    return EditFacts(
        guided=to.null is not None,
        same_condition=torch.equal(to.c, source.path.c),
        own_noise=source.own_noise and alike and to.q is None and source.origin == origin,
        null_is_c=to.null is not None and torch.equal(to.null, to.c),
        null_is_source=to.null is not None and torch.equal(to.null, source.path.c),
        exact=source.exact,
    )


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    return torch.equal(a, b) if a is not None and b is not None else a is b


def locate(
    request: Request, unet: Denoiser, condition: Callable[[Prompt], Tensor], factor: int
) -> Request:
    """A located request: its mask is read from what was passed, or found if that is "auto"."""
    source = request.source
    layers = _check_layers(request.layers)
    own = source.mask if layers is None else layers.mask
    where = own if request.mask is None else request.mask
    check.blend(request.prompt)
    check.feather(request.feather)
    check.flag("paste", request.paste)
    if where is None or isinstance(where, Mask):
        return replace(request, mask=where)
    if isinstance(where, str) and where == "auto":
        white = Image.new("L", source.fit.image_size, 255)
        inside = to_cells(white, source.fit, factor)  # without the padding
        c = condition(request.prompt)
        cells = find_differences(unet, source.grid, source.path, c, inside)
        mask = from_cells(cells, source.fit, factor)
        mask = mask._replace(unet_rows=2 * MASK_STEPS, unet_calls=MASK_STEPS)
    else:
        mask = read_mask(where, source.fit, factor)
    return replace(request, mask=mask)


def _check_layers(value: Any) -> RecordedLayers | None:
    """Recorded layers or None; their plan, which is an easy mistake, raises BadInput."""
    if value is not None and not isinstance(value, RecordedLayers):
        want = "what record_layers returns"
        raise BadInput(f"layers must be {want}, got {type(value).__name__}", "layers")
    return value


def mask_of(request: Request) -> Mask | None:
    """The mask of a located request, if it has one."""
    return request.mask if isinstance(request.mask, Mask) else None


def picture_of(request: Request, image: Image.Image) -> Image.Image:
    """The image of a located request, put back into the source's picture at that picture's size."""
    source, mask = request.source, mask_of(request)
    picture = source.fit.undo(image, source.picture)
    if mask is None:
        return picture
    if request.paste:
        picture = paste(picture, source.picture, mask.pixels, request.feather)
    return reveal(picture, mask.pixels)


def cost_of(request: Request, plan: Plan) -> Cost:
    """The cost of a located request; finding a mask calls the UNet too."""
    mask = mask_of(request)
    rows, calls = (mask.unet_rows, mask.unet_calls) if mask else (0, 0)
    return Cost(plan.unet_rows + rows, plan.unet_calls + calls)


def weights_of(request: Request, defaults: Defaults) -> Weights:
    """The table (n,) that a located request describes; a mask makes maps (n, 1, 1, y, x)."""
    how = (request.t_max, request.t_m, request.schedule, request.strength, request.weight)
    if request.weights is not None:
        check_table(request.weights, request.source.path.eps, (request.variant, *how))
        weights = make_floating(request.weights)
    else:
        n, noisy = len(request.source.grid.t), request.source.path.noise is not None
        weights = build_weights(n, defaults, request.variant, *how, noisy)
    mask = mask_of(request)
    return weights if mask is None else confine(weights, mask.cells)


def build_weights(
    n: int, defaults: Defaults, variant: str | None = None, t_max: float | None = None,
    t_m: float | None = None, schedule: str | None = None, strength: float | None = None,
    weight: float | None = None, noisy: bool = False,
) -> Weights:  # fmt: skip
    """The table (n,) of a window or a strength; weight is the height of the window.

    noisy: the source has recorded noise, see noise.will_record_noise.
    """
    variant = DEFAULT_VARIANT if variant is None else variant
    own = (t_max, t_m) != (None, None)
    usual = default_window(n, defaults, variant, schedule, noisy and not own)
    plain = not own and schedule is None and weight is None
    height = 1.0 if weight is None else check.number("weight", weight)
    if variant == "epsilon" and plain and _has_few_steps(n, defaults):
        share = 0.5 if strength is None else strength
        check.strength(share, t_m)
        return few_steps_table(n, share)
    if schedule is None:
        schedule = "constant" if own else usual.schedule
    shape = check.one_of("schedule", schedule, SCHEDULES)
    t_max = usual.t_max if t_max is None else check.number("t_max", t_max)
    if strength is not None:
        check.strength(strength, t_m)
        return strength_weights(n, variant, t_max, min(usual.t_m, t_max), shape, strength, height)
    t_m = min(usual.t_m, t_max) if t_m is None else check.number("t_m", t_m)
    if weight is not None:
        check_mixing(n, variant, t_max, t_m, shape)
    return window_weights(n, variant, t_max, t_m, shape, height)


def default_window(
    n: int, defaults: Defaults, variant: str, schedule: str | None = None, noisy: bool = False
) -> DefaultWindow:
    """The window in steps if none is given: the schedule's, the checkpoint's or the variant's.

    On a source with recorded noise (noisy) epsilon's is LOCAL_WINDOW.
    """
    usual = DEFAULT_WINDOWS[check.one_of("variant", variant, VARIANTS)]
    if noisy and variant == DEFAULT_VARIANT and schedule is None:
        usual = LOCAL_WINDOW
    if defaults.t_max is not None and defaults.t_m is not None:
        usual = DefaultWindow(defaults.t_max, defaults.t_m, "constant")
    if schedule == LOCAL_WINDOW.schedule:  # its first steps are those of the path
        usual = LOCAL_WINDOW
    return usual._replace(t_max=round(usual.t_max * n), t_m=round(usual.t_m * n))
