"""What a model can do, as people are told it: its family, its pictures, the words that it knows."""

from typing import NamedTuple

from mdp_lite.checkpoint.knowledge import Knowledge, WordGroup
from mdp_lite.checkpoint.load import Examined
from mdp_lite.checkpoint.models import Models
from mdp_lite.models.config import AnyVAEConfig, UNetConfig

FAMILIES = {  # by the width of the text that a UNet reads, and the channels of its levels
    (768, (320, 640, 1280, 1280)): "Stable Diffusion 1.x",
    (1024, (320, 640, 1280, 1280)): "Stable Diffusion 2.x",
    (2048, (320, 640, 1280)): "Stable Diffusion XL",
}


class Abilities(NamedTuple):
    """A model's name, its family, the default size of its pictures in pixels, what it knows.

    pictures is "" and groups is empty if the checkpoint does not say what it knows; the last
    group may have no name: its words are in no other.
    """

    name: str
    family: str
    width: int
    height: int
    pictures: str
    groups: tuple[WordGroup, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All words that the model knows, in the order of the alphabet; () for nearly all."""
        return tuple(sorted(word for _, words in self.groups for word in words))


def read_abilities(models: Models) -> Abilities:
    """What loaded models can do."""
    configs = models.unet.config, models.vae.config
    return build_abilities(models.name, *configs, models.knowledge)


def examine_abilities(examined: Examined) -> Abilities:
    """The same of a checkpoint that is not loaded."""
    configs = examined.models["unet"].config, examined.models["vae"].config
    return build_abilities(examined.found.name, *configs, examined.knowledge)


def build_abilities(
    name: str, unet: UNetConfig, vae: AnyVAEConfig, knowledge: Knowledge
) -> Abilities:
    """What models with these configs can do."""
    y, x = unet.latent_size
    size = x * vae.factor, y * vae.factor
    return Abilities(name, find_family(unet), *size, knowledge.pictures, knowledge.all_groups)


def find_family(config: UNetConfig) -> str:
    """The family that a UNet belongs to by its shape."""
    shape = config.cross_attention_dim, config.block_out_channels
    family = FAMILIES.get(shape, "Stable Diffusion of another shape")
    return f"{family}, inpainting" if config.constant_channels else family


def describe_abilities(found: Abilities) -> str:
    """The same in a few words: 64x64 synthetic scenes; knows 41 words."""
    what = f"{found.width}x{found.height} {found.pictures or 'pictures'}"
    return f"{what}; knows {len(found.words)} words" if found.words else what
