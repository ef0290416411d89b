"""The options of `mdp-lite convert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.choices import Dtype
from mdp_lite.cli.model_options import CheckpointOptions, RunOptions


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Write a model in another form, without pickles."""

    command: ClassVar[str] = "convert"
    example: ClassVar[str] = "mdp-lite convert model.ckpt model.safetensors"
    name: Annotated[
        str,
        typer.Argument(metavar="MODEL",
                       help="a folder, a .safetensors file, a hub id or a pickle (.ckpt, .pt, "
                       ".bin)"),
    ]  # fmt: skip
    output: Annotated[
        Path, typer.Argument(metavar="OUT", help="a .safetensors file, or else a new folder")
    ]  # fmt: skip
    dtype: Annotated[
        Dtype, typer.Option("--dtype", help="of the weights; auto is the checkpoint's")
    ] = "auto"  # fmt: skip
    checkpoint: CheckpointOptions = CheckpointOptions()
    run: RunOptions = RunOptions()


OPTIONS = ConvertOptions
