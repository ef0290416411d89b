"""What the convolutions of this processor's library promise, measured by calls of them alone."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F


@cache
def round_by_size() -> bool:
    """Whether torch's convolution of one picture has other bits if more pictures come with it.

    On some processors its library chooses another kernel for each size of the batch.
    """
    generator = torch.Generator().manual_seed(0)
    for channels, side in ((4, 8), (32, 8), (64, 4)):
        x = torch.randn(3, channels, side, side, generator=generator)
        weight = torch.randn(32, channels, 3, 3, generator=generator)
        apart = torch.cat([F.conv2d(one, weight, padding=1) for one in x.split(1)])
        if not torch.equal(F.conv2d(x, weight, padding=1), apart):
            return True
    return False


def skip_if_they_round_by_size() -> None:
    """Skip a test that is of our code only where torch's convolution itself does not fail it."""
    if round_by_size():
        pytest.skip("torch's convolutions round by the size of the batch on this processor")
