"""Results of runs: one edit, or a sheet of many edits of one source. Each picture is a file."""

from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mdp_lite.app.form import EditForm
from mdp_lite.app.history import HistoryItem
from mdp_lite.pipeline.result import Cost, Edit, Source, add_costs


class LastEdit(NamedTuple):
    """A visitor's last edit: its source, its form, and its mask if there was one.

    name is the file name of the picture, or None if the source was generated from a prompt. model
    is the alias of the model that made it: the source is of no use to another one.
    """

    source: Source
    form: EditForm
    mask: Image.Image | None
    name: str | None
    model: str


class AppResult(NamedTuple):
    """One edit with its settings and files; reused says that its source was already computed.

    seconds has the time of the source and of the edit.
    """

    last: LastEdit
    edit: Edit
    settings: dict[str, Any]
    source_file: Path
    edit_file: Path
    reused: bool
    seconds: dict[str, float]
    item: HistoryItem | None = None

    @property
    def cost(self) -> Cost:
        """The cost of this run; a source that was reused costs nothing."""
        source = Cost(0, 0) if self.reused else self.last.source.cost
        return add_costs(source, self.edit.cost)


class SheetCell(NamedTuple):
    """One edit of a sheet: its caption, its file, and the PSNR to the source's picture in dB.

    form is None for an edit by another method.
    """

    name: str
    form: EditForm | None
    file: Path
    psnr: float
    cost: Cost


class EditSheet(NamedTuple):
    """Edits of one source, and a file with all of them as one labelled picture.

    cost is that of all edits together, with common steps computed once. naive is the cost if every
    step of every edit calls the UNet. name is as in LastEdit. notes are sentences for the visitor.
    """

    source_file: Path
    cells: tuple[SheetCell, ...]
    sheet_file: Path
    cost: Cost
    naive: Cost
    name: str | None
    notes: tuple[str, ...] = ()
