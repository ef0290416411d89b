"""The options of `mdp-lite info`."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.model_options import GPU_MEMORY, CheckpointOptions, ReadingOptions
from mdp_lite.names import DEFAULT_MODEL


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """Describe a model: what it is, what it holds, and what an edit by it costs."""

    command: ClassVar[str] = "info"
    example: ClassVar[str] = "mdp-lite info model.safetensors"
    name: Annotated[
        str,
        typer.Argument(metavar="MODEL", show_default=f"{DEFAULT_MODEL}, which is bundled",
                       help="a folder, a .safetensors file or a hub id"),
    ] = DEFAULT_MODEL  # fmt: skip
    vae: Annotated[
        str | None,
        typer.Option("--vae", metavar="PLACE", help="with another VAE: a folder, file or hub id"),
    ] = None
    gpu_memory: Annotated[float | None, GPU_MEMORY] = None
    catalogue: Annotated[
        bool, typer.Option("--list", help="well-known checkpoints and licences")
    ] = False  # fmt: skip
    no_hash: Annotated[
        bool, typer.Option("--no-hash", help="leave out the files' SHA-256")
    ] = False  # fmt: skip
    checkpoint: CheckpointOptions = CheckpointOptions()
    run: ReadingOptions = ReadingOptions()


OPTIONS = InfoOptions
