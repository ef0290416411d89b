"""Recipes: what a model is trained on, its sizes, and how long each part is trained."""

from dataclasses import dataclass
from pathlib import Path

from mdp_lite.eval.worlds import POSTCARDS, ReaderKit, World
from mdp_lite.models.config import CLIPConfig, SchedulerConfig, UNetConfig, VAEConfig
from train_tiny.tokens import LENGTH

PARTS = ("vae", "unet", "decoder", "reader")  # what is trained, each to a file of its name


@dataclass(frozen=True)
class Settings:
    """The training of one part: its length in minutes, or in steps if these are given.

    batch is for all processes together. peak is the highest learning rate; it falls in the last
    share tail of the training. average is the decay of the averaged weights.
    """

    minutes: float
    batch: int
    peak: float
    average: float
    steps: int = 0
    tail: float = 1.0
    warmup: int = 100  # steps
    save_every: float = 120.0  # seconds between checkpoints
    muon: bool = False  # Muon for matrices instead of AdamW, see optimizers.py


@dataclass(frozen=True)
class Recipe:
    """All that distinguishes one bundled model's training from another's."""

    name: str
    world: World
    size: int  # pixels along a side
    length: int  # tokens of a prompt, start and end among them
    scenes: int
    vae: VAEConfig
    unet: UNetConfig
    text_width: int
    text_layers: int
    vae_training: Settings
    unet_training: Settings
    decoder_training: Settings
    reader: ReaderKit
    reader_training: Settings
    defaults: dict[str, float]  # of the checkpoint: steps and guidance
    least_psnr: float | None = None  # dB that its VAE gives back of its world, see the card
    prompts: int = 12  # of which pictures are shown during training
    measured: int = 64  # pictures that the VAE is measured on during training
    reader_scenes: int = 0  # that the reader learns from; 0: those of all parts
    resume: Path | None = None  # a committed checkpoint, from which a new work folder starts

    def text_config(self, vocab_size: int) -> CLIPConfig:
        """The text encoder for a vocabulary."""
        width = self.text_width
        return CLIPConfig(vocab_size, width, 3 * width, self.text_layers, 4,
                          max_position_embeddings=self.length)  # fmt: skip


SCHEDULER = SchedulerConfig(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    steps_offset=1,
    set_alpha_to_one=False,
)


def vae_of(widths: tuple[int, ...], size: int, channels: int = 4) -> VAEConfig:
    """A VAE of one layer per block without attention, for pictures of a size."""
    return VAEConfig(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=size,
        latent_channels=channels,
        scaling_factor=1.0,  # replaced by 1 / standard deviation of the latents after training
        mid_block_add_attention=False,
    )


def unet_of(widths: tuple[int, int, int], groups: int, cross: int, channels: int = 4) -> UNetConfig:
    """A UNet on 16x16 latents with attention at 8x8 and 4x4 only.

    At 16x16 the backward pass of attention costs a fifth of the time on a CPU.
    """
    return UNetConfig(
        block_out_channels=widths,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=cross,
        attention_head_dim=4,
        norm_num_groups=groups,
        sample_size=16,
        in_channels=channels,
        out_channels=channels,
    )


TINY = Recipe(
    name="tiny",
    world=POSTCARDS,
    size=64,
    length=LENGTH,
    scenes=60_000,
    vae=vae_of((16, 32, 80), 64),
    unet=unet_of((64, 96, 128), groups=16, cross=128),
    text_width=128,
    text_layers=2,
    vae_training=Settings(20.0, batch=8, peak=2e-3, average=0.998),
    unet_training=Settings(50.0, batch=64, peak=8e-4, average=0.9995),
    decoder_training=Settings(10.0, batch=8, peak=1e-3, average=0.998),
    reader=POSTCARDS.reader,
    reader_training=Settings(0, batch=32, peak=3e-3, average=0.99, steps=1500),
    # The defaults of this checkpoint, chosen on the scores (see the model card).
    defaults={"num_inference_steps": 50, "guidance_scale": 4.0},
    least_psnr=27.0,
)
