"""What editing is about and what it gives: a source path, an edit, and what they cost."""

from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from mdp_lite.plan import Plan
from mdp_lite.sample import Path
from mdp_lite.schedule import Grid, Weights


class Cost(NamedTuple):
    """What was spent: UNet rows (one latent through the UNet once) and calls."""

    unet_rows: int
    unet_calls: int


@dataclass(frozen=True)
class Source:
    """A source path A with what it was made from; any number of edits read it.

    image is what the path decodes to; original is the picture that was inverted, if one was.
    """

    path: Path
    grid: Grid
    prompt: str
    negative_prompt: str
    guidance_scale: float
    image: Image.Image
    original: Image.Image | None
    seed: int | None
    method: str  # "generate", "replay" or "ddim"
    truncated: bool
    cost: Cost

    @property
    def sampled(self) -> bool:
        """Whether its noise is what the model predicts along it, under its own guidance."""
        return self.method != "replay"


@dataclass(frozen=True)
class Edit:
    """An edited picture, its latent (1, 4, y, x), what it was made with and what it cost.

    One that a deadline ended is not finished: it is what the path was heading for.
    """

    image: Image.Image
    latent: Tensor
    prompt: str
    variant: str
    weights: Weights
    guidance_scale: float
    truncated: bool
    cost: Cost
    plan: Plan
    finished: bool = True
