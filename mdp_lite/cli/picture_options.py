"""Options on pictures: how one is fitted and inverted, where it is edited, what is saved of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from mdp_lite.cli.choices import Fit, Method, Tune
from mdp_lite.cli.model_options import MAX_SIDE
from mdp_lite.cli.values import (
    MAX_SEED,
    read_box,
    read_page_path,
    read_picture_path,
    read_safetensors_path,
)
from mdp_lite.names import BadInput

PICTURE_FILE = typer.Option(
    "-o", "--output", metavar="FILE", parser=read_picture_path,
    help="a .png, .jpg or .webp; - is a PNG on stdout, and the report goes to stderr",
)  # fmt: skip
SOURCE_SEED = typer.Option(
    "--seed", metavar="SEED", min=0, max=MAX_SEED, show_default="0",
    help="of a generated source",
)  # fmt: skip
RECORD_NOISE = typer.Option(
    "--record-noise",
    help="of a generated source: record noise along its path, as for a PICTURE, which makes "
    "edits of some models better; that takes twice the steps",
)  # fmt: skip
SOURCE_PROMPT_2 = typer.Option(
    "--source-prompt-2", metavar="TEXT", show_default="the source prompt",
    help="what SDXL's second text encoder reads of it",
)  # fmt: skip
NEEDS_MASK = "needs a mask: give --mask, --box or --auto-mask"
LOSSY = (".jpg", ".jpeg", ".webp")  # the files that have a quality


@dataclass(frozen=True, kw_only=True)
class InversionOptions:
    """How PICTURE is inverted; the help of a setting names the methods that read it."""

    heading: ClassVar[str] = "inversion of PICTURE"
    method: Annotated[
        Method | None,
        typer.Option("--method", show_default="edit-friendly", help="how it is inverted"),
    ] = None
    inversion_steps: Annotated[
        int | None,
        typer.Option("--inversion-steps", metavar="M", min=1, max=1000,
                     show_default="as many as --steps",
                     help="ddim, negative-prompt: steps of the inversion"),
    ] = None  # fmt: skip
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", metavar="K", min=1, max=1000, show_default="5",
                     help="fixed-point: predictions at each step"),
    ] = None  # fmt: skip
    inner_steps: Annotated[
        int | None,
        typer.Option("--inner-steps", metavar="J", min=0, max=1000, show_default="10",
                     help="null-text: the most iterations of a step"),
    ] = None  # fmt: skip
    early_stop: Annotated[
        float | None,
        typer.Option("--early-stop", metavar="LOSS", min=-1, show_default="1e-5",
                     help="null-text: the loss at which a step stops; -1: never"),
    ] = None  # fmt: skip
    inversion_seed: Annotated[
        int | None,
        typer.Option("--inversion-seed", metavar="SEED", min=0, max=MAX_SEED, show_default="0",
                     help="edit-friendly: the seed of its noise"),
    ] = None  # fmt: skip
    fit: Annotated[
        Fit | None,
        typer.Option("--fit", show_default="crop",
                     help="how it is brought to --width x --height; own: it keeps its size"),
    ] = None  # fmt: skip


def check_source_steps(quality: str | None, picture: str | None) -> None:
    """Raise BadInput for a quality of a saved source, which has its own steps."""
    if quality is not None and picture is not None and picture.endswith(".safetensors"):
        raise BadInput(
            f"--quality {quality} is for making a source: the saved one has its own steps"
        )


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """Which steps null-text inversion tunes for an edit."""

    heading: ClassVar[str] = "inversion of PICTURE"
    tune: Annotated[
        Tune | None,
        typer.Option("--tune", show_default="all",
                     help="null-text: tune all steps, or those at which the edit calls the UNet"),
    ] = None  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """The source of an edit: a picture that is inverted, a saved source, or a prompt and a seed."""

    heading: ClassVar[str] = "options"
    picture: Annotated[
        str | None,
        typer.Argument(metavar="PICTURE",
                       help="a PNG, JPEG, WebP or saved source, - is stdin; without it: "
                       "--source-prompt and --seed"),
    ] = None  # fmt: skip
    source_prompt: Annotated[
        str | None,
        typer.Option("--source-prompt", metavar="SOURCE", help="what the source shows"),
    ] = None
    source_prompt_2: Annotated[str, SOURCE_PROMPT_2] = ""
    record_noise: Annotated[bool, RECORD_NOISE] = False
    content: bytes | None = None  # what a pipe held

    def __post_init__(self) -> None:
        """Raise BadInput for recorded noise of a picture, which its inversion decides."""
        if self.record_noise and self.picture is not None:
            raise BadInput(f"--record-noise is for a generated source, got PICTURE {self.picture}")


@dataclass(frozen=True, kw_only=True)
class MaskOptions:
    """Where an edit happens."""

    heading: ClassVar[str] = "mask"
    mask: Annotated[
        str | None,
        typer.Option("--mask", metavar="FILE", show_default="the whole picture is edited",
                     help="a picture of PICTURE's size: its white pixels are edited, or its "
                     "transparent ones if it has any; - is stdin"),
    ] = None  # fmt: skip
    box: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option("--box", metavar="X0,Y0,X1,Y1", parser=read_box,
                     help="instead of --mask, in PICTURE's pixels"),
    ] = None  # fmt: skip
    auto_mask: Annotated[
        bool,
        typer.Option("--auto-mask",
                     help="instead of --mask: where the predictions for the two prompts differ"),
    ] = False  # fmt: skip
    feather: Annotated[
        int,
        typer.Option("--feather", metavar="PIXELS", min=0, max=MAX_SIDE, show_default="0 pixels",
                     help="fade over so many pixels inside the mask's edge"),
    ] = 0  # fmt: skip
    no_paste: Annotated[
        bool,
        typer.Option("--no-paste", help="do not paste PICTURE's pixels back outside the mask"),
    ] = False
    content: bytes | None = None  # what a pipe held

    def __post_init__(self) -> None:
        """Raise BadInput for more than one mask, or none where one is needed."""
        given = [
            name
            for name, value in (
                ("--mask", self.mask), ("--box", self.box), ("--auto-mask", self.auto_mask or None)
            )
            if value is not None
        ]  # fmt: skip
        if len(given) > 1:
            raise BadInput(f"{' and '.join(given)} say the same thing: give one of them")

    @property
    def paste(self) -> bool:
        """Whether PICTURE's pixels are pasted back outside the mask."""
        return not self.no_paste

    @property
    def exists(self) -> bool:
        """Whether there is a mask."""
        return self.mask is not None or self.box is not None or self.auto_mask


