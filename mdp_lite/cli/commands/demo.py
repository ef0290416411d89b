"""The options of `mdp-lite demo`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.model_options import RunOptions


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Edits by the bundled model, all variants on one sheet."""

    command: ClassVar[str] = "demo"
    example: ClassVar[str] = "mdp-lite demo -o demo"
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="for the pictures")
    ] = Path("demo")  # fmt: skip
    run: RunOptions = RunOptions()


OPTIONS = DemoOptions
