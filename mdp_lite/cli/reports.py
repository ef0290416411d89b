"""What commands report: files to write, one JSON object, and lines for people."""

from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mdp_lite.pictures.sheets import Row
from mdp_lite.pipeline.provenance import Settings
from mdp_lite.pipeline.result import Cost, Edit, Source


class Report(NamedTuple):
    """What a command made: files to write, an object for machines, lines for people.

    failed says that not all that was asked for was made.
    """

    pictures: dict[Path, tuple[Image.Image, Settings]]
    data: Settings
    lines: list[str]
    others: tuple[tuple[Path, bytes], ...] = ()
    failed: bool = False


def report(
    pictures: dict[Path, tuple[Image.Image, Settings]], cost: Cost, truncated: bool
) -> Report:
    """Pictures with the settings of the first, the cost and whether a prompt was cut."""
    _, settings = next(iter(pictures.values()))
    data = {
        "settings": settings,
        "seed": settings["seed"],
        "cost": cost._asdict(),
        "truncated": truncated,
    }
    back = f", {cost.backward_rows} of them backward too" if cost.backward_rows else ""
    line = f"cost: {cost.unet_rows} UNet rows in {cost.unet_calls} calls{back}"
    return Report(pictures, data, [line])


def row_of(source: Source, edits: list[Edit]) -> Row:
    """Before and after, labelled."""
    kind = f"seed {source.seed}" if source.method == "generate" else "picture"
    before = [(f"{kind}: {source.prompt}".removesuffix(": "), source.picture)]
    where = [("mask", one.mask) for one in edits[:1] if one.mask]
    after = [(f"{one.variant}: {one.prompt}", one.picture) for one in edits]
    return [*before, *where, *after]


def add_suffix(path: Path, ending: str) -> Path:
    """edited.png, ".sheet" -> edited.sheet.png."""
    return path.with_name(f"{path.stem}{ending}{path.suffix}")
