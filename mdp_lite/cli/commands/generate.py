"""The options of `mdp-lite generate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.model_options import EngineOptions, ModelOptions, RunOptions
from mdp_lite.cli.picture_options import PICTURE_FILE, RECORD_NOISE, SaveOptions, check_file_quality
from mdp_lite.cli.sampling_options import SamplingOptions
from mdp_lite.cli.values import MAX_SEED
from mdp_lite.names import BadInput


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """Make a picture from a prompt and a seed."""

    command: ClassVar[str] = "generate"
    example: ClassVar[str] = 'mdp-lite generate "a red house" --seed 4 -o house.png'
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="what the picture shows")]
    seed: Annotated[
        int, typer.Option("--seed", metavar="SEED", min=0, max=MAX_SEED, show_default="0",
                          help="of the noise: the same seed gives the same picture")
    ] = 0  # fmt: skip
    output: Annotated[Path, PICTURE_FILE] = Path("out.png")
    record_noise: Annotated[bool, RECORD_NOISE] = False
    save: SaveOptions = SaveOptions()
    sampling: SamplingOptions = SamplingOptions()
    model: ModelOptions = ModelOptions()
    engine: EngineOptions = EngineOptions()
    run: RunOptions = RunOptions()

    def __post_init__(self) -> None:
        """Raise BadInput for a quality that no file has, and for noise that nobody would see."""
        check_file_quality(self.save, self.output)
        if self.record_noise and self.save.save_source is None:
            raise BadInput("--record-noise changes the saved source, not the picture: give "
                           "--save-source too")  # fmt: skip


OPTIONS = GenerateOptions
