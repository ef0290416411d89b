"""MasaCtrl (Cao et al. 2023, arXiv 2304.08465): the edit looks at the source's keys and values."""

import torch
from torch import Tensor

from mdp_lite.eval.rivals.asked import Asked, Edited, Row, called, null_row, stepped
from mdp_lite.eval.rivals.attention import Count, blocks
from mdp_lite.models.transformer import SDPA

STEP = 4 / 50  # S of Eq. 5 as a share of N: from there on the layout stands
LAYER = 10 / 16  # L of Eq. 5 as a share of the blocks: SD has 16, ten of them before


class Mutual:
    """Attention of rows (source null, target null, source, target) with mutual self-attention.

    Eq. 5: from step S and layer L on, Attention(Q, K_s, V_s), for both halves of the guidance.
    """

    def __init__(self, first: int) -> None:
        self._first, self._count = first, Count()

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention as the UNet asks for it, q (4b, h, n, d)."""
        layer = self._count.layer(q)
        if layer.text or layer.block < self._first:
            return SDPA(q, k, v)
        return SDPA(q, _of_the_source(k), _of_the_source(v))


def masactrl(asked: Asked, step: float = STEP, layer: float = LAYER) -> Edited:
    """Edits whose self-attention is to the source."""
    source, n = asked.source, len(asked.grid.t)
    first = round(layer * blocks(asked.unet))
    x = source.x[0]
    for i in range(n):
        null, there = null_row(asked, i), source.x[i]
        rows = [Row(there, null), Row(x, null), Row(there, source.c), Row(x, asked.to.c)]
        attend = Mutual(first) if i >= round(step * n) else SDPA
        _, e_null, _, e = called(asked.unet, asked.grid.t[i], rows, attend)
        x = stepped(asked, i, x, e_null, e)
    return Edited(x, 4 * n)


def _of_the_source(rows: Tensor) -> Tensor:
    """The source's keys or values in the place of the target's."""
    null, _, c, _ = rows.chunk(4)
    return torch.cat([null, null, c, c])
