"""What commands report: files to write, one JSON object, and lines for people."""

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mdp_lite.cli.units import pluralize
from mdp_lite.pictures.sheets import Row
from mdp_lite.pipeline.provenance import Settings
from mdp_lite.pipeline.result import Cost, Edit, Source

Pictures = dict[Path, tuple[Image.Image, Settings]]  # by the file that each is written to


class Report(NamedTuple):
    """The result of a command: pictures to write, an object for machines, lines for people.

    others are other files with their content. failed: a part of the work could not be done.
    """

    pictures: Pictures
    data: Settings
    lines: list[str]
    others: tuple[tuple[Path, bytes], ...] = ()
    failed: bool = False


def build_report(pictures: Pictures, cost: Cost, truncated: bool) -> Report:
    """The report of pictures, with the settings of the first; truncated: a prompt was too long."""
    _, settings = next(iter(pictures.values()))
    data = {
        "settings": settings,
        "seed": settings["seed"],
        "cost": cost._asdict(),
        "truncated": truncated,
    }
    back = f", {cost.backward_rows} of them backward too" if cost.backward_rows else ""
    rows, calls = pluralize(cost.unet_rows, "UNet row"), pluralize(cost.unet_calls, "call")
    line = f"cost: {rows} in {calls}{back}"
    return Report(pictures, data, [line])


def build_sheet_row(source: Source, edits: list[Edit]) -> Row:
    """A row of a sheet: the source, the mask if there is one, and the edits, labelled."""
    kind = f"seed {source.seed}" if source.generated else "picture"
    before = [(f"{kind}: {source.prompt}".removesuffix(": "), source.picture)]
    mask = [("mask", one.mask) for one in edits[:1] if one.mask]
    after = [(f"{one.variant}: {one.prompt}", one.picture) for one in edits]
    return [*before, *mask, *after]


def add_suffix(path: Path, ending: str) -> Path:
    """edited.png, ".sheet" -> edited.sheet.png."""
    return path.with_name(f"{path.stem}{ending}{path.suffix}")
