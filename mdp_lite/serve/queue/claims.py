"""What processes do with the jobs of a database: they claim entries, and end or return them.

An entry is run by the one process that claimed it. If that dies, others find its lock released and
return the entry, so each ends once.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.queue.database import Database
from mdp_lite.serve.queue.job_models import NO_MODEL, is_served
from mdp_lite.serve.queue.jobs import OwnedLimits, owned_bytes, settle, stored_bytes
from mdp_lite.serve.queue.records import Claim, Delivery, EntryAnswer, to_answer
from mdp_lite.serve.queue.workers import Workers
from mdp_lite.serve.settings import Limits

DEATHS = 3  # of processes that ran an entry, after which it fails
ABANDONED = 60.0  # seconds after which jobs of a model that no process serves fail
# Seconds after a message about the end of a job has failed, until the next attempt.
DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0, 3 * 3600.0)
LEASE = 60.0  # seconds for one attempt, after which it counts as failed

KILLER = ApiError(
    500, f"the service died {DEATHS} times while it ran this, so it is not tried again",
    "job_ended_service",
)  # fmt: skip


class EntryProgress(NamedTuple):
    """How far a running entry is, and its newest preview as a file if there is a new one."""

    job: int
    position: int
    part: float
    preview: bytes | None


class ClaimStore:
    """The entries and deliveries of a database, for one process. Runs in the database's thread."""

    def __init__(
        self, database: Database, limits: Limits, owned: OwnedLimits, workers: Workers, model: str,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._db, self._limits, self._owned = database, limits, owned
        self._workers, self._model = workers, model
        self._clock, self._missing = clock, dict[str, float]()

    def claim(self, is_alone: bool) -> Claim | None:
        """The next entry, which is this process's from now on; None if none may start.

        Owners whose answers are too large already wait until they delete some.

        is_alone: nothing else of jobs runs here. An entry that ran as a process died runs alone, so
        that no other one is blamed if that happens again.
        """
        query = (
            "SELECT job, position, owner, endpoint, body, starts, deaths, id, model, form FROM"
            " entries JOIN jobs ON job = number WHERE entries.state = 'queued' AND model IN"
            " (SELECT value FROM json_each(?)) AND owner NOT IN (SELECT value FROM json_each(?))"
            " ORDER BY turn, job, position LIMIT 1"
        )
        mine = json.dumps([one for one in self._list_models() if is_served(one, self._model)])
        if self._db.connection.execute(query, (mine, "[]")).fetchone() is None:
            return None  # without a lock, as this is asked often
        with self._db.transaction() as connection:
            sizes = owned_bytes(connection).items()
            full = json.dumps([owner for owner, size in sizes if size > self._owned.bytes])
            row = connection.execute(query, (mine, full)).fetchone()
            if row is None or (row["deaths"] and not is_alone):
                return None
            if stored_bytes(connection) > self._limits.job_bytes:
                return None
            found = Claim(*row)
            connection.execute(
                "UPDATE entries SET state = 'running', worker = ?, starts = starts + 1,"
                " progress = 0 WHERE job = ? AND position = ?",
                (self._workers.name, found.job, found.position),
            )
            settle(connection, found.job, self._clock())
        return found._replace(starts=found.starts + 1)

    def _list_models(self) -> set[str]:
        """What the jobs need that have not ended."""
        query = "SELECT DISTINCT model FROM jobs WHERE ended IS NULL"
        return {row[0] for row in self._db.connection.execute(query)}

    def end(self, claim: Claim, answer: EntryAnswer) -> None:
        """Store the answer of an entry, unless it was cancelled meanwhile."""
        with self._db.transaction() as connection:
            mine = " WHERE job = ? AND position = ? AND state = 'running' AND worker = ?"
            self._end(connection, mine, (claim.job, claim.position, self._workers.name), answer)
            settle(connection, claim.job, self._clock())

    def _end(
        self, connection: sqlite3.Connection, where: str, which: tuple[object, ...],
        answer: EntryAnswer,
    ) -> None:  # fmt: skip
        state = "succeeded" if answer.status < 400 else "failed"
        connection.execute(
            "UPDATE entries SET state = ?, status = ?, headers = ?, answer = ?, size = ?,"
            " worker = NULL, body = NULL, preview = NULL" + where,
            (state, answer.status, json.dumps(answer.headers), answer.body, len(answer.body),
             *which),
        )  # fmt: skip

    def put_back(self, claim: Claim | None = None) -> None:
        """Let an entry of this process wait again, or without a claim all of them."""
        with self._db.transaction() as connection:
            query = "SELECT job, position FROM entries WHERE state = 'running' AND worker = ?"
            mine = connection.execute(query, (self._workers.name,)).fetchall()
            for job, position in mine:
                if claim is None or (job, position) == claim[:2]:
                    self._requeue(connection, job, position, 0)

    def _requeue(
        self, connection: sqlite3.Connection, job: int, position: int, deaths: int
    ) -> None:
        connection.execute(
            "UPDATE entries SET state = 'queued', worker = NULL, progress = 0, preview = NULL,"
            " deaths = deaths + ? WHERE job = ? AND position = ?",
            (deaths, job, position),
        )
        settle(connection, job, self._clock())

    def report(self, running: Sequence[EntryProgress]) -> set[tuple[int, int]]:
        """Store how far entries are; returns those that this process still runs."""
        if not running:
            return set()
        with self._db.transaction() as connection:
            for one in running:
                connection.execute(
                    "UPDATE entries SET progress = ?, preview = coalesce(?, preview) WHERE job = ?"
                    " AND position = ? AND state = 'running' AND worker = ?",
                    (one.part, one.preview, one.job, one.position, self._workers.name),
                )
            query = "SELECT job, position FROM entries WHERE state = 'running' AND worker = ?"
            return {tuple(row) for row in connection.execute(query, (self._workers.name,))}

    def recover(self) -> None:
        """Return what dead processes ran, and fail what nobody can run any more."""
        alive = self._workers.list_alive()
        query = "SELECT job, position, worker, deaths FROM entries WHERE state = 'running'"
        rows = self._db.connection.execute(query).fetchall()
        if any(row["worker"] not in alive for row in rows):
            with self._db.transaction() as connection:
                for row in connection.execute(query).fetchall():
                    if row["worker"] not in alive:
                        self._recover_entry(connection, row)
        self._fail_abandoned(set(alive.values()))

    def _recover_entry(self, connection: sqlite3.Connection, row: sqlite3.Row) -> None:
        job, position = row["job"], row["position"]
        if row["deaths"] + 1 < DEATHS:
            return self._requeue(connection, job, position, 1)
        self._fail(connection, " WHERE job = ? AND position = ?", (job, position), KILLER)
        settle(connection, job, self._clock())

    def _fail_abandoned(self, served: set[str]) -> None:
        """Fail the jobs of models that no process has served for a while."""
        models = self._list_models()
        wanted = {one for one in models if not any(is_served(one, has) for has in served)}
        now = self._clock()
        self._missing = {one: self._missing.get(one, now) for one in wanted}
        for model, since in self._missing.items():
            if now - since < ABANDONED:
                continue
            with self._db.transaction() as connection:
                query = "SELECT number FROM jobs WHERE ended IS NULL AND model = ?"
                for (job,) in connection.execute(query, (model,)).fetchall():
                    where = " WHERE job = ? AND state IN ('queued', 'running')"
                    self._fail(connection, where, (job,), NO_MODEL)
                    settle(connection, job, now)

    def _fail(
        self, connection: sqlite3.Connection, where: str, which: tuple[object, ...], error: ApiError
    ) -> None:
        self._end(connection, where, which, to_answer(error))

    def claim_deliveries(self, max_count: int) -> list[Delivery]:
        """Messages that are due; other processes leave them alone while this one sends them."""
        now = self._clock()
        query = (
            "SELECT job, deliveries.id, webhook, payload, attempts FROM deliveries JOIN jobs ON"
            " job = number WHERE deliveries.state = 'pending' AND due <= ? ORDER BY due LIMIT ?"
        )
        if not self._db.connection.execute(query, (now, max_count)).fetchone():
            return []
        with self._db.transaction() as connection:
            rows = connection.execute(query, (now, max_count)).fetchall()
            for row in rows:
                connection.execute(
                    "UPDATE deliveries SET due = ?, attempts = attempts + 1 WHERE job = ?",
                    (now + LEASE, row["job"]),
                )
        return [Delivery(*row)._replace(attempts=row["attempts"] + 1) for row in rows]

    def record_delivery(self, one: Delivery, error: str | None, is_final: bool) -> str:
        """Store how an attempt went; returns the state of the delivery."""
        delay = DELAYS[one.attempts - 1] if one.attempts <= len(DELAYS) else None
        state = "failed" if is_final or delay is None else "pending"
        state = "delivered" if error is None else state
        with self._db.transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET state = ?, error = ?, due = ? WHERE job = ?",
                (state, error, self._clock() + (delay or 0), one.job),
            )
        return state
