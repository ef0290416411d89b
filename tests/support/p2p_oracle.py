"""Prompt-to-Prompt as published (Hertz et al. 2022, arXiv 2208.01626), on diffusers' parts.

Tests compare mdp_lite.eval.rivals with it. It is Algorithm 1 as the authors run it: source and
target are sampled side by side in one batch of four rows (both null rows, then both prompts), and
attention processors edit the maps of the prompts' rows. The tests write the word mappers by hand.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

Edit = Callable[[Tensor, Tensor], Tensor]  # maps (h, n, l) of source and target -> the target's


class OracleControl(NamedTuple):
    """Edit cross-attention while step i < cross, replace self-attention while i < self_.

    blend: the positions of the blended word in each prompt, or None.
    """

    edit: Edit
    cross: int
    self_: int
    blend: tuple[list[int], list[int]] | None = None


def replacement(mapper: Tensor) -> Edit:
    """Eq. 5 by a matrix (l, l) from the source's words to the target's."""
    return lambda source, target: torch.einsum("hpw,wn->hpn", source, mapper)


def refinement(positions: list[int]) -> Edit:
    """Eq. 6: the position in the source of each of the target's tokens, -1 for new ones."""
    aligned = torch.tensor([float(position >= 0) for position in positions]).double()
    return lambda source, target: source[:, :, positions] * aligned + target * (1 - aligned)


def reweighting(edit: Edit, scales: Tensor) -> Edit:
    """Eq. 8 after another edit."""
    return lambda source, target: edit(source, target) * scales


class OracleAttention:
    """One layer's attention; the run knows the step and stores the maps."""

    def __init__(self, run: "OracleRun", name: str) -> None:
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
        maps = self.run.edit_maps(maps, cross, self.name)
        out: Any = attn.to_out
        return out[0](attn.batch_to_head_dim(torch.bmm(maps, v)))


class OracleRun:
    """Both paths from one noise x (1, 4, y, x) under the prompts' conditions."""

    def __init__(
        self, unet: UNet2DConditionModel, scheduler: DDIMScheduler, control: OracleControl
    ):
        self.unet, self.scheduler, self.control = unet, scheduler, control
        self.step, self.sums = 0, {}
        unet.set_attn_processor(
            {name: OracleAttention(self, name) for name in unet.attn_processors}
        )

    def edit_maps(self, maps: Tensor, cross: bool, name: str) -> Tensor:
        nulls, prompts = maps.chunk(2)
        source, target = prompts.chunk(2)
        if cross and self.step < self.control.cross:
            target = self.control.edit(source, target)
        if not cross and self.step < self.control.self_:
            target = source
        if cross:
            self.sums[name] = self.sums.get(name, 0) + torch.stack([source, target]).mean(1)
        return torch.cat([nulls, source, target])

    def blend(self, x: Tensor) -> Tensor:
        """Section 3.2, local editing: the target's latent where either prompt's word attends."""
        assert self.control.blend
        cells = max(maps.shape[1] for maps in self.sums.values())
        fine = torch.stack([maps for maps in self.sums.values() if maps.shape[1] == cells]).mean(0)
        masks = []
        for maps, positions in zip(fine, self.control.blend, strict=True):
            word = maps[:, positions].sum(-1).reshape(1, 1, int(cells**0.5), -1)
            word = F.interpolate(F.max_pool2d(word, 3, 1, 1), size=x.shape[2:])
            masks.append(word / word.max() > 0.3)
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
                x = self.blend(x)
        return x
