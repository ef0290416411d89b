"""The CLIP text encoder of Stable Diffusion 1.x and 2.x (Radford et al. 2021, arXiv 2103.00020).

Shapes: b batch, l tokens, h heads, d head dim. Attribute names are the checkpoint's keys.
"""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, arange, nn

from mdp_lite.models.config import CLIPConfig


class CLIPAttention(nn.Module):
    """Causal self-attention: every token attends to itself and to those before it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

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
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

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

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, dim) -> (b, l, dim)."""
        for layer in self.layers:
            x = layer(x)
        return x


class CLIPTextModel(nn.Module):
    """Embeddings, layers and the final norm; checkpoints have it as a module."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.embeddings = CLIPEmbeddings(config)
        self.encoder = CLIPEncoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        """(b, l) token ids -> (b, l, dim)."""
        return self.final_layer_norm(self.encoder(self.embeddings(ids)))


class CLIPTextEncoder(nn.Module):
    """Token ids to the condition c that the UNet attends to."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = CLIPTextModel(config)

    def forward(self, ids: Tensor) -> Tensor:
        """(b, l) token ids -> (b, l, dim), the last hidden state after the final norm."""
        return self.text_model(ids)
