"""Edits of sheets that a visitor likes: they stay in the visit when their sheet is replaced."""

import shutil
import threading
from pathlib import Path

from mdp_lite.app.results import SheetCell

MAX_FAVOURITES = 60  # of a visit; the oldest one makes room for a new one


class Favourites:
    """The liked edits of a visit, oldest first, each with copies of its two pictures.

    Every method may be called by any thread.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cells: dict[str, SheetCell] = {}
        self._count, self._lock = 0, threading.RLock()

    def __contains__(self, cell_id: object) -> bool:
        return cell_id in self._cells

    def list(self) -> list[SheetCell]:
        """All of them, oldest first."""
        with self._lock:
            return list(self._cells.values())

    def find(self, cell_id: object) -> SheetCell | None:
        """The favourite of an id, if there is one."""
        return self._cells.get(cell_id) if isinstance(cell_id, str) else None

    def add(self, cell: SheetCell) -> None:
        """Like an edit; its files are copied, because those of its sheet are deleted with it."""
        with self._lock:
            if cell.id in self._cells:
                return
            self._count += 1
            folder = self.folder / str(self._count)
            folder.mkdir(parents=True)
            files = [Path(shutil.copy(one, folder)) for one in (cell.file, cell.source_file)]
            self._cells[cell.id] = cell._replace(file=files[0], source_file=files[1])
            while len(self._cells) > MAX_FAVOURITES:
                self.remove(next(iter(self._cells)))

    def remove(self, cell_id: str) -> None:
        """Like an edit no longer."""
        with self._lock:
            cell = self._cells.pop(cell_id, None)
        if cell:
            shutil.rmtree(cell.file.parent, ignore_errors=True)

    def clear(self) -> None:
        """Forget all of them, with their files."""
        with self._lock:
            self._cells.clear()
            shutil.rmtree(self.folder, ignore_errors=True)
