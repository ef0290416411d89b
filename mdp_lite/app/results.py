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

    id names it in the visit. form is None for an edit by another method. cost is what it takes by
    itself. seconds are those of the run that made it if is_measured, else its part of a run of many
    edits, by the UNet rows that it takes by itself; None if its source was already computed.
    source_file is the picture before the edit. source_cost is that of inverting the picture for
    this edit, None if the edit starts from the sheet's own source.
    """

    id: str
    name: str
    form: EditForm | None
    file: Path
    source_file: Path
    psnr: float
    cost: Cost
    seconds: float | None
    is_measured: bool = True
    source_cost: Cost | None = None


class SheetTable(NamedTuple):
    """Where the edits of a sheet stand: heads, and for each row the indices of its cells.

    Without heads of columns each edit is known by its name. None is where there is no edit.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    lines: tuple[tuple[int | None, ...], ...]


class EditSheet(NamedTuple):
    """Edits of one source, and a file with all of them as one labelled picture.

    cost is that of all edits together, with common steps computed once, in so many seconds. naive
    is the cost if every step of every edit calls the UNet. name is as in LastEdit. notes are
    sentences for the visitor.
    """

    source_file: Path
    cells: tuple[SheetCell, ...]
    sheet_file: Path
    cost: Cost
    naive: Cost
    name: str | None
    notes: tuple[str, ...]
    table: SheetTable
    seconds: float
