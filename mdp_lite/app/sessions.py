"""Visits: what the server stores for each visitor, for how long, and how it is deleted.

A visit has a secret token, which is in the addresses of its pictures and in the visitor's browser.
A page that is loaded again gives the token and gets its visit back (Sessions.resume). A visit whose
last page was closed, or that never had one, as those of gradio_client, has a grace time since it
was used last; after it everything of the visit is deleted.
"""

import secrets
import shutil
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from mdp_lite.app.favourites import Favourites
from mdp_lite.app.history import History
from mdp_lite.app.results import EditSheet, LastEdit
from mdp_lite.app.visit_page import VisitPage
from mdp_lite.pipeline.result import Source

MAX_SESSIONS, MAX_SOURCES = 32, 4
GRACE_SECONDS = 900.0  # between the last page of a visit and its end
VISIT_PATH = "visit"  # the first part of the addresses of all visits' files
ARCHIVE = "all.zip"  # made when it is asked for; no file has this name


class Session:
    """One visit: its results, the last edit, the last sheet of each kind, and its sources.

    pages are the names of its open pages. uploads are the files that the visitor gave. is_used is
    false as long as the visitor would lose nothing by the end of the visit.
    """

    def __init__(self, folder: Path, token: str = "") -> None:
        self.folder, self.token = folder, token or secrets.token_urlsafe(24)
        self.pages: set[str] = set()
        self.uploads: set[str] = set()
        self.last: LastEdit | None = None
        self.sheets: dict[str, EditSheet] = {}
        self.was_left = False  # in the middle of a run
        self.running_page = ""  # the name of the page that started the newest edit
        self.running_sheet: str | None = None  # the kind of the sheet that is being made
        self.favourites = Favourites(folder / "favourites")
        self.history = History(folder / "results")
        self.page, self.was_stopped = VisitPage(folder / "pictures"), False
        self._sources: OrderedDict[Hashable, Source] = OrderedDict()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._stop.set()
        self._folders: dict[str, Path] = {}
        self._count, self.is_used = 0, False
        self.model: str | None = None  # the alias of the chosen one

    @property
    def is_running(self) -> bool:
        """Whether a run was started and has not ended; stream() sets its event at the end."""
        return not self._stop.is_set()

    def start_run(self, on_stage: bool = True) -> threading.Event:
        """Stop the run before, and return the event that stops the new one.

        Unless the new one shows itself on the stage, that has to say that the old one was stopped.
        """
        self.is_used, self.was_stopped = True, not on_stage
        self._stop.set()
        self._stop = threading.Event()
        return self._stop

    def stop(self) -> None:
        """Stop the current run at its next step."""
        self.was_stopped = True
        self._stop.set()

    def find_source(self, key: Hashable) -> Source | None:
        """The stored source of a key, if there is one; it now counts as used last."""
        with self._lock:
            source = self._sources.get(key)
            if source is not None:
                self._sources.move_to_end(key)
        return source

    def add_source(self, key: Hashable, source: Source) -> None:
        """Store a source. If there are too many, the least recently used one is dropped."""
        with self._lock:
            self._sources[key] = source
            while len(self._sources) > MAX_SOURCES:
                self._sources.popitem(last=False)

    def make_folder(self, kind: str) -> Path:
        """An empty folder for pictures of one kind; the visitor's last one is deleted.

        Its name is new, so that a browser that shows the old picture loads the new one.
        """
        old = self._folders.get(kind)
        if old:
            shutil.rmtree(old, ignore_errors=True)
        self._count += 1
        self._folders[kind] = folder = self.folder / f"{kind}-{self._count}"
        folder.mkdir(parents=True)
        return folder

    def note_upload(self, path: str | None) -> None:
        """Remember a file that the visitor uploaded; it is deleted when the visit ends."""
        if path is not None:
            self.is_used = True
            self.uploads.add(str(path))

    def url_of(self, path: Path) -> str:
        """The address of a file in the visit's folder, relative to the address of the page."""
        return f"{VISIT_PATH}/{self.token}/{quote(path.relative_to(self.folder).as_posix())}"

    @property
    def archive_url(self) -> str:
        """The address of all results as one zip file."""
        return f"{VISIT_PATH}/{self.token}/{ARCHIVE}"

    def name_download(self, name: str) -> str:
        """A good name for a file of the visit, given by its path in the folder, on another disk."""
        for item in self.history:
            if self.folder / name == item.edit_file:
                return item.file_name
        return f"mdp_lite-{name.replace('/', '-')}"

    def close(self) -> None:
        """Stop the current run and delete everything but the uploads, which others may have too."""
        self.stop()
        with self._lock:
            self._sources.clear()
        self.sheets.clear()
        self.favourites.clear()
        self.history.clear()
        self.page.clear()
        self.last = None
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """All visits, by the names of their pages (gradio's session hashes) and by their tokens.

    If there are too many visits, one is ended: rather one without results, without an open page,
    or that was not used for long. grace_seconds is how long a visit stays without an open page.
    uploads is the folder of uploaded files; a file elsewhere is never deleted.
    """

    def __init__(
        self, folder: Path, uploads: Path | None = None, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self.grace_seconds, self._folder, self._uploads = grace_seconds, folder, uploads
        self._count = 0
        self._visits: OrderedDict[str, Session] = OrderedDict()  # by token, used last comes last
        self._tokens: dict[str, str] = {}  # by the name of a page, open or closed
        self._ends: dict[str, float] = {}  # by token: when a visit without an open page ends
        self._lock, self._closed = threading.RLock(), threading.Event()
        self._sweeper: threading.Thread | None = None

    def get_or_create(self, name: str) -> Session:
        """The visit of a page; an unknown name starts a new visit without an open page."""
        with self._lock:
            session = self._visits.get(self._tokens.get(name, "")) or self._create(name)
            self._visits.move_to_end(session.token)
            if not session.pages:
                self._start_grace(session.token)
        return session

    def resume(self, name: str, token: object) -> Session:
        """Bind a page that was loaded to the visit of a token, and count it as open.

        The token comes from a browser: if it is not that of a visit, the page starts a new one.
        """
        with self._lock:
            session = self._visits.get(token) if isinstance(token, str) else None
            if session is None:
                session = self.get_or_create(name)
            elif self._tokens.get(name) != session.token:
                self.leave(name)
            self._forget_closed_pages(session)
            self._ends.pop(session.token, None)
            self._tokens[name] = session.token
            session.pages.add(name)
            self._visits.move_to_end(session.token)
        return session

    def find_visit(self, token: str) -> Session | None:
        """The visit of a token, if there is one."""
        with self._lock:
            return self._visits.get(token)

    def leave(self, name: str) -> None:
        """A page was closed. If it was the last one of its visit, the grace time starts."""
        with self._lock:
            session = self._visits.get(self._tokens.get(name, ""))
            if session is None:
                return
            session.pages.discard(name)
            if not session.pages:
                session.was_left = session.was_left or session.is_running
                session.stop()
                self._start_grace(session.token)

    def drop(self, name: str) -> None:
        """Delete everything of a page's visit at once."""
        with self._lock:
            token = self._tokens.get(name, "")
        self._end(token)

    def close(self) -> None:
        """End all visits, and look for old ones no longer."""
        self._closed.set()
        with self._lock:
            tokens = list(self._visits)
        for token in tokens:
            self._end(token)

    def __len__(self) -> int:
        return len(self._visits)

    def _create(self, name: str) -> Session:
        """A new visit; called under the lock."""
        if len(self._visits) >= MAX_SESSIONS:
            self._end(self._choose_surplus())
        if self._sweeper is None:
            self._sweeper = self._start_sweeper()
        self._count += 1
        session = Session(self._folder / str(self._count))
        self._visits[session.token] = session
        self._tokens[name] = session.token
        return session

    def _choose_surplus(self) -> str:
        """The visit that is missed least; equal ones are in the order of their last use."""
        visits = self._visits.values()
        return min(visits, key=lambda one: (one.is_used, bool(one.pages))).token

    def _forget_closed_pages(self, session: Session) -> None:
        """So that a page that is loaded again and again does not fill the memory with names."""
        names = [name for name, token in self._tokens.items() if token == session.token]
        for name in names:
            if name not in session.pages:
                del self._tokens[name]

    def _start_grace(self, token: str) -> None:
        self._ends[token] = time.monotonic() + self.grace_seconds

    def _start_sweeper(self) -> threading.Thread:
        """A thread that ends visits after their grace time, until these visits are closed."""
        # The thread does not hold on to the visits: those that nobody closed can be collected.
        weakref.finalize(self, self._closed.set)
        arguments = weakref.ref(self), self._closed, self.grace_seconds
        thread = threading.Thread(target=_sweep, args=arguments, name="visits", daemon=True)
        thread.start()
        return thread

    def sweep(self) -> float:
        """End the visits whose grace time is over; the seconds until the next one may be over.

        A visit with a run stays: an edit may take longer than the grace time.
        """
        now = time.monotonic()
        with self._lock:
            for token in [token for token, end in self._ends.items() if end <= now]:
                if self._visits[token].is_running:
                    self._start_grace(token)
                else:
                    self._end(token)
            return min(self._ends.values(), default=now + self.grace_seconds) - now

    def _end(self, token: str) -> None:
        with self._lock:
            session = self._visits.pop(token, None)
            if session is None:
                return
            self._ends.pop(token, None)
            self._tokens = {name: one for name, one in self._tokens.items() if one != token}
            others = [one.uploads for one in self._visits.values()]
        session.close()
        # Equal uploads of two visitors are one file of gradio's.
        for path in session.uploads.difference(*others):
            self._delete_upload(Path(path))

    def _delete_upload(self, path: Path) -> None:
        folder = self._uploads
        if folder and path.resolve().is_relative_to(folder.resolve()):
            with suppress(OSError):
                path.unlink()
                path.parent.rmdir()  # gradio makes a folder for each file


def _sweep(visits: "weakref.ref[Sessions]", closed: threading.Event, seconds: float) -> None:
    """Sweep whenever a visit may be over; a grace time that starts later ends later."""
    while not closed.wait(max(seconds, 0.01)):
        sessions = visits()
        if sessions is None:
            return
        seconds = sessions.sweep()
        del sessions
