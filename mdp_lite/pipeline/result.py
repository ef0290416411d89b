"""What editing is about and what it gives: a source path, an edit, and what they cost."""

from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from mdp_lite.checkpoint.identity import Origin
from mdp_lite.method.plan import Plan
from mdp_lite.method.sample import Path
from mdp_lite.method.schedule import Grid, Weights
from mdp_lite.pictures.fit import Frame
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion


class Cost(NamedTuple):
    """What was spent: UNet rows (one latent through the UNet once), calls, and rows backward."""

    unet_rows: int
    unet_calls: int
    backward_rows: int = 0


class Tuning(NamedTuple):
    """How a step's null row was found: inner iterations, and the loss of the last of them."""

    iterations: int
    loss: float


@dataclass(frozen=True)
class Source:
    """A source path A with what it was made from; any number of edits read it.

    image is what the path decodes to. picture is what was inverted, upright RGB at its own size,
    and frame how it was fitted to the model; of a generated source it is the image. how is None for
    one that was generated; tuning is of null-text inversion, one entry a step.
    """

    path: Path
    grid: Grid
    prompt: str
    negative_prompt: str
    guidance_scale: float
    image: Image.Image
    picture: Image.Image
    frame: Frame
    seed: int | None
    how: Inversion | None
    truncated: bool
    cost: Cost
    origin: Origin
    tuning: tuple[Tuning, ...] = ()

    @property
    def method(self) -> str:
        """ "generate", or the name of an inversion."""
        return "generate" if self.how is None else self.how.method

    @property
    def original(self) -> Image.Image | None:
        """The picture that was inverted, as it was fitted to the model; None if none was."""
        return None if self.how is None else self.frame.fitted(self.picture)

    @property
    def sampled(self) -> bool:
        """Whether its noise is what the model predicts along it, under its own guidance."""
        return self.how is None or (METHODS[self.method].sampled and self.how.rows is None)

    @property
    def exact(self) -> bool:
        """Whether steps along its noise lead along it."""
        return self.how is None or METHODS[self.method].exact

    @property
    def repeats(self) -> bool:
        """Whether edits take its guidance where they are given none."""
        return self.how is None or METHODS[self.method].repeats


@dataclass(frozen=True)
class Edit:
    """An edited picture, its latent (1, 4, y, x), what it was made with and what it cost.

    image is what the latent decodes to; picture is that put back into the source's picture, at its
    own size; mask is where, in that picture's pixels: white was edited, black was not. One that a
    deadline ended is not finished: it is what the path was heading for.
    """

    image: Image.Image
    picture: Image.Image
    mask: Image.Image | None
    latent: Tensor
    prompt: str
    variant: str
    weights: Weights
    guidance_scale: float
    truncated: bool
    cost: Cost
    plan: Plan
    finished: bool = True
