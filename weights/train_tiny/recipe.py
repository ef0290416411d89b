"""Sizes of the bundled model, and the minutes of each stage."""

from dataclasses import dataclass

from mdp_lite.models.config import CLIPConfig, SchedulerConfig, UNetConfig, VAEConfig
from train_tiny.tokens import LENGTH

SIZE = 64  # pixels along a side

VAE = VAEConfig(
    block_out_channels=(16, 32, 80),
    down_block_types=("DownEncoderBlock2D",) * 3,
    up_block_types=("UpDecoderBlock2D",) * 3,
    layers_per_block=1,
    norm_num_groups=8,
    sample_size=SIZE,
    scaling_factor=1.0,  # replaced by 1 / standard deviation of the latents after training
    mid_block_add_attention=False,
)
# Attention at 8x8 and 4x4 only: at 16x16 its backward costs a fifth of the time on a CPU.
UNET = UNetConfig(
    block_out_channels=(64, 96, 128),
    down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    layers_per_block=1,
    cross_attention_dim=128,
    attention_head_dim=4,
    norm_num_groups=16,
    sample_size=16,
)
SCHEDULER = SchedulerConfig(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    steps_offset=1,
    set_alpha_to_one=False,
)

# The defaults of this checkpoint, chosen on the scores (see the model card).
DEFAULTS = {"num_inference_steps": 50, "guidance_scale": 4.0}
# dB that the trained VAE gives back of pictures of the world; a bound for its own, see the card.
LEAST_PSNR = 27.0


def text_config(vocab_size: int) -> CLIPConfig:
    """The text encoder for a vocabulary."""
    return CLIPConfig(vocab_size, 128, 384, 2, 4, max_position_embeddings=LENGTH)


@dataclass(frozen=True)
class Budget:
    """The number of scenes, and the minutes of training of each part."""

    scenes: int = 60_000
    vae: float = 20.0
    unet: float = 50.0
    decoder: float = 10.0
