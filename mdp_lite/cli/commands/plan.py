"""The options of `mdp-lite plan`."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.edit_options import EditOptions
from mdp_lite.cli.model_options import EngineOptions, ModelOptions, RunOptions
from mdp_lite.cli.picture_options import (
    SOURCE_SEED,
    InversionOptions,
    SourceOptions,
    TuneOptions,
    check_source_steps,
)
from mdp_lite.cli.sampling_options import SamplingOptions


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What an edit will compute and cost, before it runs."""

    command: ClassVar[str] = "plan"
    one_of: ClassVar[tuple[str, ...]] = ("picture", "source_prompt")
    example: ClassVar[str] = 'mdp-lite plan --source-prompt "a red house" --prompt "a red tent"'
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="TARGET", help="what the edit shows")
    ]  # fmt: skip
    source: SourceOptions = SourceOptions()
    seed: Annotated[int | None, SOURCE_SEED] = None
    edit: EditOptions = EditOptions()
    inversion: InversionOptions = InversionOptions()
    tune: TuneOptions = TuneOptions()
    sampling: SamplingOptions = SamplingOptions()
    model: ModelOptions = ModelOptions()
    engine: EngineOptions = EngineOptions()
    run: RunOptions = RunOptions()

    def __post_init__(self) -> None:
        """Raise BadInput for two numbers of steps."""
        check_source_steps(self.sampling.quality, self.source.picture)


OPTIONS = PlanOptions
