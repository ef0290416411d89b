"""What an edit will cost, before it runs: rows, calls, FLOPs and bytes, from settings alone."""

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from torch import nn

from mdp_lite.checkpoint.load import Models
from mdp_lite.engine import flops as cost
from mdp_lite.method.plan import Leg, Plan
from mdp_lite.method.schedule import Weights

LATENT_BYTES = 8  # latents are float64
# Plans that are compared have most calls in common.
_unet, _decode = lru_cache(cost.unet), lru_cache(cost.decode)


class Estimate(NamedTuple):
    """What running a plan and decoding its picture takes; the source and prompts are there already.

    flops are those of the UNet and the decoder; activation_bytes the most of one call of either;
    path_bytes what the source path takes.
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
    unet, vae, tokens = models.unet, models.vae, models.text_encoder.config.max_position_embeddings
    y, x = height // vae.config.factor, width // vae.config.factor
    calls = Counter(len(leg.reads) for leg in plan.legs if leg.kind == "call")
    dtype, decoder = next(unet.parameters()).dtype, next(vae.parameters()).dtype
    works = {rows: _unet(unet.config, y, x, rows, tokens, dtype) for rows in calls}
    decode = _decode(vae.config, height, width, 1, decoder)
    return Estimate(
        plan.unet_rows,
        plan.unet_calls,
        decode.flops + sum(count * works[rows].flops for rows, count in calls.items()),
        sum(_bytes(model) for model in (models.text_encoder, unet, vae)),
        max(work.peak_bytes for work in (decode, *works.values())),
        (2 * plan.n + 1) * vae.config.latent_channels * y * x * LATENT_BYTES,
    )


def walked(weights: Weights, guided: bool) -> Plan:
    """The naive loop as a plan: every step is a call, with a third row where beta has a weight."""
    reads = ("null", "c") if guided else ("c",)
    extra = [("source",) if w.any() else () for w in weights.beta]
    legs = tuple(Leg("call", i, i + 1, (*reads, *more)) for i, more in enumerate(extra))
    return Plan(len(legs), legs)


def _bytes(model: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())
