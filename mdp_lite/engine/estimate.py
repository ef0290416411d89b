"""The cost of an edit before it runs: rows, calls, FLOPs and bytes, from its plan alone."""

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from torch import nn

from mdp_lite.checkpoint.models import Models
from mdp_lite.engine import flops
from mdp_lite.method.plan import Plan

LATENT_BYTES = 8  # latents are float64
# Plans of one model share most of their calls.
_unet, _decode = lru_cache(flops.unet), lru_cache(flops.decode)


class Estimate(NamedTuple):
    """The cost of running a plan and decoding its picture, from a source that is already computed.

    flops counts the UNet and the decoder; activation_bytes is the peak of one call of either;
    path_bytes is the size of the source path.
    """

    unet_rows: int
    unet_calls: int
    flops: int
    weight_bytes: int
    activation_bytes: int
    path_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The most memory at one time."""
        return self.weight_bytes + self.activation_bytes + self.path_bytes


def estimate(models: Models, plan: Plan, height: int, width: int) -> Estimate:
    """The cost of a plan for a picture of height x width pixels, if each step is its own call."""
    unet, vae, (tokens, _) = models.unet, models.vae, models.c_shape
    y, x = height // vae.config.factor, width // vae.config.factor
    calls = Counter(len(one.reads) for one in plan.segments if one.kind == "call")
    dtype, decoder = next(unet.parameters()).dtype, next(vae.parameters()).dtype
    costs = {rows: _unet(unet.config, y, x, rows, tokens, dtype) for rows in calls}
    decode = _decode(vae.config, height, width, 1, decoder)
    return Estimate(
        plan.unet_rows,
        plan.unet_calls,
        decode.flops + sum(count * costs[rows].flops for rows, count in calls.items()),
        sum(_bytes(model) for model in (models.text_encoder, unet, vae)),
        max(one.peak_bytes for one in (decode, *costs.values())),
        (2 * plan.n + 1) * vae.config.latent_channels * y * x * LATENT_BYTES,
    )


def _bytes(model: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())
