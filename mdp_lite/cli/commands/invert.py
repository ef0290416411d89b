"""The options of `mdp-lite invert`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.model_options import EngineOptions, ModelOptions, RunOptions
from mdp_lite.cli.picture_options import (
    PICTURE_FILE,
    InversionOptions,
    SaveOptions,
    check_file_quality,
)
from mdp_lite.cli.sampling_options import SamplingOptions


@dataclass(frozen=True, kw_only=True)
class InvertOptions:
    """Invert a picture and reconstruct it."""

    command: ClassVar[str] = "invert"
    example: ClassVar[str] = (
        'mdp-lite invert house.png --prompt "a red house" --save-source house.safetensors'
    )
    picture: Annotated[
        str, typer.Argument(metavar="PICTURE", help="a PNG, JPEG or WebP; - is stdin")
    ]  # fmt: skip
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="TEXT", help="what the picture shows")
    ] = ""  # fmt: skip
    output: Annotated[Path, PICTURE_FILE] = Path("reconstruction.png")
    content: bytes | None = None  # what a pipe held
    save: SaveOptions = SaveOptions()
    inversion: InversionOptions = InversionOptions()
    sampling: SamplingOptions = SamplingOptions()
    model: ModelOptions = ModelOptions()
    engine: EngineOptions = EngineOptions()
    run: RunOptions = RunOptions()

    def __post_init__(self) -> None:
        """Raise BadInput for a quality that no file has."""
        check_file_quality(self.save, self.output)


OPTIONS = InvertOptions
