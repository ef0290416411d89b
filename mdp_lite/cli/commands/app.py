"""The options of `mdp-lite app`; they are read before gradio is imported."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.model_options import EngineOptions, ModelOptions, RunOptions


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
    model: ModelOptions = ModelOptions()
    engine: EngineOptions = EngineOptions()
    run: RunOptions = RunOptions()


OPTIONS = AppOptions
