"""MasaCtrl (Cao et al. 2023, arXiv 2304.08465): attention to the source's keys and values."""

import torch
from torch import Tensor

from mdp_lite.eval.rivals.attention import LayerCounter, count_blocks
from mdp_lite.eval.rivals.task import (
    CallRow,
    EditedLatents,
    RivalTask,
    call_unet,
    ddim_step,
    null_row,
)
from mdp_lite.models.transformer import SDPA

STEP = 4 / 50  # S of Eq. 5 as a share of N: the layout is settled by then
LAYER = 10 / 16  # L of Eq. 5 as a share of the blocks: SD has 16, ten of them before


class MutualAttention:
    """Attention of rows (source null, target null, source, target) with mutual self-attention.

    Eq. 5: from step S and layer L on, Attention(Q, K_s, V_s), for both halves of the guidance.
    """

    def __init__(self, first_block: int) -> None:
        self._first_block, self._counter = first_block, LayerCounter()

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One attention of the UNet, q (4b, h, n, d)."""
        layer = self._counter.next_layer(q)
        if layer.text or layer.block < self._first_block:
            return SDPA(q, k, v)
        return SDPA(q, _copy_source(k), _copy_source(v))


def masactrl(task: RivalTask, step: float = STEP, layer: float = LAYER) -> EditedLatents:
    """Edit with self-attention to the source, from a share of the steps and of the blocks on."""
    source, n = task.source, len(task.grid.t)
    first = round(layer * count_blocks(task.unet))
    x = source.x[0]
    for i in range(n):
        null, x_source = null_row(task, i), source.x[i]
        rows = [
            CallRow(x_source, null), CallRow(x, null),
            CallRow(x_source, source.c), CallRow(x, task.guidance.c),
        ]  # fmt: skip
        attend = MutualAttention(first) if i >= round(step * n) else SDPA
        _, e_null, _, e = call_unet(task.unet, task.grid.t[i], rows, attend)
        x = ddim_step(task, i, x, e_null, e)
    return EditedLatents(x, 4 * n)


def _copy_source(rows: Tensor) -> Tensor:
    """Keys or values in which the target's rows are replaced by the source's."""
    null, _, c, _ = rows.chunk(4)
    return torch.cat([null, null, c, c])
