"""The work of calls in FLOPs, for pictures of every size, from counts of three sizes.

Convolutions and linear layers grow with the cells p of the latent, self-attention with p^2, and
what is computed of the timestep and of the prompt not at all: FLOPs(p) = constant + linear p +
square p^2.
"""

from functools import lru_cache
from typing import NamedTuple

from mdp_lite.checkpoint.models import Models
from mdp_lite.engine import flops
from mdp_lite.models.config import AnyVAEConfig, UNetConfig

SIDES = (16, 32, 64)  # cells; every level of a UNet halves them without a remainder


class Polynomial(NamedTuple):
    """FLOPs of a call by the latent's cells p: constant + linear p + square p^2.

    Exact where every level of the model halves the sides without a remainder.

    >>> Polynomial(1, 2, 3)(10)
    321
    """

    constant: int
    linear: int
    square: int

    def __call__(self, cells: int) -> int:
        return self.constant + self.linear * cells + self.square * cells**2


class CallWork(NamedTuple):
    """FLOPs by cells: of one UNet row, and of encoding and decoding one picture.

    >>> count_work(editor.models).row(16 * 16)  # of one row at 64 x 64 pixels, if factor is 4
    478986240
    """

    row: Polynomial
    encode: Polynomial
    decode: Polynomial


def count_work(models: Models) -> CallWork:
    """The work of a model's calls; counted once for each pair of configs."""
    return _count(models.unet.config, models.vae.config, models.c_shape[0])


@lru_cache
def _count(unet: UNetConfig, vae: AnyVAEConfig, tokens: int) -> CallWork:
    f = vae.factor
    return CallWork(
        _fit([flops.unet(unet, side, side, 1, tokens).flops for side in SIDES]),
        _fit([flops.encode(vae, f * side, f * side).flops for side in SIDES]),
        _fit([flops.decode(vae, f * side, f * side).flops for side in SIDES]),
    )


def _fit(counts: list[int]) -> Polynomial:
    """The polynomial through the counts of SIDES, by Newton's divided differences."""
    p, q, r = (side**2 for side in SIDES)
    first, second = ((y1 - y0) / (x1 - x0) for x0, x1, y0, y1 in (
        (p, q, counts[0], counts[1]), (q, r, counts[1], counts[2])
    ))  # fmt: skip
    square = round((second - first) / (r - p))
    linear = round(first - square * (p + q))
    return Polynomial(counts[0] - linear * p - square * p**2, linear, square)
