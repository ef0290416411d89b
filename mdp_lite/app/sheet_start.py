"""The edit that a sheet starts from: the result that the page shows, also an older one."""

from typing import NamedTuple

from PIL import Image

from mdp_lite.app.form import EditForm
from mdp_lite.app.history import HistoryItem
from mdp_lite.app.results import LastEdit
from mdp_lite.app.runs import Borrowed, Submission, get_or_make_source, source_mask
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import OnProgress
from mdp_lite.app.wording import say
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline.result import Cost


class SheetStart(NamedTuple):
    """A form, and where its source comes from: the visit's last edit, or the files of a result."""

    form: EditForm
    last: LastEdit | None
    item: HistoryItem | None
    model: str


def find_start(session: Session) -> SheetStart:
    """The edit that the page shows. Raises BadInput if there is none."""
    item, last = session.history.current, session.last
    if item is not None:
        return SheetStart(item.form, last, item, item.model)
    if last is None:
        raise BadInput(say("sheet", "nothing"))
    return SheetStart(last.form, last, None, last.model)


def open_start(
    editor: Editor, session: Session, start: SheetStart, on_progress: OnProgress
) -> tuple[LastEdit, Cost]:
    """The edit with its source, and what the source cost if it had to be made again.

    The sources of older results may have made room for newer ones.
    """
    item = start.item
    if item is None or (start.last and _is_same(start.last, item)):
        assert start.last is not None  # find_start found one of the two
        return start.last, Cost(0, 0)
    picture, mask = images.open_picture(item.source_file), None
    if item.mask_file:
        mask = images.open_picture(item.mask_file).convert("L")
    submission = Submission(item.form, picture, item.name, mask)
    own = source_mask(editor, submission)
    model = Borrowed(editor, item.model)
    source, reused = get_or_make_source(model, session, item.form, picture, on_progress, own)
    edit = LastEdit(source, item.form, mask, item.name, item.model)
    return edit, Cost(0, 0) if reused else source.cost


def _is_same(last: LastEdit, item: HistoryItem) -> bool:
    """Whether a result is the last edit, by its form, its picture and its mask."""
    if (last.form, last.name, last.model) != (item.form, item.name, item.model):
        return False
    if (last.mask is None) != (item.mask_file is None):
        return False
    masks = last.mask is None or _has_pixels(images.open_picture(str(item.mask_file)), last.mask)
    return masks and _has_pixels(images.open_picture(item.source_file), last.source.picture)


def _has_pixels(file: Image.Image, picture: Image.Image) -> bool:
    same = (file.size, file.mode) == (picture.size, picture.mode)
    return same and file.tobytes() == picture.tobytes()
