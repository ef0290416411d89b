"""The results of a visit: each with its settings and files; going back and forth among them."""

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mdp_lite.app.form import EditForm
from mdp_lite.app.streaming import StoppedByVisitor
from mdp_lite.app.wording import say
from mdp_lite.names import BadInput
from mdp_lite.pictures import images

MAX_ITEMS, MAX_BYTES = 60, 2**29  # of a visit: results, and the bytes of their files
MAX_SHOWN = 200  # results that undo can go back
THUMB_SIZE = 256  # pixels of the longer side
MAX_SLUG = 60  # letters of a prompt in the name of a file


class HistoryItem(NamedTuple):
    """One result. rows are the UNet rows that it cost, with those of its source if it was new.

    The files lie in a folder of this result alone. name is the file name of the picture that was
    edited, or None if it was generated. label says how it was made, in a few words. model is the
    alias of the model that made it.
    """

    id: int
    form: EditForm
    source_file: Path
    edit_file: Path
    mask_file: Path | None
    thumb_file: Path
    name: str | None
    label: str
    seconds: float
    rows: int
    liked: bool = False
    model: str = ""

    @property
    def file_name(self) -> str:
        """The name of the edit when it is downloaded: mdp_lite-3-a-blue-house.png."""
        words = re.sub(r"[\W_]+", "-", self.form.prompt.lower()).strip("-")[:MAX_SLUG].rstrip("-")
        return f"mdp_lite-{self.id}{words and '-' + words}.png"


