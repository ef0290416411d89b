"""The configs of published models at full size, and what counts of them for a plan."""

import torch

from mdp_lite.checkpoint.assign import BuildOnMeta
from mdp_lite.engine.edit_bytes import ModelFacts, read_facts
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.condition import count_rows
from mdp_lite.models.config import CLIPConfig, UNetConfig, VAEConfig
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE

HALF, SINGLE = torch.float16, torch.float32
VAE_CONFIG = VAEConfig((128, 256, 512, 512))
SD15 = UNetConfig(cross_attention_dim=768, sample_size=64)
SDXL = UNetConfig(
    cross_attention_dim=2048,
    block_out_channels=(320, 640, 1280),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    transformer_layers_per_block=(1, 2, 10),
    attention_head_dim=(5, 10, 20),
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
    sample_size=128,
)
CLIP_L = CLIPConfig(49408, 768, 3072, 12, 12)
CLIP_G = CLIPConfig(49408, 1280, 5120, 32, 20, hidden_act="gelu", projection_dim=1280)


def facts(
    unet: UNetConfig, texts: tuple[CLIPConfig, ...], dtype: torch.dtype, vae_dtype: torch.dtype
) -> ModelFacts:
    """What counts of a model with these parts."""
    with BuildOnMeta():
        models = UNet(unet), [CLIPTextEncoder(one) for one in texts], VAE(VAE_CONFIG)
    rows = count_rows(unet.extra_dim, unet.cross_attention_dim)
    return read_facts(*models, 77 + rows, dtype, vae_dtype)


def sd15(dtype: torch.dtype = HALF) -> ModelFacts:
    """Stable Diffusion 1.5."""
    return facts(SD15, (CLIP_L,), dtype, dtype)


def sdxl() -> ModelFacts:
    """Stable Diffusion XL in float16, whose VAE is in float32."""
    return facts(SDXL, (CLIP_L, CLIP_G), HALF, SINGLE)
