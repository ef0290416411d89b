"""The options of `mdp-lite app`; they are read before gradio is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.commands.serve import MODEL_MEMORY
from mdp_lite.cli.model_options import EngineOptions, LoadOptions, ModelOptions, RunOptions
from mdp_lite.names import DEFAULT_MODEL


@dataclass(frozen=True, kw_only=True)
class PageModelOptions(LoadOptions):
    """The models that a page offers by name, and how they are loaded."""

    names: Annotated[
        tuple[str, ...],
        typer.Option("--model", metavar="[NAME=]MODEL",
                     show_default=f"{DEFAULT_MODEL}, which is bundled",
                     help="a folder, a .safetensors file or a hub id; given several times, "
                     "visitors choose"),
    ] = ()  # fmt: skip

    def read_one(self, name: str) -> ModelOptions:
        """The options of one model, whose folder, file or hub id is name."""
        return ModelOptions(
            name=name, device=self.device, dtype=self.dtype, vae=self.vae, lora=self.lora,
            embedding=self.embedding, cache=self.cache, checkpoint=self.checkpoint, gpu=self.gpu,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SeveralModelsOptions:
    """Models beside the first one; a visitor's first edit by one of them loads it."""

    heading: ClassVar[str] = "several models"
    models_place: Annotated[
        Path | None,
        typer.Option("--models", metavar="FOLDER",
                     help="offer every model of a folder too, or those of a TOML file as of "
                     "mdp-lite serve"),
    ] = None  # fmt: skip
    model_memory: Annotated[float | None, MODEL_MEMORY] = None
    allow_hub: Annotated[
        bool,
        typer.Option("--allow-hub", help="visitors may name models of the hub, which are fetched "
                     "to this machine's disk"),
    ] = False  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """Edit in the browser."""

    command: ClassVar[str] = "app"
    example: ClassVar[str] = "mdp-lite app --port 7860"
    host: Annotated[
        str,
        typer.Option("--host", metavar="HOST", show_default="127.0.0.1, this machine only",
                     help="where the page listens"),
    ] = "127.0.0.1"  # fmt: skip
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=0, max=65535,
                     show_default="7860, or the next free port", help="of the page"),
    ] = None  # fmt: skip
    share: Annotated[
        bool, typer.Option("--share", help="a public link through gradio's servers, for a week")
    ] = False
    several: SeveralModelsOptions = SeveralModelsOptions()
    model: PageModelOptions = PageModelOptions()
    engine: EngineOptions = EngineOptions()
    run: RunOptions = RunOptions()


OPTIONS = AppOptions