class History:
    """The results of a visit, in the order in which they were made, and the one that is shown.

    Undo and redo go through the results in the order in which they were shown. If there are too
    many results, the oldest one that is not liked is deleted. Every method may be called by any
    thread. Ids come from a browser: every method checks them and raises BadInput. pair are the ids
    of two results that are compared, until one result is shown alone again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pair: tuple[int, int] | None = None
        self._items: dict[int, HistoryItem] = {}
        self._shown: list[int] = []
        self._position = -1  # of the current result in _shown
        self._count, self._closed, self._lock = 0, False, threading.RLock()

    def __iter__(self) -> Iterator[HistoryItem]:
        """The results, oldest first."""
        with self._lock:
            return iter(list(self._items.values()))

    def __len__(self) -> int:
        return len(self._items)

    @property
    def current(self) -> HistoryItem | None:
        """The result that is shown, if there is one."""
        with self._lock:
            return self._items[self._shown[self._position]] if self._shown else None

    @property
    def can_undo(self) -> bool:
        """Whether something else was shown before what is shown now."""
        return self._position > 0 or self.pair is not None

    @property
    def can_redo(self) -> bool:
        """Whether undo left a result that can be shown again."""
        return self._position < len(self._shown) - 1

    def make_folder(self) -> Path:
        """An empty folder for the files of one result; its name is the result's id.

        Raises StoppedByVisitor if the visit has ended.
        """
        with self._lock:
            if self._closed:
                raise StoppedByVisitor
            self._count += 1
            folder = self.folder / str(self._count)
        folder.mkdir(parents=True)
        return folder

    def add(
        self, form: EditForm, source_file: Path, edit_file: Path, mask_file: Path | None,
        name: str | None, seconds: float, rows: int, model: str = "",
    ) -> HistoryItem:  # fmt: skip
        """Add a result whose files lie in a folder by make_folder, and show it.

        Raises StoppedByVisitor if the visit ended in the meantime; then the files are deleted.
        """
        folder = edit_file.parent
        thumb = write_thumb(edit_file, folder / "thumb.png")
        item = HistoryItem(
            int(folder.name), form, source_file, edit_file, mask_file, thumb, name,
            describe_form(form), seconds, rows, model=model,
        )  # fmt: skip
        with self._lock:
            if self._closed:
                shutil.rmtree(folder, ignore_errors=True)
                raise StoppedByVisitor
            self._items[item.id] = item
            self.show(item.id)
            self._delete_surplus()
        return item

    def get(self, item_id: object) -> HistoryItem:
        """The result of an id."""
        item = self._items.get(item_id) if type(item_id) is int else None
        if item is None:
            raise BadInput(say("history", "gone"))
        return item

    def show(self, item_id: object) -> HistoryItem:
        """Make a result the current one; what undo had left can't be shown again by redo."""
        with self._lock:
            item = self.get(item_id)
            self.pair = None
            if item != self.current:
                self._shown = [*self._shown[: self._position + 1], item.id][-MAX_SHOWN:]
                self._position = len(self._shown) - 1
        return item

    def undo(self) -> HistoryItem | None:
        """Go back to the result that was shown before; the current one now.

        While two results are compared, that is the one that was shown before both.
        """
        return self._move(0 if self.pair else -1)

    def redo(self) -> HistoryItem | None:
        """Take an undo back; the current result now."""
        return self._move(1)

    def like(self, item_id: object) -> HistoryItem:
        """Like a result, or no longer."""
        with self._lock:
            item = self.get(item_id)
            self._items[item.id] = item = item._replace(liked=not item.liked)
        return item

    def choose_pair(self, ids: object) -> tuple[HistoryItem, HistoryItem]:
        """Choose two results that are compared."""
        with self._lock:
            if not isinstance(ids, list | tuple) or len(ids) != 2 or ids[0] == ids[1]:
                raise BadInput(say("history", "two"))
            one, other = (self.get(each) for each in ids)
            self.pair = one.id, other.id
        return one, other

    def remove(self, item_id: object) -> HistoryItem | None:
        """Delete a result with its files; the current result then, if there is still one."""
        with self._lock:
            item = self.get(item_id)
            del self._items[item.id]
            self.pair = None
            self._forget_shown(item.id)
        shutil.rmtree(item.edit_file.parent, ignore_errors=True)
        return self.current

    def clear(self) -> None:
        """Delete all results at the end of the visit; later ones are refused."""
        with self._lock:
            self._closed, self._position, self.pair = True, -1, None
            self._items.clear()
            self._shown.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _move(self, by: int) -> HistoryItem | None:
        with self._lock:
            self.pair = None
            if 0 <= self._position + by < len(self._shown):
                self._position += by
            return self.current

    def _forget_shown(self, item_id: int) -> None:
        """Take a result out of the order of shown ones; the one before it becomes current."""
        shown, position = list[int](), -1
        for k, one in enumerate(self._shown):
            if one != item_id and one != (shown[-1] if shown else None):
                shown.append(one)
            if k == self._position:
                position = len(shown) - 1
        if not shown and self._items:
            shown = [max(self._items)]
        self._shown, self._position = shown, max(position, 0) if shown else -1

    def _delete_surplus(self) -> None:
        """Delete the oldest results, those that are liked last, and never the newest one."""
        old = sorted(list(self)[:-1], key=lambda one: (one.liked, one.id))
        total = sum(_measure(one) for one in self)
        while old and (len(self) > MAX_ITEMS or total > MAX_BYTES):
            item = old.pop(0)
            total -= _measure(item)
            self.remove(item.id)


def describe_form(form: EditForm) -> str:
    """How a result was made, in a few words."""
    key = "by_strength" if form.steer == "strength" else "by_window"
    numbers = {name: f"{getattr(form, name):g}" for name in ("strength", "t_max", "t_m")}
    return say("history", key, variant=form.variant, **numbers)


def write_thumb(picture: Path, path: Path) -> Path:
    """Write a small copy of a picture."""
    image = images.to_rgb(images.open_picture(picture))
    image.thumbnail((THUMB_SIZE, THUMB_SIZE), Image.Resampling.LANCZOS)
    images.save_png(image, path, None)
    return path


def _measure(item: HistoryItem) -> int:
    """The bytes of a result's files."""
    return sum(file.stat().st_size for file in item.edit_file.parent.iterdir())
