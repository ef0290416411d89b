"""Tables of weights by strength, with a leash, and within a mask."""

import torch
from torch import Tensor

from mdp_lite.engine.devices import wide_dtype
from mdp_lite.method.leash import add_leash, add_local_leash
from mdp_lite.method.schedule import Weights, variant_table, window
from mdp_lite.names import BadInput


def confine(weights: Weights, mask: Tensor) -> Weights:
    """The same table where the mask (y, x) is 1, as maps (n, 1, 1, y, x) of eps and x.

    Towards 0 the noise becomes the source's, because no other mixture keeps a path on the source's.
    Where the mask is 0, w_x = 1 does so bit for bit, also where a local pull would let go.
    """
    cells = mask.to(weights.eps)
    eps, x = _spread(weights.eps), _spread(weights.x)
    eps = torch.lerp(torch.ones_like(eps), eps, cells)
    weights = weights._replace(eps=eps, x=torch.where(cells > 0, x, torch.ones_like(x)))
    if weights.local is None:
        return weights
    return weights._replace(local=_spread(weights.local) * (cells > 0))


def _spread(column: Tensor) -> Tensor:
    """A column (n,) as maps (n, 1, 1, 1, 1); maps as they are."""
    return column.reshape(-1, 1, 1, 1, 1) if column.ndim == 1 else column


def make_floating(weights: Weights) -> Weights:
    """The same numbers without gradients, in float32 or float64, in which a step computes."""
    wide = (torch.float32, torch.float64)
    widen = lambda w: w if w.dtype in wide else w.to(wide_dtype(w.device))  # noqa: E731
    return weights.change(lambda w: widen(w.detach()))


def window_weights(
    n: int, variant: str, t_max: float, t_m: float, shape: str, height: float, leash: float = 1.0
) -> Weights:
    """A window of this height, and a share of what its schedule does beside it."""
    weights = variant_table(variant, height * window(n, t_max, t_m, shape))
    return _apply_leash(weights, t_max, t_m, shape, leash)


def check_mixing(n: int, variant: str, t_max: float, t_m: float, shape: str) -> None:
    """Raise BadInput for a window without a step whose weight could be set."""
    none, whole = (window_weights(n, variant, t_max, t_m, shape, h) for h in (0.0, 1.0))
    if all(a is None or b is None or a.equal(b) for a, b in zip(none, whole, strict=True)):
        raise BadInput(
            f"weight must have a step to mix, got none by t_m {t_m:g} of {n} steps ({shape}): want "
            "a longer window", "weight", "t_m",
        )  # fmt: skip


def strength_weights(
    n: int, variant: str, t_max: float, t_m: float, shape: str, strength: float, height: float
) -> Weights:
    """A window that shrinks from the default (0.5) to none (1), or fades into the source (0).

    Letting it grow to all steps instead is not monotone: measured edits between 0 and 0.5 were
    further from their sources than at 0.5. The source's condition alone does not lead along an
    inverted source, so c and beta, which are whole from 0.25 down, fade into epsilon too.
    """
    window(n, t_max, t_m, shape)  # must be one, whatever is left of it
    fade, left = max(0.0, 1 - 2 * strength), min(1.0, 2 - 2 * strength)
    weights = window_weights(n, variant, t_max, t_m * left, shape, height, left)
    return _fade(weights, variant, fade)


def _fade(weights: Weights, variant: str, fade: float) -> Weights:
    """The table on its way to the source: as it is at 0, the source itself at 1."""
    ones, by_condition = torch.ones_like(weights.eps), variant in ("c", "beta")
    column = "eps" if variant == "epsilon" else variant
    share = min(1.0, 2 * fade) if by_condition else fade
    weights = weights._replace(**{column: torch.lerp(getattr(weights, column), ones, share)})
    weights = weights._replace(eps=fade * ones) if by_condition else weights
    local = weights.local
    return weights if local is None else weights._replace(local=(1 - fade) * local)


def _apply_leash(weights: Weights, t_max: float, t_m: float, shape: str, share: float) -> Weights:
    """The table with what the schedule does after its window, at a share of its rate."""
    add = {"leash": add_leash, "local-leash": add_local_leash}.get(shape)
    return weights if add is None else add(weights, t_max, t_m, share)
