"""The options of `mdp-lite doctor`."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.model_options import EngineOptions, ModelOptions, ReadingOptions
from mdp_lite.names import DEFAULT_MODEL, BadInput


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Check what works on this machine, for a bug report; exit code 1 if a check fails."""

    command: ClassVar[str] = "doctor"
    example: ClassVar[str] = "mdp-lite doctor model.safetensors --json"
    model_name: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", show_default=f"{DEFAULT_MODEL}, which is bundled",
                       help="a folder, a .safetensors file or a hub id"),
    ] = None  # fmt: skip
    model: ModelOptions = ModelOptions()
    engine: EngineOptions = EngineOptions()
    run: ReadingOptions = ReadingOptions()

    def __post_init__(self) -> None:
        """Raise BadInput for two models."""
        if self.model_name is not None and self.model.name != ModelOptions.name:
            raise BadInput(f"MODEL and --model say the same thing, got {self.model_name!r} too")

    @property
    def chosen_model(self) -> ModelOptions:
        """The options of the model, by whichever name it was given."""
        return self.model if self.model_name is None else replace(self.model, name=self.model_name)


OPTIONS = DoctorOptions
