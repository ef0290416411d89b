"""The options of `mdp-lite bench`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.choices import Bench, Split
from mdp_lite.cli.fields import COMMAS
from mdp_lite.cli.model_options import EngineOptions, ModelOptions, RunOptions
from mdp_lite.cli.values import read_json_path, read_page_path


@dataclass(frozen=True, kw_only=True)
class EditBenchOptions:
    """What `bench edits` measures."""

    heading: ClassVar[str] = "bench edits"
    kinds: Annotated[
        tuple[str, ...],
        typer.Option("--kinds", metavar="A,B,C", help="of edits", show_default="all"),
        COMMAS,
    ] = ()
    split: Annotated[
        Split | None,
        typer.Option("--split", show_default="report",
                     help="tune compares settings of the methods, report the methods"),
    ] = None  # fmt: skip
    short: Annotated[bool, typer.Option("--short", help="few edits of few steps")] = False
    guidance_scale: Annotated[
        float | None,
        typer.Option("--guidance-scale", metavar="G", min=1, max=100, show_default="the model's",
                     help="of the edits and of generated sources"),
    ] = None  # fmt: skip
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", parser=read_page_path,
                     help="write pictures of each kind"),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PieOptions:
    """The folders of PIE-Bench, and the models that score its pictures."""

    heading: ClassVar[str] = "bench pie"
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FOLDER",
                     help="of PIE-Bench, with mapping_file.json, or of PIE-Bench++"),
    ] = None  # fmt: skip
    results: Annotated[
        Path | None,
        typer.Option("--results", metavar="FOLDER", show_default="output",
                     help="for METHOD/annotation_images and evaluation_result.csv"),
    ] = None  # fmt: skip
    clip: Annotated[
        str | None,
        typer.Option("--clip", metavar="MODEL",
                     help="a folder or hub id, for the similarity to the texts"),
    ] = None  # fmt: skip
    dino: Annotated[
        str | None,
        typer.Option("--dino", metavar="MODEL",
                     help="a folder or hub id, for the distance in structure"),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """What `bench speed` times."""

    heading: ClassVar[str] = "bench speed"
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", metavar="N", min=1, help="of measurements",
                     show_default="by how long a round takes, 3 to 30"),
    ] = None  # fmt: skip
    engines: Annotated[
        tuple[str, ...],
        typer.Option("--engines", metavar="A,B,C", help="that are compared",
                     show_default="those that do not compile for minutes"),
        COMMAS,
    ] = ()  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """Compare inversions, edits or engines."""

    command: ClassVar[str] = "bench"
    example: ClassVar[str] = "mdp-lite bench speed"
    what: Annotated[
        Bench,
        typer.Argument(metavar="WHAT",
                       help="inversion: inversion methods on synthetic pictures; edits: editing "
                       "methods on synthetic edits; pie: editing methods on PIE-Bench; speed: the "
                       "time of each engine"),
    ]  # fmt: skip
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", min=1, max=1000, help="DDIM steps",
                     show_default="12 for edits, 6 with --short, else the model's"),
    ] = None  # fmt: skip
    pictures: Annotated[
        int | None,
        typer.Option("--pictures", metavar="N", min=1, help="how many are measured",
                     show_default="128 for inversion, 64 of each kind for edits, all for pie"),
    ] = None  # fmt: skip
    methods: Annotated[
        tuple[str, ...],
        typer.Option("--methods", metavar="A,B,C", help="that are compared", show_default="all"),
        COMMAS,
    ] = ()
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", parser=read_json_path,
                     help="write all results there, as .json; a method whose results are there is "
                     "not run again"),
    ] = None  # fmt: skip
    edits: EditBenchOptions = EditBenchOptions()
    pie: PieOptions = PieOptions()
    speed: SpeedOptions = SpeedOptions()
    model: ModelOptions = ModelOptions()
    engine: EngineOptions = EngineOptions()
    run: RunOptions = RunOptions()


OPTIONS = BenchOptions
