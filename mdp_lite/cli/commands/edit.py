"""The options of `mdp-lite edit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.edit_options import EditOptions
from mdp_lite.cli.model_options import EngineOptions, ModelOptions, RunOptions
from mdp_lite.cli.picture_options import (
    NEEDS_MASK,
    PICTURE_FILE,
    SOURCE_SEED,
    InversionOptions,
    MaskFileOptions,
    MaskOptions,
    SaveOptions,
    SourceOptions,
    TuneOptions,
    check_file_quality,
    check_source_steps,
)
from mdp_lite.cli.sampling_options import SamplingOptions
from mdp_lite.cli.values import STDOUT, read_page_path, read_seconds
from mdp_lite.names import BadInput


@dataclass(frozen=True, kw_only=True)
class EditCommandOptions:
    """Edit a picture, or a generated one, by a prompt."""

    command: ClassVar[str] = "edit"
    one_of: ClassVar[tuple[str, ...]] = ("picture", "source_prompt")
    example: ClassVar[str] = (
        'mdp-lite edit house.png --source-prompt "a red house" --prompt "a red tent" -o tent.png'
    )
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="TARGET", help="what the edit shows")
    ]  # fmt: skip
    source: SourceOptions = SourceOptions()
    seed: Annotated[int | None, SOURCE_SEED] = None
    output: Annotated[Path, PICTURE_FILE] = Path("edited.png")
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", parser=read_page_path,
                     help="write before and after, side by side"),
    ] = None  # fmt: skip
    previews: Annotated[
        Path | None,
        typer.Option("--previews", metavar="FILE", parser=read_page_path,
                     help="write a sheet of cheap previews of the edit's steps"),
    ] = None  # fmt: skip
    deadline: Annotated[
        float | None,
        typer.Option("--deadline", metavar="SECONDS", parser=read_seconds, show_default="none",
                     help="the time for each edit; when it is up, the best picture so far is "
                     "written"),
    ] = None  # fmt: skip
    save: SaveOptions = SaveOptions()
    edit: EditOptions = EditOptions()
    mask: MaskOptions = MaskOptions()
    mask_file: MaskFileOptions = MaskFileOptions()
    inversion: InversionOptions = InversionOptions()
    tune: TuneOptions = TuneOptions()
    sampling: SamplingOptions = SamplingOptions()
    model: ModelOptions = ModelOptions()
    engine: EngineOptions = EngineOptions()
    run: RunOptions = RunOptions()

    def __post_init__(self) -> None:
        """Raise BadInput for options that lack what they are for."""
        check_source_steps(self.sampling.quality, self.source.picture)
        check_file_quality(
            self.save, self.output, self.sheet, self.previews, self.mask_file.save_mask
        )
        for name, value in (
            ("--feather", self.mask.feather), ("--save-mask", self.mask_file.save_mask),
            ("--no-paste", self.mask.no_paste),
        ):  # fmt: skip
            if value and not self.mask.exists:
                raise BadInput(f"{name} {NEEDS_MASK}")
        if str(self.output) == STDOUT and self.edit.variant == "all":
            raise BadInput("-o - takes one picture, got --variant all: give -o a file name")


OPTIONS = EditCommandOptions
