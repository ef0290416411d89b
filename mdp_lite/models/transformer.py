"""The transformers of the denoiser: self-attention, attention to the text, feed-forward.

Shapes: b batch, c channels, y x height and width, n cells, l tokens, h heads, d head dim.
Attribute names are the diffusers-layout checkpoint keys.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from mdp_lite.models.aligned import Linear
from mdp_lite.models.config import UNetConfig
from mdp_lite.models.conv import Conv2d
from mdp_lite.models.layers import GroupNorm

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # q (b, h, n, d), k, v (b, h, l, d) -> like q
SDPA: Attend = F.scaled_dot_product_attention


class Conditioning(NamedTuple):
    """What all layers read beside x: UNet.times of t, UNet.text of c, and the attention function.

    times (1 or b, -1) and text (b, l, -1) hold the projections of all layers side by side; each
    layer reads its own proj_slice.
    """

    times: Tensor
    text: Tensor
    attend: Attend


class Attention(nn.Module):
    """Multi-head attention of x over keys and values, which to_k and to_v make beforehand."""

    def __init__(self, dim: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = Linear(dim, dim, bias=False)
        self.to_k = Linear(context_dim, dim, bias=False)
        self.to_v = Linear(context_dim, dim, bias=False)
        self.to_out = nn.ModuleList([Linear(dim, dim)])
        self.proj_slice = slice(0)  # of its keys and values in UNet.text; the UNet sets it

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, attend: Attend) -> Tensor:
        """x (b, n, h d), keys and values (b, l, h d) -> (b, n, h d)."""
        return self.mix((self.to_q(x), keys, values), attend)

    def of_itself(self, x: Tensor, attend: Attend) -> Tensor:
        """Self-attention: (b, n, h d) -> (b, n, h d)."""
        return self(x, self.to_k(x), self.to_v(x), attend)

    def mix(self, rows: Sequence[Tensor], attend: Attend) -> Tensor:
        """From queries (b, n, h d), and keys and values (b, l, h d)."""
        q, k, v = (rearrange(row, "b l (h d) -> b h l d", h=self.heads) for row in rows)
        return self.to_out[0](rearrange(attend(q, k, v), "b h l d -> b l (h d)"))


class GEGLU(nn.Module):
    """proj(x) = (u, gate); u * gelu(gate) (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.proj = Linear(dim, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> (b, n, hidden)."""
        u, gate = self.proj(x).chunk(2, dim=-1)
        return u * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU four times as wide, then back.

    net[1] is an identity in place of a dropout, so that the indices match the checkpoint's keys.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GEGLU(dim, 4 * dim), nn.Identity(), Linear(4 * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        """(b, n, dim) -> (b, n, dim)."""
        return self.net[2](self.net[0](x))


class BasicTransformerBlock(nn.Module):
    """Self-attention, attention to the text, feed-forward; each pre-norm with a residual."""

    def __init__(self, dim: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn1 = Attention(dim, dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.attn2 = Attention(dim, context_dim, heads)
        self.norm3 = nn.LayerNorm(dim)
        self.ff = FeedForward(dim)

    def text_free(self, x: Tensor, attend: Attend) -> Tensor:
        """The part that does not read the text, self-attention: (b, n, dim) -> (b, n, dim)."""
        return x + self.attn1.of_itself(self.norm1(x), attend)

    def with_text(self, x: Tensor, conditioning: Conditioning) -> Tensor:
        """Attention to the text, then feed-forward: (b, n, dim) -> (b, n, dim)."""
        keys, values = conditioning.text[..., self.attn2.proj_slice].chunk(2, dim=-1)
        x = x + self.attn2(self.norm2(x), keys, values, conditioning.attend)
        return x + self.ff(self.norm3(x))


class Transformer2DModel(nn.Module):
    """A stack of transformer blocks over the cells of a feature map."""

    def __init__(self, config: UNetConfig, channels: int, heads: int, depth: int) -> None:
        super().__init__()
        self.linear = config.use_linear_projection
        self.norm = GroupNorm(config.norm_num_groups, channels, eps=1e-6)
        self.proj_in, self.proj_out = (
            Linear(channels, channels) if self.linear else Conv2d(channels, channels, 1)
            for _ in range(2)
        )
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(channels, config.cross_attention_dim, heads) for _ in range(depth)
        )

    def text_free(self, x: Tensor, attend: Attend) -> Tensor:
        """All before the first attention to the text: (b, channels, y, x) -> (b, y x, channels)."""
        h = self.norm(x)
        h = h if self.linear else self.proj_in(h)
        h = rearrange(h, "b c y x -> b (y x) c")
        first: Any = self.transformer_blocks[0]
        return first.text_free(self.proj_in(h) if self.linear else h, attend)

    def with_text(self, x: Tensor, h: Tensor, conditioning: Conditioning) -> Tensor:
        """The rest, from x (b, channels, y, x) and h = text_free(x): like x."""
        block: Any
        for i, block in enumerate(self.transformer_blocks):
            h = block.text_free(h, conditioning.attend) if i else h
            h = block.with_text(h, conditioning)
        h = self.proj_out(h) if self.linear else h
        h = rearrange(h, "b (y x) c -> b c y x", y=x.shape[2])
        return x + (h if self.linear else self.proj_out(h))

    def forward(self, x: Tensor, conditioning: Conditioning) -> Tensor:
        """(b, channels, y, x) -> (b, channels, y, x), in two parts: null-text reuses the first."""
        return self.with_text(x, self.text_free(x, conditioning.attend), conditioning)
