"""The options of `mdp-lite compile`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.fields import COMMAS
from mdp_lite.cli.model_options import MAX_SIDE, EngineOptions, ModelOptions, RunOptions
from mdp_lite.names import DEFAULT_MODEL, DEFAULT_SIDE


@dataclass(frozen=True, kw_only=True)
class CompileOptions:
    """Compile the UNet ahead of time, for the engine aot."""

    command: ClassVar[str] = "compile"
    example: ClassVar[str] = "mdp-lite compile -o packages --rows 1,2"
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="for the packages")
    ]  # fmt: skip
    rows: Annotated[
        tuple[int, ...],
        typer.Option("--rows", metavar="A,B,C", min=1,
                     show_default="1,2: without and with guidance",
                     help="UNet rows of a call, one package for each"),
        COMMAS,
    ] = (1, 2)  # fmt: skip
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
    model: ModelOptions = ModelOptions()
    engine: EngineOptions = EngineOptions()
    run: RunOptions = RunOptions()


OPTIONS = CompileOptions
