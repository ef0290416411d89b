"""The cost of an edit before it runs: rows, calls, FLOPs and bytes, from its plan alone."""

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import nn

from mdp_lite.checkpoint.models import Models
from mdp_lite.engine import flops
from mdp_lite.engine.memory import LIBRARY_BYTES, find_largest, path_bytes
from mdp_lite.method.plan import Plan

# Plans of one model share most of their calls.
_unet, _decode = lru_cache(flops.unet), lru_cache(flops.decode)


class Estimate(NamedTuple):
    """The cost of running a plan and decoding its picture, from a source that is already computed.

    flops counts the UNet and the decoder; activation_bytes is the peak of one call of either;
    path_bytes is the size of the source path. library_bytes is what Python and its libraries take
    beside them, and malloc_bytes what malloc does not give back, so that on a CPU peak_bytes is the
    peak of the process; both are 0 on a GPU, where weights that wait on the CPU do not count.
    """

    unet_rows: int
    unet_calls: int
    flops: int
    weight_bytes: int
    activation_bytes: int
    path_bytes: int
    malloc_bytes: int
    library_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The most memory at one time."""
        sizes = (self.weight_bytes, self.activation_bytes, self.path_bytes, self.malloc_bytes)
        return self.library_bytes + sum(sizes)


def estimate(models: Models, plan: Plan, height: int, width: int, rows: int = 0) -> Estimate:
    """The cost of a plan for a picture of height x width pixels, if each step is its own call.

    rows: the UNet rows of the largest call, if those of other edits are in it.
    """
    unet, vae, (tokens, _) = models.unet, models.vae, models.c_shape
    y, x = height // vae.config.factor, width // vae.config.factor
    calls = Counter(len(one.reads) for one in plan.segments if one.kind == "call")
    weight, decoder = next(unet.parameters()), next(vae.parameters()).dtype
    dtype, on_cpu = weight.dtype, weight.device.type == "cpu"
    widths = {*calls, rows} - {0}
    costs = {count: _unet(unet.config, y, x, count, tokens, dtype) for count in widths}
    decode = _decode(vae.config, height, width, 1, decoder)
    path = path_bytes(vae.config, height, width, plan.n)
    every = [decode, *costs.values()]
    most = find_largest(every)
    return Estimate(
        plan.unet_rows,
        plan.unet_calls,
        decode.flops + sum(times * costs[count].flops for count, times in calls.items()),
        sum(_bytes(model, weight.device) for model in (models.text_encoder, unet, vae)),
        most.activations if on_cpu else max(one.peak_bytes for one in every),
        path,
        most.gaps + path if on_cpu else 0,  # the steps of a path, before they are put together
        LIBRARY_BYTES if on_cpu else 0,
    )


def _bytes(model: nn.Module, device: torch.device) -> int:
    return sum(one.nbytes for one in model.parameters() if one.device.type == device.type)
