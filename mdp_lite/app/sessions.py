"""What the server stores for each visitor: sources, the last edit, and how to stop a run."""

import shutil
import threading
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path

from mdp_lite.app.favourites import Favourites
from mdp_lite.app.results import EditSheet, LastEdit
from mdp_lite.pipeline.result import Source

MAX_SESSIONS, MAX_SOURCES = 32, 4


class Session:
    """One visitor: the last edit, the last sheet of each kind, and the sources used last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last: LastEdit | None = None
        self.sheets: dict[str, EditSheet] = {}
        self.running_sheet: str | None = None  # the kind of the sheet that is being made
        self.favourites = Favourites(folder / "favourites")
        self._sources: OrderedDict[Hashable, Source] = OrderedDict()
        self._stop = threading.Event()

    def start_run(self) -> threading.Event:
        """Stop the run before, and return the event that stops the new one."""
        self._stop.set()
        self._stop = threading.Event()
        return self._stop

    def stop(self) -> None:
        """Stop the current run at its next step."""
        self._stop.set()

    def find_source(self, key: Hashable) -> Source | None:
        """The stored source of a key, if there is one; it now counts as used last."""
        source = self._sources.get(key)
        if source is not None:
            self._sources.move_to_end(key)
        return source

    def add_source(self, key: Hashable, source: Source) -> None:
        """Store a source. If there are too many, the least recently used one is dropped."""
        self._sources[key] = source
        while len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)

    def make_folder(self, kind: str) -> Path:
        """An empty folder for pictures of one kind; it replaces the visitor's last one."""
        folder = self.folder / kind
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def close(self) -> None:
        """Stop the current run and delete everything."""
        self.stop()
        self._sources.clear()
        self.sheets.clear()
        self.favourites.clear()
        self.last = None
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All visitors by name. If there are too many, the least recently active one is closed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def get_or_create(self, name: str) -> Session:
        """The visitor's session."""
        with self._lock:
            if name not in self._sessions:
                self._count += 1
                self._sessions[name] = Session(self._folder / str(self._count))
            self._sessions.move_to_end(name)
            too_many = len(self._sessions) > MAX_SESSIONS
            oldest = [self._sessions.popitem(last=False)[1]] if too_many else []
            session = self._sessions[name]
        for one in oldest:
            one.close()
        return session

    def drop(self, name: str) -> None:
        """Close the session of a visitor who left."""
        with self._lock:
            session = self._sessions.pop(name, None)
        if session:
            session.close()

    def __len__(self) -> int:
        return len(self._sessions)
