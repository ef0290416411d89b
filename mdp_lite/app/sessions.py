"""What the page keeps for each visitor: sources, the last edit, and how to stop what runs."""

import shutil
import threading
from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path

from mdp_lite.app.made import Last, Sheet
from mdp_lite.pipeline.result import Source

MOST_SESSIONS, MOST_SOURCES = 32, 4


class Session:
    """One visitor. last is what the last edit was of, sheets are the last ones by their kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last: Last | None = None
        self.sheets: dict[str, Sheet] = {}
        self._sources: OrderedDict[Hashable, Source] = OrderedDict()
        self._stop = threading.Event()

    def begin(self) -> threading.Event:
        """A new run: what is to be set to stop it. An earlier one is stopped."""
        self._stop.set()
        self._stop = threading.Event()
        return self._stop

    def stop(self) -> None:
        """Stop what runs, at its next step."""
        self._stop.set()

    def source(self, key: Hashable) -> Source | None:
        """The source that was made for a key, which counts as used now."""
        found = self._sources.get(key)
        if found is not None:
            self._sources.move_to_end(key)
        return found

    def keep(self, key: Hashable, source: Source) -> None:
        """Keep a source; the one that was not used for longest makes way."""
        self._sources[key] = source
        while len(self._sources) > MOST_SOURCES:
            self._sources.popitem(last=False)

    def fresh(self, kind: str) -> Path:
        """An empty folder for the pictures of one kind, which replaces the last one of it."""
        folder = self.folder / kind
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def close(self) -> None:
        """Stop, and forget everything."""
        self.stop()
        self._sources.clear()
        self.sheets.clear()
        self.last = None
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All visitors by name; the one that was away for longest makes way."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._known: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, name: str) -> Session:
        """The visitor's session, a new one at the first time."""
        with self._lock:
            if name not in self._known:
                self._count += 1
                self._known[name] = Session(self._folder / str(self._count))
            self._known.move_to_end(name)
            gone = [self._known.popitem(last=False)[1]] if len(self._known) > MOST_SESSIONS else []
            session = self._known[name]
        for one in gone:
            one.close()
        return session

    def drop(self, name: str) -> None:
        """The visitor has left."""
        with self._lock:
            session = self._known.pop(name, None)
        if session:
            session.close()

    def __len__(self) -> int:
        return len(self._known)
