"""Prompt-to-Prompt as published (Hertz et al. 2022, arXiv 2208.01626), on diffusers' parts.

What mdp_lite.eval.rivals is held against: Algorithm 1 as the authors run it. Source and target are
sampled side by side in one batch of four rows (both null rows, then both prompts), and attention
processors edit the maps of the prompts' rows. Mappers are given by the tests, written out.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

Edit = Callable[[Tensor, Tensor], Tensor]  # maps (h, n, l) of source and target -> the target's


class Control(NamedTuple):
    """Of n steps: edit of cross-attention while i < cross; self-attention replaced while i < self_.

    blend has the places of the blended word in each prompt, or nothing.
    """

    edit: Edit
    cross: int
    self_: int
    blend: tuple[list[int], list[int]] | None = None


def replacement(mapper: Tensor) -> Edit:
    """Eq. 5 by a matrix (l, l) from the source's words to the target's."""
    return lambda source, target: torch.einsum("hpw,wn->hpn", source, mapper)


def refinement(places: list[int]) -> Edit:
    """Eq. 6: the place in the source of each of the target's tokens, -1 for new ones."""
    known = torch.tensor([float(place >= 0) for place in places]).double()
    return lambda source, target: source[:, :, places] * known + target * (1 - known)


def reweighting(before: Edit, scales: Tensor) -> Edit:
    """Eq. 8 after another edit."""
    return lambda source, target: before(source, target) * scales


class Attending:
    """One layer's attention; it has the step from who owns it, and keeps maps there."""

    def __init__(self, run: "Run", name: str) -> None:
        self.run, self.name = run, name

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        cross = encoder_hidden_states is not None
        context = encoder_hidden_states if cross else hidden_states
        q = attn.head_to_batch_dim(attn.to_q(hidden_states))
        k = attn.head_to_batch_dim(attn.to_k(context))
        v = attn.head_to_batch_dim(attn.to_v(context))
        maps = attn.get_attention_scores(q, k, None)  # type: ignore[arg-type]
        maps = self.run.controlled(maps, cross, self.name)
        out: Any = attn.to_out
        return out[0](attn.batch_to_head_dim(torch.bmm(maps, v)))


class Run:
    """Both paths from one noise x (1, 4, y, x) under the prompts' conditions."""

    def __init__(self, unet: UNet2DConditionModel, scheduler: DDIMScheduler, control: Control):
        self.unet, self.scheduler, self.control = unet, scheduler, control
        self.step, self.sums = 0, {}
        unet.set_attn_processor({name: Attending(self, name) for name in unet.attn_processors})

    def controlled(self, maps: Tensor, cross: bool, name: str) -> Tensor:
        nulls, prompts = maps.chunk(2)
        source, target = prompts.chunk(2)
        if cross and self.step < self.control.cross:
            target = self.control.edit(source, target)
        if not cross and self.step < self.control.self_:
            target = source
        if cross:
            self.sums[name] = self.sums.get(name, 0) + torch.stack([source, target]).mean(1)
        return torch.cat([nulls, source, target])

    def blended(self, x: Tensor) -> Tensor:
        """Section 3.2, local editing: the target's latent where either prompt's word is seen."""
        assert self.control.blend
        cells = max(maps.shape[1] for maps in self.sums.values())
        fine = torch.stack([maps for maps in self.sums.values() if maps.shape[1] == cells]).mean(0)
        masks = []
        for maps, places in zip(fine, self.control.blend, strict=True):
            seen = maps[:, places].sum(-1).reshape(1, 1, int(cells**0.5), -1)
            seen = F.interpolate(F.max_pool2d(seen, 3, 1, 1), size=x.shape[2:])
            masks.append(seen / seen.max() > 0.3)
        inside = (masks[0] | masks[1]).to(x)
        return torch.cat([x[:1], x[:1] + inside * (x[1:] - x[:1])])

    @torch.no_grad()
    def __call__(self, x: Tensor, null: Tensor, c: Tensor, n: int, g: float) -> Tensor:
        """x (1, 4, y, x), null (1, l, d), c (2, l, d) -> clean latents (2, 4, y, x)."""
        self.scheduler.set_timesteps(n)
        x = x.repeat(2, 1, 1, 1)
        rows = torch.cat([null, null, c])
        for i, t in enumerate(self.scheduler.timesteps):
            self.step = i
            out = self.unet(torch.cat([x, x]), t, encoder_hidden_states=rows).sample
            e_null, e = out.chunk(2)
            x = self.scheduler.step(e_null + g * (e - e_null), t, x).prev_sample  # type: ignore[arg-type]
            if self.control.blend and i >= int(0.2 * n):
                x = self.blended(x)
        return x
