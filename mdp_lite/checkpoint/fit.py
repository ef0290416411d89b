"""Whether the three models of a checkpoint fit each other."""

from mdp_lite.models.config import CLIPConfig, UNetConfig, VAEConfig
from mdp_lite.names import BadCheckpoint


def check_fit(text: CLIPConfig, unet: UNetConfig, vae: VAEConfig) -> None:
    """Raises BadCheckpoint unless latents and conditions have the widths that the UNet reads."""
    if unet.in_channels != vae.latent_channels or unet.out_channels != vae.latent_channels:
        raise BadCheckpoint(
            f"unet must read and write the vae's {vae.latent_channels} channels, "
            f"got {unet.in_channels} and {unet.out_channels}"
        )
    if unet.cross_attention_dim != text.hidden_size:
        raise BadCheckpoint(
            f"unet attends to width {unet.cross_attention_dim}, text encoder has {text.hidden_size}"
        )
