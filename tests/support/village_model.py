"""A random model of the village, laid out as the recipe of the second model writes it, and readers.

It is small enough to make anew; the number of its latents' channels is free.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mdp_lite.eval.score import render
from mdp_lite.eval.village.reader import truth
from mdp_lite.eval.worlds import VILLAGE, World
from mdp_lite.models.clip import CLIPTextEncoder
from mdp_lite.models.unet import UNet
from mdp_lite.models.vae import VAE
from train_tiny.export import write_folder
from train_tiny.recipe import Recipe, unet_of, vae_of
from train_tiny.small import SMALL
from train_tiny.tokens import merges_for, vocabulary


def shrink_recipe(channels: int) -> Recipe:
    """The second model's recipe at toy widths, its latents of so many channels."""
    return replace(
        SMALL, vae=vae_of((8, 8, 8, 8), 128, channels),
        unet=unet_of((8, 8, 16), groups=4, cross=16, channels=channels),
        text_width=16, text_layers=1,
    )  # fmt: skip


def write_village_model(folder: Path, channels: int = 4) -> Path:
    """Write the folder of a random model; equal calls write equal files."""
    torch.manual_seed(channels)
    recipe = shrink_recipe(channels)
    words = len(vocabulary(merges_for(recipe.world.words)))
    vae, unet = VAE(recipe.vae), UNet(recipe.unet)
    text = CLIPTextEncoder(recipe.text_config(words))
    both = {f"unet.{name}": tensor for name, tensor in unet.state_dict().items()}
    both |= {f"text_encoder.{name}": tensor for name, tensor in text.state_dict().items()}
    write_folder(recipe, vae.state_dict(), both, 1.5, folder)
    return folder


def build_untrained_reader() -> nn.Module:
    """A reader of the village that reads nothing, always the same one."""
    torch.manual_seed(5)
    return VILLAGE.reader.build().eval().requires_grad_(False)


def without_training(world: World = VILLAGE) -> World:
    """The world with an untrained reader."""
    return world._replace(reader=world.reader._replace(load=build_untrained_reader))


def know_pictures(scenes: Iterable[Any]) -> World:
    """The village with a perfect reader of these scenes' pictures, which no network computes."""
    some = list(scenes)
    known = render(some, VILLAGE.draw)

    def ask(_: nn.Module, pictures: Tensor) -> list[dict[str, str]]:
        nearest = torch.cdist(pictures.flatten(1), known.flatten(1)).argmin(1)
        return [truth(some[i]) for i in nearest.tolist()]

    return VILLAGE._replace(reader=VILLAGE.reader._replace(ask=ask))
