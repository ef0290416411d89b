"""The options of how a picture is sampled."""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import typer

from mdp_lite.checkpoint.defaults import Defaults
from mdp_lite.cli.choices import Quality
from mdp_lite.cli.model_options import MAX_SIDE
from mdp_lite.cli.values import Pair, read_corner, read_size
from mdp_lite.names import DEFAULT_GUIDANCE, DEFAULT_MODEL, DEFAULT_SIDE, DEFAULT_STEPS, BadInput


@dataclass(frozen=True, kw_only=True)
class XLOptions:
    """What Stable Diffusion XL reads beside the prompts: texts of its second encoder, and sizes."""

    heading: ClassVar[str] = "Stable Diffusion XL"
    prompt_2: Annotated[
        str,
        typer.Option("--prompt-2", metavar="TEXT", show_default="the prompt",
                     help="what its second text encoder reads"),
    ] = ""  # fmt: skip
    negative_prompt_2: Annotated[
        str,
        typer.Option("--negative-prompt-2", metavar="TEXT", show_default="the negative prompt",
                     help="what its second text encoder reads of it"),
    ] = ""  # fmt: skip
    original_size: Annotated[
        Pair | None,
        typer.Option("--original-size", metavar="WIDTHxHEIGHT", parser=read_size,
                     show_default="the picture's", help="as if it had been resized from there"),
    ] = None  # fmt: skip
    crop: Annotated[
        Pair | None,
        typer.Option("--crop", metavar="X,Y", parser=read_corner, show_default="0,0",
                     help="as if so many pixels left and above had been cut off"),
    ] = None  # fmt: skip
    target_size: Annotated[
        Pair | None,
        typer.Option("--target-size", metavar="WIDTHxHEIGHT", parser=read_size,
                     show_default="the picture's", help="as if it had been made for this size"),
    ] = None  # fmt: skip
    negative_original_size: Annotated[
        Pair | None,
        typer.Option("--negative-original-size", metavar="WIDTHxHEIGHT", parser=read_size,
                     show_default="--original-size", help="the same for the negative prompt"),
    ] = None  # fmt: skip
    negative_crop: Annotated[
        Pair | None,
        typer.Option("--negative-crop", metavar="X,Y", parser=read_corner, show_default="--crop",
                     help="the same for the negative prompt"),
    ] = None  # fmt: skip
    negative_target_size: Annotated[
        Pair | None,
        typer.Option("--negative-target-size", metavar="WIDTHxHEIGHT", parser=read_size,
                     show_default="--target-size", help="the same for the negative prompt"),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How a picture is sampled."""

    heading: ClassVar[str] = "sampling"
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, max=1000, help="DDIM steps",
                     show_default=f"the model's, {DEFAULT_STEPS} for {DEFAULT_MODEL}"),
    ] = None  # fmt: skip
    quality: Annotated[
        Quality | None,
        typer.Option("--quality", show_default="best",
                     help="instead of --steps: draft has 8 of them, standard 20, best the model's; "
                     "a draft by a model of few steps has 2"),
    ] = None  # fmt: skip
    guidance_scale: Annotated[
        float | None,
        typer.Option("--guidance-scale", metavar="G", min=1, max=100, help="1 is no guidance",
                     show_default=f"the model's, {DEFAULT_GUIDANCE} for {DEFAULT_MODEL}"),
    ] = None  # fmt: skip
    negative_prompt: Annotated[
        str,
        typer.Option("--negative-prompt", metavar="TEXT", help="what the picture must not show"),
    ] = ""
    width: Annotated[
        int | None,
        typer.Option("--width", metavar="PIXELS", min=1, max=MAX_SIDE, help="of the picture",
                     show_default=f"the model's, {DEFAULT_SIDE} for {DEFAULT_MODEL}"),
    ] = None  # fmt: skip
    height: Annotated[
        int | None,
        typer.Option("--height", metavar="PIXELS", min=1, max=MAX_SIDE, help="of the picture",
                     show_default=f"the model's, {DEFAULT_SIDE} for {DEFAULT_MODEL}"),
    ] = None  # fmt: skip
    xl: XLOptions = XLOptions()

    def __post_init__(self) -> None:
        """Raise BadInput for two numbers of steps."""
        if self.quality is not None and self.steps is not None:
            raise BadInput(
                f"--quality {self.quality} and --steps {self.steps} both say the number of steps: "
                "give one of them"
            )

    def count_steps(self, defaults: Defaults) -> int:
        """The number of steps that these options ask of a model."""
        return defaults.steps_of(self.quality) if self.steps is None else self.steps


def choose_steps(args: Any, defaults: Defaults) -> Any:
    """The options with the model's number of steps for --quality."""
    sampling: SamplingOptions | None = getattr(args, "sampling", None)
    if sampling is None or sampling.quality is None:
        return args
    steps = sampling.count_steps(defaults)
    return replace(args, sampling=replace(sampling, steps=steps, quality=None))
