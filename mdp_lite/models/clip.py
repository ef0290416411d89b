"""The CLIP text encoders of Stable Diffusion (Radford et al. 2021, arXiv 2103.00020).

Shapes: b batch, l tokens, h heads, d head dim. Attribute names are the checkpoint's keys.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, arange, cat, nn

from mdp_lite.models.aligned import Linear
from mdp_lite.models.condition import SIZES, pack
from mdp_lite.models.config import CLIPConfig


class CLIPAttention(nn.Module):
    """Causal self-attention: every token attends to itself and to those before it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = Linear(dim, dim)
        self.k_proj = Linear(dim, dim)
        self.v_proj = Linear(dim, dim)
        self.out_proj = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, h d) -> (b, l, h d)."""
        projections = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        q, k, v = (rearrange(one, "b l (h d) -> b h l d", h=self.heads) for one in projections)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(rearrange(out, "b h l d -> b l (h d)"))


class CLIPMLP(nn.Module):
    """Two linear layers; quick_gelu(x) = x sigmoid(1.702 x) in SD 1.x, gelu in SD 2.x."""

    def __init__(self, dim: int, hidden: int, act: str) -> None:
        super().__init__()
        self.act = act
        self.fc1 = Linear(dim, hidden)
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, dim) -> (b, l, dim)."""
        x = self.fc1(x)
        x = x * (1.702 * x).sigmoid() if self.act == "quick_gelu" else F.gelu(x)
        return self.fc2(x)


class CLIPLayer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        dim, eps = config.hidden_size, config.layer_norm_eps
        self.layer_norm1 = nn.LayerNorm(dim, eps)
        self.self_attn = CLIPAttention(dim, config.num_attention_heads)
        self.layer_norm2 = nn.LayerNorm(dim, eps)
        self.mlp = CLIPMLP(dim, config.intermediate_size, config.hidden_act)

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, dim) -> (b, l, dim)."""
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class CLIPEmbeddings(nn.Module):
    """Token and position tables."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        """(b, l) token ids -> (b, l, dim)."""
        positions = arange(ids.shape[1], device=ids.device)
        return self.token_embedding(ids) + self.position_embedding(positions)


class CLIPEncoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(CLIPLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """(b, l, dim) -> (b, l, dim), through the layers from start to stop."""
        for layer in self.layers[start:stop]:
            x = layer(x)
        return x


class CLIPTextModel(nn.Module):
    """Embeddings, layers and the final norm; checkpoints have it as a module."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.embeddings = CLIPEmbeddings(config)
        self.encoder = CLIPEncoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)


class CLIPTextEncoder(nn.Module):
    """Token ids to the condition c that the UNet attends to.

    skip (diffusers' clip_skip) is how many of the last layers are left out. The second text encoder
    of SDXL also has a projection, for a pooled state of the whole prompt.
    """

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = CLIPTextModel(config)
        if config.projection_dim:
            self.text_projection = Linear(config.hidden_size, config.projection_dim, bias=False)

    def forward(self, ids: Tensor, skip: int = 0) -> Tensor:
        """(b, l) token ids -> (b, l, dim), the last hidden state after the final norm."""
        model, stop = self.text_model, self.config.num_hidden_layers - skip
        return model.final_layer_norm(model.encoder(model.embeddings(ids), 0, stop))

    def hidden(self, ids: Tensor, skip: int = 0) -> Tensor:
        """(b, l) token ids -> (b, l, dim), the state before the last layer and without a norm."""
        model, stop = self.text_model, self.config.num_hidden_layers - 1 - skip
        return model.encoder(model.embeddings(ids), 0, stop)

    def pool(self, hidden: Tensor, ids: Tensor, eos: int, skip: int = 0) -> Tensor:
        """hidden(ids, skip) and the id of the end -> (b, projection_dim), the state of the end."""
        model, start = self.text_model, self.config.num_hidden_layers - 1 - skip
        last = model.final_layer_norm(model.encoder(hidden, start))
        ends = (ids == eos).int().argmax(dim=-1)
        return self.text_projection(last[arange(len(ids), device=ids.device), ends])


class CLIPTextEncoders(nn.Module):
    """The two text encoders of SDXL, as one that gives the packed condition of condition.py."""

    def __init__(self, first: CLIPTextEncoder, second: CLIPTextEncoder, eos: int) -> None:
        super().__init__()
        self.config, self.eos = first.config, eos
        self.first, self.second = first, second

    def forward(self, ids: Tensor, skip: int = 0) -> Tensor:
        """(b, 2, l) token ids, one row for each encoder -> c (b, l + k, d), with sizes of 0."""
        first, second = ids.unbind(1)
        hidden = self.second.hidden(second, skip)
        states = cat([self.first.hidden(first, skip), hidden], dim=-1)
        pooled = self.second.pool(hidden, second, self.eos, skip)
        return pack(states, pooled, pooled.new_zeros(len(pooled), SIZES))
