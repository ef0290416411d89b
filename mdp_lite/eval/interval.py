"""Intervals of means, 95% unless another level is given: percentile bootstrap, a fixed seed."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

RESAMPLES = 4000
LEVEL = 0.95


class Interval(NamedTuple):
    """A mean, and the ends of its interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """The mean of all values that are not NaN, and its interval; NaN if there are none.

    All calls of one length use the same resamples, so figures of the same pictures stay paired.
    """
    known = torch.tensor([v for v in values if not math.isnan(v)], dtype=torch.float64)
    if not len(known):
        return Interval(math.nan, math.nan, math.nan)
    if bool((known == known[0]).all()):  # no spread, and no rounding of a mean
        return Interval(*[known[0].item()] * 3)
    generator = torch.Generator().manual_seed(0)
    means = known[torch.randint(len(known), (RESAMPLES, len(known)), generator=generator)].mean(1)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    return Interval(known.mean().item(), *means.quantile(ends).tolist())


def difference_interval(
    values: Sequence[float], others: Sequence[float], level: float = LEVEL
) -> Interval:
    """The mean difference of pairs, and its interval."""
    pairs = zip(values, others, strict=True)
    return mean_interval([value - other for value, other in pairs], level)
