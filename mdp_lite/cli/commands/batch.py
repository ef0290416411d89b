"""The options of `mdp-lite batch`; mdp_lite/batch/ documents the columns of a job's rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.edit_options import EditOptions
from mdp_lite.cli.model_options import ClusterEngineOptions, ModelOptions, RunOptions
from mdp_lite.cli.picture_options import (
    RECORD_NOISE,
    SOURCE_PROMPT_2,
    SOURCE_SEED,
    InversionOptions,
    MaskOptions,
)
from mdp_lite.cli.sampling_options import SamplingOptions
from mdp_lite.names import VARIANTS, BadInput


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """The workers of a cluster."""

    heading: ClassVar[str] = "on a Ray cluster (--engine ray)"
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", min=1, help="processes with a model each",
                     show_default="one for each GPU, or as many as the CPU cores allow"),
    ] = None  # fmt: skip
    worker_cpus: Annotated[
        int, typer.Option("--worker-cpus", metavar="N", min=1, help="CPU cores of each worker")
    ] = 1


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """What the edits show, for rows that do not say it."""

    heading: ClassVar[str] = "defaults for rows that leave them out, here and below"
    prompt: Annotated[
        tuple[str, ...],
        typer.Option("--prompt", metavar="TARGET",
                     help="what the edit shows; can be given several times"),
    ] = ()  # fmt: skip
    source_prompt: Annotated[
        str | None,
        typer.Option("--source-prompt", metavar="SOURCE", help="what the source shows"),
    ] = None
    source_prompt_2: Annotated[str, SOURCE_PROMPT_2] = ""
    seed: Annotated[int | None, SOURCE_SEED] = None
    record_noise: Annotated[bool, RECORD_NOISE] = False


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Edit many pictures, each once however often the command is run."""

    command: ClassVar[str] = "batch"
    example: ClassVar[str] = (
        'mdp-lite batch photos -o edited --source-prompt "a house" --prompt "a red tent"'
    )
    job: Annotated[
        str,
        typer.Argument(metavar="JOB",
                       help="a folder or a glob of pictures, a .csv, .jsonl or .parquet file of "
                       "rows, or - for JSON lines on stdin"),
    ]  # fmt: skip
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="FOLDER",
                     help="for pictures and manifest.jsonl; an edit that is there is not made "
                     "again"),
    ] = Path("batch")  # fmt: skip
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="try edits again that failed in an earlier run"),
    ] = False
    rows: Annotated[
        int,
        typer.Option("--rows", metavar="N", min=0,
                     help="the most UNet rows of a call; 0: every step is a call"),
    ] = 0  # fmt: skip
    worker: WorkerOptions = WorkerOptions()
    row: RowOptions = RowOptions()
    edit: EditOptions = EditOptions()
    mask: MaskOptions = MaskOptions()
    inversion: InversionOptions = InversionOptions()
    sampling: SamplingOptions = SamplingOptions()
    model: ModelOptions = ModelOptions()
    engine: ClusterEngineOptions = ClusterEngineOptions()
    run: RunOptions = RunOptions()

    def __post_init__(self) -> None:
        """Raise BadInput for a variant that is several."""
        if self.edit.variant == "all":
            raise BadInput(f"--variant must be one of {', '.join(VARIANTS)}, got 'all'")


OPTIONS = BatchOptions
