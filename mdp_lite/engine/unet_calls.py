"""The wrappers around a UNet: its parts, calls of few row counts, and parts computed only once."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mdp_lite.method.mdp import Denoiser, Reads, Step, StepTerms, step_output
from mdp_lite.models.condition import find_extra

# CachedUNet holds the projections of so many timesteps (40 KB each at SD 1.5's size), then it
# starts again with none.
MAX_TIMESTEPS = 1000
BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # row counts of a call
Function = Callable[..., Tensor]
StepOutput = Callable[[Tensor, Tensor, StepTerms, Reads, bool], Step]  # as mdp.step_output


class PaddedUNet:
    """A denoiser whose calls are padded to one of a few row counts."""

    def __init__(self, unet: Denoiser) -> None:
        self._unet = unet

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x)."""
        return self._unet(*pad_to_bucket(x, t, c))[: len(x)]


def pad_to_bucket(
    x: Tensor, t: Tensor, c: Tensor, counts: Sequence[int] = BUCKETS
) -> tuple[Tensor, Tensor, Tensor]:
    """The rows of a call, and copies of the last one up to the next of counts, if there is one."""
    more = next((count for count in counts if count >= len(x)), len(x)) - len(x)
    if not more:
        return x, t, c
    x, c = (torch.cat([rows, rows[-1:].expand(more, -1, *rows.shape[2:])]) for rows in (x, c))
    return x, torch.cat([t, t[-1:].expand(more)]) if t.ndim else t, c


class SplitUNet(NamedTuple):
    """A UNet in three parts: predict reads times(t, c) and text(c).

    text depends on c alone, times on t alone where extra_dim is 0, else on the pooled part of c
    too. So they are computed once for a whole edit. step_output is the second half of a step.
    """

    predict: Denoiser
    times: Function
    text: Function
    extra_dim: int = 0
    step_output: StepOutput = step_output


def list_blocks(unet: Any) -> list[tuple[Any, int]]:
    """Parts of a UNet, and by how many halvings the maps are smaller that their layers read.

    An upsampler's convolution comes before its block: it reads the map of the next block.
    """
    last = len(unet.down_blocks) - 1
    ups = [(block, last - i) for i, block in enumerate(unet.up_blocks)]
    grown = [(one, level - 1) for block, level in ups for one in block.upsamplers]
    downs = [(block, i) for i, block in enumerate(unet.down_blocks)]
    ends = [(unet.conv_in, 0), (unet.conv_out, 0)]
    return [*ends, *downs, (unet.mid_block, last), *grown, *ups]


class CachedUNet:
    """A denoiser that computes times(t, c) and text(c) only when t or c changes.

    Only for a CPU: whether they changed is decided in Python, and on a GPU that would wait for all
    queued work. Each timestep is computed by itself, so that a row does not depend on the other
    rows of its call.
    """

    def __init__(self, unet: SplitUNet) -> None:
        self._unet = unet
        self._times: dict[Any, Tensor] = {}
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """x (b, 4, y, x), t () or (b,), c (b, l, d) -> (b, 4, y, x)."""
        if torch.is_grad_enabled():
            return self._unet.predict(x, self._unet.times(t, c), self._unet.text(c))
        return self._unet.predict(x, self._get_times(t, c), self._get_text(c))

    def _get_times(self, t: Tensor, c: Tensor) -> Tensor:
        if t.ndim or (self._unet.extra_dim and len(c) > 1):
            pairs = zip(t.expand(len(c)), c.split(1), strict=True)
            return torch.cat([self._get_times(*pair) for pair in pairs])
        if len(self._times) >= MAX_TIMESTEPS:
            self._times = {}
        key = float(t), self._find_key(c)
        if key not in self._times:
            self._times[key] = self._unet.times(t, c)
        return self._times[key]

    def _find_key(self, c: Tensor) -> bytes:
        """The bits of what times(t, c) reads of c (1, l, d)."""
        if not self._unet.extra_dim:
            return b""
        return find_extra(c, self._unet.extra_dim).contiguous().view(torch.uint8).numpy().tobytes()

    def _get_text(self, c: Tensor) -> Tensor:
        last = self._last  # read once: another thread may replace it
        if last and last[0].shape == c.shape and torch.equal(last[0], c):
            return last[1]
        self._last = c, self._unet.text(c)
        return self._last[1]
