"""Small SDXL checkpoints of SDXL's own three-level shape, as folders of diffusers' pipelines.

Single files tell no head counts, groups or activations, so these models have SDXL's own.
"""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from mdp_lite_weights.convert import convert
from support.diffusers_pipelines import randomise
from support.ldm import write_single
from support.letters import END, START, WORDS, scheduler, tokenizer

Tensors = dict[str, Tensor]
PARTS = ("text_encoder", "text_encoder_2", "unet", "vae")
WIDTHS, DEPTHS = (64, 128, 128), (1, 2, 3)
TEXT, TEXT_2, PROJECTION = 64, 128, 96
SIZES = 6 * 256  # of the embedded sizes, beside the pooled state


def text_encoder(second: bool) -> CLIPTextModel | CLIPTextModelWithProjection:
    width = TEXT_2 if second else TEXT
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2 + second,
        num_attention_heads=width // 64,
        max_position_embeddings=16,
        hidden_act="gelu" if second else "quick_gelu",
        projection_dim=PROJECTION if second else TEXT,
        bos_token_id=START,
        eos_token_id=2 if second else END,  # 2 stands for the highest id, as in SDXL's config
    )
    return (CLIPTextModelWithProjection if second else CLIPTextModel)(config)


def unet(channels: int = 4) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        in_channels=channels,
        block_out_channels=WIDTHS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=DEPTHS,
        attention_head_dim=[width // 64 for width in WIDTHS],
        cross_attention_dim=TEXT + TEXT_2,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=PROJECTION + SIZES,
        sample_size=128,
    )


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=1024,
        scaling_factor=0.13025,
    )


def small_xl(prediction: str = "epsilon", channels: int = 4) -> StableDiffusionXLPipeline:
    """A random pipeline that a single file has a place for; channels are what its UNet reads."""
    torch.manual_seed(7)
    return StableDiffusionXLPipeline(
        vae=randomise(vae(), 1),
        text_encoder=randomise(text_encoder(False), 2),
        text_encoder_2=randomise(text_encoder(True), 3),
        tokenizer=tokenizer("<|endoftext|>"),
        tokenizer_2=tokenizer("!"),
        unet=randomise(unet(channels), 4),
        scheduler=scheduler(prediction),
        add_watermarker=False,
    )


class SmallXL:
    """A folder that diffusers wrote, the single file of it, and that one's tensors."""

    def __init__(self, top: Path) -> None:
        self.folder, self.file = top / "folder", top / "file" / "model.safetensors"
        small_xl().save_pretrained(self.folder)
        convert(self.folder, self.file)
        self.tensors = load_file(self.file)

    def write(
        self, path: Path, change: Tensors, without: tuple[str, ...] = (), **data: str
    ) -> Path:
        rest = {k: t for k, t in self.tensors.items() if not (without and k.startswith(without))}
        return write_single(path, rest | change, **data)
