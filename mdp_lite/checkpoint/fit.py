"""Whether the three models of a checkpoint fit each other."""

from collections.abc import Sequence

from mdp_lite.models.config import AnyVAEConfig, CLIPConfig, UNetConfig
from mdp_lite.names import BadCheckpoint


def check_fit(texts: Sequence[CLIPConfig], unet: UNetConfig, vae: AnyVAEConfig) -> None:
    """Raises BadCheckpoint unless latents and conditions have the widths that the UNet reads."""
    latent, inputs = vae.latent_channels, unet.in_channels
    if inputs not in (latent, 2 * latent + 1) or unet.out_channels != latent:
        raise BadCheckpoint(
            f"unet must read and write the vae's {latent} channels (or read {2 * latent + 1}, "
            f"to inpaint), got {inputs} and {unet.out_channels}"
        )
    width = sum(text.hidden_size for text in texts)
    if unet.cross_attention_dim != width:
        have = "text encoder has" if len(texts) == 1 else "both text encoders have"
        raise BadCheckpoint(f"unet attends to width {unet.cross_attention_dim}, {have} {width}")
    pooled = texts[1].projection_dim if len(texts) > 1 else 0
    if unet.pooled_dim != pooled:
        raise BadCheckpoint(
            f"unet reads a pooled state of width {unet.pooled_dim}, text encoder 2 has {pooled}"
        )