@dataclass(frozen=True, kw_only=True)
class MaskFileOptions:
    """The file that the mask is written to."""

    heading: ClassVar[str] = "mask"
    save_mask: Annotated[
        Path | None,
        typer.Option("--save-mask", metavar="FILE", parser=read_page_path,
                     help="write the mask that was used"),
    ] = None  # fmt: skip


def check_file_quality(save: "SaveOptions", *files: Path | None) -> None:
    """Raise BadInput for a quality that none of the files to write has."""
    written = [one for one in files if one is not None]
    if save.file_quality is not None and not any(one.suffix.lower() in LOSSY for one in written):
        got = f"{save.file_quality} and {', '.join(map(str, written))}"
        raise BadInput(f"--file-quality is for a .jpg or .webp, as a PNG loses nothing, got {got}")


@dataclass(frozen=True, kw_only=True)
class SaveOptions:
    """How pictures are written, and the file for the source, for later edits."""

    heading: ClassVar[str] = "files"
    file_quality: Annotated[
        int | None,
        typer.Option("--file-quality", metavar="Q", min=1, max=100,
                     show_default="95 for .jpg, 90 for .webp",
                     help="of a .jpg or .webp; a .png loses nothing"),
    ] = None  # fmt: skip
    save_source: Annotated[
        Path | None,
        typer.Option("--save-source", metavar="FILE", parser=read_safetensors_path,
                     help="write the source as a .safetensors file, which edit takes as PICTURE"),
    ] = None  # fmt: skip
    record_direction: Annotated[
        bool,
        typer.Option("--record-direction",
                     help="with guidance directions in that file, for --guidance-every; replay, "
                     "fixed-point and null-text take two UNet rows a step for them"),
    ] = False  # fmt: skip

    def __post_init__(self) -> None:
        """Raise BadInput for directions that nobody would see."""
        if self.record_direction and self.save_source is None:
            raise BadInput("--record-direction changes the saved source: give --save-source too")
