"""The options of `mdp-lite sweep`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.edit_options import GridOptions
from mdp_lite.cli.fields import COMMAS
from mdp_lite.cli.model_options import EngineOptions, ModelOptions, RunOptions
from mdp_lite.cli.picture_options import InversionOptions, SourceOptions, check_source_steps
from mdp_lite.cli.sampling_options import SamplingOptions
from mdp_lite.cli.values import MAX_SEED


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Many edits at once, on a contact sheet."""

    command: ClassVar[str] = "sweep"
    one_of: ClassVar[tuple[str, ...]] = ("picture", "source_prompt")
    example: ClassVar[str] = (
        'mdp-lite sweep house.png --source-prompt "a red house" --prompt "a red tent" '
        "--variants epsilon,x"
    )
    prompt: Annotated[
        tuple[str, ...],
        typer.Option("--prompt", metavar="TARGET",
                     help="what the edit shows; can be given several times"),
    ]  # fmt: skip
    source: SourceOptions = SourceOptions()
    seed: Annotated[
        tuple[int, ...],
        typer.Option("--seed", metavar="A,B,C", min=0, max=MAX_SEED, show_default="0",
                     help="of generated sources"),
        COMMAS,
    ] = ()  # fmt: skip
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FOLDER",
                     help="for sheet.png, sweep.jsonl and the picture of each cell"),
    ] = Path("sweep")  # fmt: skip
    rows: Annotated[
        int | None,
        typer.Option("--rows", metavar="N", min=0, help="the most UNet rows of a call",
                     show_default="chosen by the device"),
    ] = None  # fmt: skip
    grid: GridOptions = GridOptions()
    inversion: InversionOptions = InversionOptions()
    sampling: SamplingOptions = SamplingOptions()
    model: ModelOptions = ModelOptions()
    engine: EngineOptions = EngineOptions()
    run: RunOptions = RunOptions()

    def __post_init__(self) -> None:
        """Raise BadInput for two numbers of steps."""
        check_source_steps(self.sampling.quality, self.source.picture)


OPTIONS = SweepOptions
