"""Prompt-to-Prompt (Hertz et al. 2022, arXiv 2208.01626): the source's attention maps in the edit.

On a generated path this is the paper; on a null-text path it is Mokady et al. 2022 (arXiv
2211.09794), whose null rows the target has; on the pivots of a DDIM inversion it is PnP Inversion
with Prompt-to-Prompt (Ju et al. 2023, arXiv 2310.01506). Guidance by the null row is not
controlled, and the source's null row would only move a latent that is known: three rows a step.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from mdp_lite.eval.rivals.asked import Asked, Edited, Row, called, null_row, stepped
from mdp_lite.eval.rivals.attention import Count, probabilities
from mdp_lite.eval.rivals.words import Words
from mdp_lite.models.transformer import SDPA

MOST_SELF = 32**2  # cells of a layer whose self-attention is replaced (the authors' code)
MOST_BLEND = 16**2  # cells of the maps that local blend reads: all of 16 x 16 at SD's own size
THRESHOLD, WAIT = 0.3, 0.2  # of local blend: k of section 3.2, and the authors' share of N before


class Control(NamedTuple):
    """cross and self_: the share of the steps whose maps are the source's; both start at once.

    weight is c of Eq. 8 for the words that are new in the target; blend: local editing.
    """

    cross: float = 0.8
    self_: float = 0.4
    weight: float = 1.0
    blend: bool = False


class Maps:
    """The attention of one call of rows (null, source, target): edits maps and keeps some."""

    def __init__(self, words: Words, weight: float, cross: bool, self_: bool, keep: bool) -> None:
        self._words, self._cross, self._self, self._keep = words, cross, self_, keep
        self._c = 1 + (weight - 1) * words.new_target[:, None, None]  # c of Eq. 8, (b, 1, 1, l)
        self._count = Count()
        self.kept: list[Tensor] = []  # (2, b, n, l): mean over the heads, source and target

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention as the UNet asks for it, q (3b, h, n, d)."""
        layer = self._count.layer(q)
        if not layer.text and not (self._self and layer.cells <= MOST_SELF):
            return SDPA(q, k, v)
        b = len(q) // 3
        source, target = probabilities(q[b:], k[b:]).chunk(2)
        target = self._edited(source, target) if layer.text else source  # Eq. 9: self-attention
        if layer.text and self._keep and layer.cells <= MOST_BLEND:
            self.kept.append(torch.stack([source, target]).mean(2))
        return torch.cat([SDPA(q[:b], k[:b], v[:b]), torch.cat([source, target]) @ v[b:]])

    def _edited(self, m: Tensor, m_target: Tensor) -> Tensor:
        """Edit(M_t, M*_t, t): Eq. 5 to 8, each (b, h, n, l)."""
        if not self._cross:
            return m_target
        known = self._words.known[:, None, None]
        m = m @ self._words.mapper[:, None]  # the maps of the aligned words: Eq. 5 and 6
        return self._c * (m * known + m_target * (1 - known))


def prompt_to_prompt(asked: Asked, words: Words, how: Control) -> Edited:
    """Edits of the sources under control of how their words are aligned."""
    source, n = asked.source, len(asked.grid.t)
    words = Words(*(part.to(source.c) for part in words))
    cross, self_ = int(how.cross * (n + 1)), int(how.self_ * n)  # as the authors round
    x, seen = source.x[0], None
    for i in range(n):
        maps = Maps(words, how.weight, i < cross, i < self_, how.blend)
        null, c = null_row(asked, i), asked.to.c
        rows = [Row(x, null), Row(source.x[i], source.c), Row(x, c)]
        e_null, _, e = called(asked.unet, asked.grid.t[i], rows, maps)
        x, onward = stepped(asked, i, x, e_null, e), source.x[i + 1]
        if how.blend:
            seen = summed(seen, maps.kept)
            if i >= int(WAIT * n):
                x = torch.where(changed(seen, words, x), x, onward)
    return Edited(x, 3 * n)


def summed(before: Tensor | None, kept: list[Tensor]) -> Tensor:
    """The maps (2, b, n, l) of all steps so far, of the finest layers that local blend reads."""
    most = max(maps.shape[2] for maps in kept)
    now = torch.stack([maps for maps in kept if maps.shape[2] == most]).sum(0)
    return now if before is None else before + now


def changed(maps: Tensor, words: Words, x: Tensor) -> Tensor:
    """Where local editing lets go (b, 1, y, x): B(M_w) or B(M*_w*), Algorithm 1, lines 10 to 12."""
    marks = torch.stack([words.new_source, words.new_target])
    maps = (maps * marks[:, :, None]).sum(-1)
    height = round(x.shape[2] * (maps.shape[2] / (x.shape[2] * x.shape[3])) ** 0.5)
    maps = rearrange(maps, "which b (y x) -> (which b) 1 y x", y=height)
    maps = F.interpolate(F.max_pool2d(maps, 3, 1, 1), size=x.shape[2:])
    highest = maps.amax((2, 3), keepdim=True)
    inside = (maps > THRESHOLD * highest) & (highest > 0)
    return inside.reshape(2, -1, 1, *x.shape[2:]).any(0)
