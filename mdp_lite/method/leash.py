"""Leashes: pulls of an edit to its source after the window, everywhere or where nothing changes."""

import math

import torch

from mdp_lite.method.schedule import Weights, window

PULL, PULL_END = 2.0, 11 / 12  # of the leash: its rate, and the share of the path where it ends
LOCAL_PULL, LOOK = 6.0, 1 / 24  # of the local leash: its rate, and the share of its first steps


def add_leash(
    weights: Weights, t_max: float, t_m: float, share: float = 1.0, rate: float = PULL
) -> Weights:
    """The table (n,) with a weak pull to the source after its window: w_x = 1 - exp(-rate / n).

    That is d(x* - x_A)/ds = -rate (x* - x_A) over the path, s = i / n in 0..1, so the pull as a
    whole does not depend on n. The last twelfth of the steps is free, so that the model can make
    one picture of what the pull has mixed. share in 0..1 scales the rate.
    """
    n = len(weights.x)
    after = t_max - t_m
    steps = window(n, after, max(0, after - (n - round(PULL_END * n))))
    pull = -math.expm1(-share * rate / n) * steps
    return weights._replace(x=torch.lerp(weights.x, torch.ones_like(pull), pull))


def add_local_leash(weights: Weights, t_max: float, t_m: float, share: float = 1.0) -> Weights:
    """The table (n,) with a strong pull that lets go where the edit differs from its source.

    The first steps of the window look: they edit without mixing, then what differs little from the
    source is put back whole. At nearly pure noise such a step changes what covers the picture, as
    the time of day. The rest of the window carries the difference, and the pull follows it.
    """
    n = len(weights.x)
    look = window(n, t_max, min(t_m, max(1, round(LOOK * n))))
    mixed = Weights(*(torch.lerp(one, torch.zeros_like(one), look) for one in weights[:4]))
    pulled = add_leash(mixed, t_max, t_m, share, LOCAL_PULL).x
    return mixed._replace(local=torch.lerp(pulled, torch.ones_like(look), share * look) - mixed.x)
