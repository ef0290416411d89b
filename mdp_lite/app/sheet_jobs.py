"""What all edits of a sheet need: the job that they belong to, and how one becomes a cell."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mdp_lite.app.form import EditForm
from mdp_lite.app.results import LastEdit, SheetCell
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import OnProgress
from mdp_lite.editor import Editor
from mdp_lite.method.execute import EditTask
from mdp_lite.method.plan import naive_plan
from mdp_lite.pictures import images
from mdp_lite.pipeline.result import Cost, add_costs

SOURCE_FILE = "source.png"


class SheetJob(NamedTuple):
    """What a sheet is made from: the editor, the visitor, the last edit, and where files go."""

    editor: Editor
    session: Session
    last: LastEdit
    folder: Path
    on_progress: OnProgress

    @property
    def source_file(self) -> Path:
        """The picture before the edits."""
        return self.folder / SOURCE_FILE


class OtherEdits(NamedTuple):
    """Edits that were run one by one: cells, what they cost, and what every step would cost.

    cost includes the sources that were made for them. notes are sentences for the visitor.
    """

    cells: list[SheetCell]
    cost: Cost
    naive: Cost
    notes: tuple[str, ...]


class CellFacts(NamedTuple):
    """What a cell says of its edit; the fields are those of SheetCell."""

    name: str
    form: EditForm | None
    cost: Cost
    seconds: float | None
    is_measured: bool = True
    source_cost: Cost | None = None


def make_cell(
    job: SheetJob, file_name: str, picture: Image.Image, settings: dict[str, Any], facts: CellFacts
) -> SheetCell:
    """Write an edit with its settings; the cell of it."""
    file = job.folder / f"{file_name}.png"
    images.save_png(picture, file, settings)
    psnr = images.psnr(picture, job.last.source.picture)
    return SheetCell(
        f"{job.folder.name}/{file_name}", facts.name, facts.form, file, job.source_file, psnr,
        facts.cost, facts.seconds, facts.is_measured, facts.source_cost,
    )  # fmt: skip


def naive_cost(tasks: Sequence[EditTask]) -> Cost:
    """The cost of edits if every step of each calls the UNet."""
    plans = [naive_plan(task.weights, task.guidance.null is not None) for task in tasks]
    return add_costs(Cost(0, 0), *(Cost(one.unet_rows, one.unet_calls) for one in plans))
