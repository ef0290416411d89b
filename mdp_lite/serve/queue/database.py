"""The database of jobs: one connection in one thread, so that nothing waits for the disk."""

import asyncio
import logging
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mdp_lite.files import probe
from mdp_lite.names import BadInput
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.queue.records import ADDED, TABLES
from mdp_lite.store.cache import Cache

T = TypeVar("T")
NAME = "jobs.sqlite"
VERSION = 2  # of the tables
BUSY = 30.0  # seconds that a transaction waits for those of other processes
TRY = 5.0  # the same before the service starts, or instead of that in a dry run
log = logging.getLogger("mdp_lite.serve")


class Database:
    """SQLite in a folder, or in memory if the folder is None."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._thread = ThreadPoolExecutor(1, "jobs")

    async def run(self, work: Callable[..., T], *args: Any) -> T:
        """Work on the database in its thread. Raises ApiError if it can't be read or written."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, partial(work, *args))
        except sqlite3.Error as error:
            log.error("the database of jobs: %s", error)
            message = "the jobs can't be read or written now"
            raise ApiError(503, message, "jobs_unavailable", retry=30) from error

    def open(self) -> None:
        """Open it, make it if there is none, and bring tables of older versions up to date.

        Runs in its thread, as all below. Raises BadInput for tables of a newer version.
        """
        path = ":memory:" if self.folder is None else str(make_file(self.folder))
        self.connection = sqlite3.connect(path, BUSY, isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        for setting in (
            "auto_vacuum = INCREMENTAL", "journal_mode = WAL", "foreign_keys = ON",
            "synchronous = FULL", "secure_delete = ON",
        ):  # fmt: skip
            self.connection.execute(f"PRAGMA {setting}")
        with self.transaction() as connection:
            check_version(connection, path)
            for one in filter(str.strip, TABLES.split(";")):
                connection.execute(one)
            for table, column, kind in ADDED:
                if column not in _list_columns(connection, table):
                    connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")
            connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done within happens, or nothing of it; no other process comes between."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def shrink(self) -> None:
        """Give the space of deleted jobs back to the disk."""
        self.connection.execute("PRAGMA incremental_vacuum").fetchall()

    async def close(self) -> None:
        """Close it, and end its thread."""
        await self.run(self.connection.close)
        self._thread.shutdown()


def find_folder(chosen: str | None, cache: Cache | None) -> Path | None:
    """The folder of jobs: the operator's, or one in the cache's; None is in memory."""
    if chosen is not None:
        return Path(chosen)
    return cache.folder / "jobs" if cache and not cache.read_only else None


def check_folder(folder: Path) -> None:
    """Raise BadInput unless jobs can be stored there. This creates nothing, so a dry run may ask.

    It waits TRY seconds at most for a database that another process is writing.
    """
    there = probe.check_folder("jobs", folder)
    try:
        with tempfile.TemporaryFile(dir=there):  # os.access believes that root may write anywhere
            pass
    except OSError as error:
        got = f"got {probe.describe(error)}: {probe.shorten(folder)}"
        raise BadInput(f"jobs must be a folder that can be written, {got}", "jobs") from None
    path = folder / NAME
    if path.exists():
        try:
            _try_database(path)
        except sqlite3.Error as error:
            got = f"got {str(error)!r}: {probe.shorten(path)}"
            raise BadInput(f"jobs must be a folder with a usable database, {got}", "jobs") from None


def _try_database(path: Path) -> None:
    """Begin to write, and end without having written. Raises sqlite3.Error, and BadInput."""
    with closing(sqlite3.connect(path, TRY, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN IMMEDIATE")
        check_version(connection, str(path))


def check_version(connection: sqlite3.Connection, path: str) -> None:
    """Raise BadInput for tables that a newer version of mdp_lite has made."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        why = f"a newer mdp-lite made its tables: version {found}, this one reads up to {VERSION}"
        raise BadInput(f"jobs must be a folder of this version or an older one, got {path} ({why})")


def _list_columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}


def make_file(folder: Path) -> Path:
    """The file in its folder, which only this user may read. Raises BadInput."""
    path = folder / NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        why = error.strerror or error
        raise BadInput(f"jobs must be a folder that can be written, got {folder} ({why})") from None
    return path
