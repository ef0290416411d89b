"""What runs give: an edit, or a sheet of many of one source, each picture as a file."""

from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mdp_lite.app.form import Form
from mdp_lite.pipeline.result import Cost, Edit, Source


class Last(NamedTuple):
    """What other edits may start from: a source, the form that it was edited by, the mask if any.

    name is the file name of the picture, or None where the source was made from a prompt.
    """

    source: Source
    form: Form
    mask: Image.Image | None
    name: str | None


class Made(NamedTuple):
    """An edit, files of its source and itself, and what it took; reused: the source was there."""

    last: Last
    edit: Edit
    settings: dict[str, Any]
    before: Path
    after: Path
    reused: bool
    seconds: dict[str, float]

    @property
    def spent(self) -> Cost:
        """What this run alone took."""
        source = Cost(0, 0) if self.reused else self.last.source.cost
        return Cost(*map(sum, zip(source, self.edit.cost, strict=True)))


class Cell(NamedTuple):
    """An edit of a sheet in few words, its file, and its picture's PSNR to the source's in dB.

    form is None for an edit by another method.
    """

    name: str
    form: Form | None
    file: Path
    psnr: float
    cost: Cost


class Sheet(NamedTuple):
    """Edits of one source, all on one picture; shared is what they took together.

    naive is what walking every step of each takes; name as in Last; notes are for the visitor.
    """

    source: Path
    cells: tuple[Cell, ...]
    whole: Path
    shared: Cost
    naive: Cost
    name: str | None
    notes: tuple[str, ...] = ()
