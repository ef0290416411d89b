"""A model with a UNet of one level, which compiles fast, and inputs for it."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.editor import Editor
from mdp_lite.engine import aot
from mdp_lite.engine.engine import choose_attention
from mdp_lite.models.unet import UNet
from support.checkpoints import UNET_CONFIG, write_checkpoint, write_part

CPU = torch.device("cpu")
SMALL = replace(
    UNET_CONFIG,
    block_out_channels=(16,),
    down_block_types=("CrossAttnDownBlock2D",),
    up_block_types=("UpBlock2D",),
)
HEIGHT, WIDTH = 6, 4  # cells


def write_small(folder: Path) -> Path:
    """The random model with a UNet of one level."""
    write_checkpoint(folder)
    torch.manual_seed(1)
    write_part(folder / "unet", "diffusion_pytorch_model.safetensors", UNet(SMALL), SMALL)
    return folder


def open_packages(folder: Path, editor: Editor) -> aot.Packages:
    """The packages of a folder for an editor's UNet on the CPU."""
    attend = choose_attention(CPU, traced=True)
    return aot.open_packages(
        folder, editor.models.unet, CPU, attend, model_hash(editor.models.origin)
    )


def inputs(editor: Editor, rows: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random latents, timesteps and conditions of a UNet call."""
    torch.manual_seed(seed)
    tokens = editor.models.text_encoder.config.max_position_embeddings
    x, c = torch.randn(rows, 4, HEIGHT, WIDTH), torch.randn(rows, tokens, SMALL.cross_attention_dim)
    return x, torch.randint(0, 1000, (rows,)), c
