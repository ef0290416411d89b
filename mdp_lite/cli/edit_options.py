"""Options of an edit and of a sweep: the variant, the window, the schedule."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.choices import Schedule, Variant, VariantOrAll
from mdp_lite.cli.fields import COMMAS
from mdp_lite.cli.values import read_quantile, read_weight
from mdp_lite.names import BadInput

GUIDANCE_EVERY = typer.Option(
    "--guidance-every", metavar="K", min=1, show_default="1, exact",
    help="ask the null row at every K-th guided step only; 2 saves about a quarter of the work",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EditOptions:
    """How an edit mixes the target with its source."""

    heading: ClassVar[str] = "edit"
    variant: Annotated[
        VariantOrAll | None,
        typer.Option("--variant", show_default="epsilon",
                     help="the quantity that is mixed with the source's; all: one picture of each"),
    ] = None  # fmt: skip
    t_max: Annotated[
        float | None,
        typer.Option("--t-max", metavar="STEPS", min=0,
                     show_default="94% of --steps for epsilon, c and beta; all for x, and for "
                     "local-leash, the default of a PICTURE",
                     help="steps left when mixing starts"),
    ] = None  # fmt: skip
    t_m: Annotated[
        float | None,
        typer.Option("--t-m", metavar="STEPS", min=0,
                     show_default="34% of --steps for epsilon and x, 27% for c and beta",
                     help="steps that are mixed"),
    ] = None  # fmt: skip
    schedule: Annotated[
        Schedule | None,
        typer.Option("--schedule",
                     show_default="constant for a window that you or the model give, local-leash "
                     "for epsilon on recorded noise, as of edit-friendly, else leash",
                     help="the weights over the mixed steps"),
    ] = None  # fmt: skip
    strength: Annotated[
        float | None,
        typer.Option("--strength", metavar="S", min=0, max=1,
                     help="instead of --t-m: 0 is the source, 1 the target alone"),
    ] = None  # fmt: skip
    weight: Annotated[
        float | None,
        typer.Option("--weight", metavar="W", parser=read_weight, show_default="1",
                     help="the source's share on the mixed steps: any number, also below 0"),
    ] = None  # fmt: skip
    proximal: Annotated[
        float | None,
        typer.Option("--proximal", metavar="Q", parser=read_quantile,
                     help="proximal guidance: guide only where predictions differ by more than "
                     "this quantile, 0 to below 1"),
    ] = None  # fmt: skip
    guidance_every: Annotated[int, GUIDANCE_EVERY] = 1

    def __post_init__(self) -> None:
        """Raise BadInput for settings that exclude each other."""
        if self.strength is not None and self.t_m is not None:
            raise BadInput("--strength and --t-m set the same thing: give one of them")
        if None not in (self.t_max, self.t_m) and self.t_m > self.t_max:  # pyright: ignore
            raise BadInput(f"--t-m must be at most --t-max = {self.t_max}, got {self.t_m}")


@dataclass(frozen=True, kw_only=True)
class GridOptions:
    """The settings that a sweep combines, each a list."""

    heading: ClassVar[str] = "settings, each one value or several"
    variants: Annotated[
        tuple[Variant, ...],
        typer.Option("--variants", metavar="A,B,C", help="epsilon, c, x, beta",
                     show_default="as mdp-lite edit"),
        COMMAS,
    ] = ()  # fmt: skip
    t_max: Annotated[
        tuple[float, ...],
        typer.Option("--t-max", metavar="A,B,C", min=0, help="steps left when mixing starts",
                     show_default="as mdp-lite edit"),
        COMMAS,
    ] = ()  # fmt: skip
    t_m: Annotated[
        tuple[float, ...],
        typer.Option("--t-m", metavar="A,B,C", min=0, help="steps that are mixed",
                     show_default="as mdp-lite edit"),
        COMMAS,
    ] = ()  # fmt: skip
    schedules: Annotated[
        tuple[Schedule, ...],
        typer.Option("--schedules", metavar="A,B,C",
                     help="constant, linear, cosine, exp, leash, local-leash",
                     show_default="as mdp-lite edit"),
        COMMAS,
    ] = ()  # fmt: skip
    guidance_every: Annotated[int, GUIDANCE_EVERY] = 1
