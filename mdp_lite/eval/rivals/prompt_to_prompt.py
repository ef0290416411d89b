"""Prompt-to-Prompt (Hertz et al. 2022, arXiv 2208.01626): the source's attention maps in the edit.

The source decides which published method this is. A generated path: the paper itself. A null-text
path, whose null rows the target uses too: Mokady et al. 2022 (arXiv 2211.09794). The pivots of a
DDIM inversion: PnP Inversion with Prompt-to-Prompt (Ju et al. 2023, arXiv 2310.01506). The null
row's attention is not controlled, and the source needs no null row, because its latents are known:
so a step has three rows. Where swapped words differ in their number of tokens, replacing follows
the paper, not the authors' aligner: see alignment.py.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from mdp_lite.eval.rivals.alignment import WordAlignment
from mdp_lite.eval.rivals.attention import LayerCounter, probabilities
from mdp_lite.eval.rivals.task import (
    CallRow,
    EditedLatents,
    RivalTask,
    call_unet,
    ddim_step,
    null_row,
)
from mdp_lite.models.transformer import SDPA

MAX_SELF_CELLS = 32**2  # of a layer whose self-attention is replaced (the authors' code)
MAX_BLEND_CELLS = 16**2  # of the maps that local blend reads: all of 16 x 16 at SD's own size
THRESHOLD, WAIT = 0.3, 0.2  # of local blend: k of section 3.2, and the share of N before it starts


class AttentionControl(NamedTuple):
    """cross and self_: the share of the steps whose maps are the source's, from the first step on.

    weight is c of Eq. 8 for the words that are new in the target; blend: local editing.
    """

    cross: float = 0.8
    self_: float = 0.4
    weight: float = 1.0
    blend: bool = False


class ControlledAttention:
    """The attention of one UNet call with rows (null, source, target).

    It replaces the target's maps where cross or self_ says so. With record, maps holds the text
    attention of each layer that local blend reads, (2, b, n, l): source and target, mean over the
    heads.
    """

    def __init__(
        self, words: WordAlignment, weight: float, cross: bool, self_: bool, record: bool
    ) -> None:
        self._words, self._cross, self._self, self._record = words, cross, self_, record
        self._c = 1 + (weight - 1) * words.new_target[:, None, None]  # c of Eq. 8, (b, 1, 1, l)
        self._counter = LayerCounter()
        self.maps: list[Tensor] = []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """One attention of the UNet, q (3b, h, n, d)."""
        layer = self._counter.next_layer(q)
        if not layer.text and not (self._self and layer.cells <= MAX_SELF_CELLS):
            return SDPA(q, k, v)
        b = len(q) // 3
        source, target = probabilities(q[b:], k[b:]).chunk(2)
        target = self._edit(source, target) if layer.text else source  # Eq. 9: self-attention
        if layer.text and self._record and layer.cells <= MAX_BLEND_CELLS:
            self.maps.append(torch.stack([source, target]).mean(2))
        return torch.cat([SDPA(q[:b], k[:b], v[:b]), torch.cat([source, target]) @ v[b:]])

    def _edit(self, m: Tensor, m_target: Tensor) -> Tensor:
        """Edit(M_t, M*_t, t): Eq. 5 to 8, each (b, h, n, l)."""
        if not self._cross:
            return m_target
        aligned = self._words.aligned[:, None, None]
        m = m @ self._words.mapper[:, None]  # the maps of the aligned words: Eq. 5 and 6
        return self._c * (m * aligned + m_target * (1 - aligned))


def prompt_to_prompt(
    task: RivalTask, words: WordAlignment, control: AttentionControl
) -> EditedLatents:
    """Edit with the source's attention maps in the first steps; words aligns the prompts' words."""
    source, n = task.source, len(task.grid.t)
    words = WordAlignment(*(part.to(source.c) for part in words))
    cross, self_ = int(control.cross * (n + 1)), int(control.self_ * n)  # as the authors round
    x, maps = source.x[0], None
    for i in range(n):
        attend = ControlledAttention(words, control.weight, i < cross, i < self_, control.blend)
        null, c = null_row(task, i), task.guidance.c
        rows = [CallRow(x, null), CallRow(source.x[i], source.c), CallRow(x, c)]
        e_null, _, e = call_unet(task.unet, task.grid.t[i], rows, attend)
        x = ddim_step(task, i, x, e_null, e)
        if control.blend:
            maps = add_maps(maps, attend.maps)
            if i >= int(WAIT * n):
                x = torch.where(blend_mask(maps, words, x), x, source.x[i + 1])
    return EditedLatents(x, 3 * n)


def add_maps(total: Tensor | None, maps: list[Tensor]) -> Tensor:
    """Add the maps of one step to the total (2, b, n, l); only those of the finest layers count."""
    cells = max(one.shape[2] for one in maps)
    now = torch.stack([one for one in maps if one.shape[2] == cells]).sum(0)
    return now if total is None else total + now


def blend_mask(maps: Tensor, words: WordAlignment, x: Tensor) -> Tensor:
    """Where local editing may change the latent (b, 1, y, x): Algorithm 1, lines 10 to 12.

    B(M_w) or B(M*_w*): the cells that either prompt's new words attend to.
    """
    marks = torch.stack([words.new_source, words.new_target])
    maps = (maps * marks[:, :, None]).sum(-1)
    height = round(x.shape[2] * (maps.shape[2] / (x.shape[2] * x.shape[3])) ** 0.5)
    maps = rearrange(maps, "which b (y x) -> (which b) 1 y x", y=height)
    maps = F.interpolate(F.max_pool2d(maps, 3, 1, 1), size=x.shape[2:])
    highest = maps.amax((2, 3), keepdim=True)
    inside = (maps > THRESHOLD * highest) & (highest > 0)
    return inside.reshape(2, -1, 1, *x.shape[2:]).any(0)
