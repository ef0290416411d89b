"""The results: a source path, an edit, and what they cost."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image
from torch import Tensor

from mdp_lite.checkpoint.identity import Origin
from mdp_lite.method.plan import Plan
from mdp_lite.method.sample import Trajectory
from mdp_lite.method.schedule import Grid, Weights
from mdp_lite.pictures.fit import Fit
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.layers import LayersPlan
from mdp_lite.pipeline.xl import PLAIN, XLCondition


class Cost(NamedTuple):
    """UNet rows (a row is one latent through the UNet once), UNet calls, and rows backward.

    >>> source.cost
    Cost(unet_rows=8, unet_calls=4, backward_rows=0)
    """

    unet_rows: int
    unet_calls: int
    backward_rows: int = 0


def add_costs(*costs: Cost) -> Cost:
    """The sum of several costs."""
    return Cost(*map(sum, zip(*costs, strict=True)))


class Tuning(NamedTuple):
    """How a step's null row was found: inner iterations, and the loss of the last of them."""

    iterations: int
    loss: float


@dataclass(frozen=True)
class Source:
    """A source path A with what it was made from; any number of edits read it.

    image is what the path decodes to. picture is the picture that was inverted, upright RGB at its
    own size, and fit is how it was brought to the model's size; for a generated source picture is
    the image. inversion is None for a generated source, unless its noise was recorded. tuning has
    an entry for each step of null-text inversion. mask ("L", of the picture's size) is where edits
    happen unless they have another one; an inpainting model recorded the path with it. xl is what
    SDXL read beside the prompts. sampling_guidance is the guidance scale of a generated picture
    whose noise was recorded at another one, guidance_scale; edits repeat it. path holds the latents
    x (N+1, 1, 4, y, x) and the guided noise eps (N, 1, 4, y, x) on the Editor's device, in float64
    (on mps float32). A source does not change: threads may share it.

    >>> source.method, source.path.x.shape[0], source.image.size
    ('generate', 5, (64, 64))
    """

    path: Trajectory
    grid: Grid
    prompt: str
    negative_prompt: str
    guidance_scale: float
    image: Image.Image
    picture: Image.Image
    fit: Fit
    seed: int | None
    inversion: Inversion | None
    truncated: bool
    cost: Cost
    origin: Origin
    tuning: tuple[Tuning, ...] = ()
    mask: Image.Image | None = None
    xl: XLCondition = PLAIN
    sampling_guidance: float | None = None

    def __repr__(self) -> str:
        """One line for people, not the tensors."""
        size, n = "x".join(map(str, self.image.size)), len(self.grid.t)
        return f"<Source {size} by {self.method} in {n} steps: {self.prompt!r}>"

    if not TYPE_CHECKING:  # a type checker says by itself what a Source has

        def __getattr__(self, name: str) -> Any:
            raise _no_attribute("Source", name)

    @property
    def method(self) -> str:
        """ "generate", or the name of an inversion, also of a generated picture."""
        return "generate" if self.inversion is None else self.inversion.method

    @property
    def original(self) -> Image.Image | None:
        """The picture that was inverted, at the model's size; None for a generated source."""
        return None if self.generated else self.fit.apply(self.picture)

    @property
    def generated(self) -> bool:
        """Whether it was made from a prompt and a seed, not from a picture."""
        return self.seed is not None

    @property
    def own_noise(self) -> bool:
        """Whether its noise is what the model predicts along it, under its own guidance."""
        how = self.inversion
        return how is None or (METHODS[how.method].own_noise and how.tuned_steps is None)

    @property
    def exact(self) -> bool:
        """Whether steps along its noise lead along it."""
        return self.inversion is None or METHODS[self.method].exact

    @property
    def own_guidance(self) -> float | None:
        """The guidance scale of edits that are given none; None is the model's."""
        if self.sampling_guidance is not None:
            return self.sampling_guidance
        repeats = self.inversion is None or METHODS[self.method].repeats_guidance
        return self.guidance_scale if repeats else None


@dataclass(frozen=True)
class Edit:
    """An edited picture, its latent (1, 4, y, x), what it was made with and what it cost.

    image is what the latent decodes to; picture is the image put back into the source's picture, at
    that picture's size; mask says where, in the same pixels: white was edited, black was not, even
    if the given mask marked by transparency. If a deadline ended the edit, finished is False and
    the latent is a prediction of where it headed. layers is the plan of the recorded layers that it
    read, None if it read none: then it is exact. cost counts a row of a recorded step as a whole
    row; layers.share says what it takes.

    >>> edit = editor.edit(source, "a blue house on the grass")
    >>> edit.variant, edit.finished, tuple(edit.latent.shape)
    ('epsilon', True, (1, 4, 16, 16))
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
    xl: XLCondition = PLAIN
    layers: LayersPlan | None = None

    def __repr__(self) -> str:
        """One line for people, not the tensors."""
        size, end = "x".join(map(str, self.image.size)), "" if self.finished else ", not finished"
        read = "" if self.layers is None else " with recorded layers"
        return f"<Edit {size} by {self.variant}{read}{end}: {self.prompt!r}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise _no_attribute("Edit", name)


def _no_attribute(owner: str, name: str) -> AttributeError:
    """The error of edit.save and the like: it names the pictures, which have these methods."""
    own = "image and picture, which are PIL images with save, show and size"
    return AttributeError(f"{owner!r} object has no attribute {name!r}; it has {own}")
