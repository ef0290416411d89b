"""The cost of an edit before it runs: rows, calls, FLOPs and bytes, from its plan alone."""

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from torch import nn

from mdp_lite.checkpoint.models import Models
from mdp_lite.engine import flops
from mdp_lite.engine.memory import LIBRARY_BYTES, path_bytes
from mdp_lite.method.plan import Plan

# Plans of one model share most of their calls.
_unet, _decode = lru_cache(flops.unet), lru_cache(flops.decode)


class Estimate(NamedTuple):
    """The cost of running a plan and decoding its picture, from a source that is already computed.

    flops counts the UNet and the decoder; activation_bytes is the peak of one call of either;
    path_bytes is the size of the source path. library_bytes is what Python and its libraries take
    beside them, so that on a CPU peak_bytes is the peak of the process; it is 0 on a GPU.
    """

    unet_rows: int
    unet_calls: int
    flops: int
    weight_bytes: int
    activation_bytes: int
    path_bytes: int
    library_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The most memory at one time."""
        parts = (self.library_bytes, self.weight_bytes, self.activation_bytes, self.path_bytes)
        return sum(parts)


def estimate(models: Models, plan: Plan, height: int, width: int) -> Estimate:
    """The cost of a plan for a picture of height x width pixels, if each step is its own call."""
    unet, vae, (tokens, _) = models.unet, models.vae, models.c_shape
    y, x = height // vae.config.factor, width // vae.config.factor
    calls = Counter(len(one.reads) for one in plan.segments if one.kind == "call")
    weight, decoder = next(unet.parameters()), next(vae.parameters()).dtype
    dtype, on_cpu = weight.dtype, weight.device.type == "cpu"
    costs = {rows: _unet(unet.config, y, x, rows, tokens, dtype) for rows in calls}
    decode = _decode(vae.config, height, width, 1, decoder)
    return Estimate(
        plan.unet_rows,
        plan.unet_calls,
        decode.flops + sum(count * costs[rows].flops for rows, count in calls.items()),
        sum(_bytes(model) for model in (models.text_encoder, unet, vae)),
        max(one.cpu_bytes if on_cpu else one.peak_bytes for one in (decode, *costs.values())),
        path_bytes(vae.config, height, width, plan.n),
        LIBRARY_BYTES if on_cpu else 0,
    )


def _bytes(model: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())
