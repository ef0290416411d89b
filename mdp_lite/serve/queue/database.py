"""The database of jobs: one connection in one thread, so that nothing waits for the disk."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mdp_lite.names import BadInput
from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.queue.records import TABLES

T = TypeVar("T")
NAME = "jobs.sqlite"
VERSION = 1  # of the tables
BUSY = 30.0  # seconds that a transaction waits for those of other processes
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
        """Open it, and make it if there is none. Runs in its thread, as all below."""
        path = ":memory:" if self.folder is None else str(make_file(self.folder))
        self.connection = sqlite3.connect(path, BUSY, isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        for setting in (
            "auto_vacuum = INCREMENTAL", "journal_mode = WAL", "foreign_keys = ON",
            "synchronous = FULL", "secure_delete = ON",
        ):  # fmt: skip
            self.connection.execute(f"PRAGMA {setting}")
        found = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, VERSION):
            raise BadInput(f"{path} has tables of version {found}, want {VERSION}")
        self.connection.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT;")
        self.connection.execute(f"PRAGMA user_version = {VERSION}")

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
