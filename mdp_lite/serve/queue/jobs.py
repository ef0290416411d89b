"""The jobs of a database: submitted, read, cancelled and deleted by their owners."""

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.queue.database import Database
from mdp_lite.serve.queue.records import ENDED, FORM, STATES, NewJob, StoredJob
from mdp_lite.serve.queue.turns import STEP, choose_turns
from mdp_lite.serve.settings import Limits

FULL = 30.0  # seconds after which a refused client may try again


class OwnedLimits(NamedTuple):
    """How many jobs one owner may have, and how many bytes their requests and answers may have."""

    jobs: int
    bytes: int


class JobStore:
    """The jobs of all owners. Everything here runs in the thread of the database.

    limits are those of all together; one owner may have as many jobs and bytes as owned says. clock
    is the wall clock, as jobs outlive a process.
    """

    def __init__(
        self, database: Database, limits: Limits, owned: OwnedLimits,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._db, self._limits, self._clock = database, limits, clock
        self._owned = owned

    def find_key(self, owner: str, key: str | None, digest: str) -> str | None:
        """The id of the job with this idempotency key, if there is one.

        Raises ApiError (409) if it was another request.
        """
        if key is None:
            return None
        query = "SELECT id, digest FROM jobs WHERE owner = ? AND idempotency_key = ?"
        found = self._db.connection.execute(query, (owner, key)).fetchone()
        if found is None:
            return None
        if found["digest"] != digest:
            message = "this Idempotency-Key was used for another job: choose a new one"
            raise ApiError(409, message, "idempotency_key_reused", "Idempotency-Key")
        return found["id"]

    def submit(self, new: NewJob) -> tuple[str, bool]:
        """Store a job; returns its id, and whether it is new. Raises ApiError (429) if full."""
        with self._db.transaction() as connection:
            if known := self.find_key(new.owner, new.key, new.digest):
                return known, False
            self._check_room(connection, new)
            name, now = f"job_{secrets.token_urlsafe(18)}", self._clock()
            query = (
                "INSERT INTO jobs (id, owner, model, endpoint, is_batch, priority, state, created,"
                " idempotency_key, digest, webhook) VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?)"
            )
            values = (
                name, new.owner, new.model, new.endpoint, new.is_batch, new.priority, now,
                new.key, new.digest, new.webhook,
            )  # fmt: skip
            number = connection.execute(query, values).lastrowid
            assert number is not None
            self._add_entries(connection, number, new, now)
            settle(connection, number, now)
        return name, True

    def _check_room(self, connection: sqlite3.Connection, new: NewJob) -> None:
        query = "SELECT count(*), coalesce(sum(owner = ?), 0) FROM jobs"
        jobs, own = connection.execute(query, (new.owner,)).fetchone()
        size = sum(len(one.body) for one in new.entries)
        if jobs >= self._limits.stored_jobs or own >= self._owned.jobs:
            message = f"{own} jobs of yours and {jobs} in all are stored: delete some, or wait"
            raise ApiError(429, message, "too_many_jobs", retry=FULL)
        bounds = {"jobs": (stored_bytes(connection), self._limits.job_bytes)}
        bounds["your jobs"] = (owned_bytes(connection).get(new.owner, 0), self._owned.bytes)
        for whose, (stored, most) in bounds.items():
            if stored + size > most:
                message = f"{whose} may take {most} bytes together: delete some, or wait"
                raise ApiError(429, message, "too_many_jobs", retry=FULL)

    def _add_entries(
        self, connection: sqlite3.Connection, number: int, new: NewJob, now: float
    ) -> None:
        query = (
            "SELECT max(entries.turn + entries.seconds) FROM entries JOIN jobs ON job = number"
            " WHERE owner = ? AND priority = ? AND entries.state = 'queued'"
        )
        last = connection.execute(query, (new.owner, new.priority)).fetchone()[0]
        last = None if last is None else last + STEP * new.priority
        turns = choose_turns(now, last, [one.seconds for one in new.entries], new.priority)
        for position, (one, turn) in enumerate(zip(new.entries, turns, strict=True)):
            wrong = one.refusal
            end = (None, "{}", one.body, None) if wrong is None else (
                wrong.status, json.dumps(wrong.headers), None, wrong.body
            )  # fmt: skip
            size, state = len(end[2] or end[3] or ""), "failed" if wrong else "queued"
            connection.execute(
                "INSERT INTO entries (job, position, state, work, seconds, turn, size, status,"
                " headers, body, answer, form) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (number, position, state, one.work, one.seconds, turn, size, *end, FORM),
            )  # fmt: skip

    def get(self, owner: str, name: str, preview: bool = False) -> StoredJob | None:
        """The owner's job of this id, or None."""
        query = "SELECT * FROM jobs WHERE id = ? AND owner = ?"
        found = self._db.connection.execute(query, (name, owner)).fetchone()
        return found and self._describe(found, preview)

    def list_jobs(
        self, owner: str, states: Sequence[str], limit: int, start: str | None
    ) -> list[StoredJob]:
        """The owner's jobs in these states, newest first, after the job of the id `start`."""
        query = (
            "SELECT * FROM jobs WHERE owner = :owner AND state IN (SELECT value FROM"
            " json_each(:states)) AND (:start IS NULL OR number < (SELECT number FROM jobs WHERE"
            " id = :start AND owner = :owner)) ORDER BY number DESC LIMIT :limit"
        )
        values = {"owner": owner, "states": json.dumps(states), "start": start, "limit": limit}
        found = self._db.connection.execute(query, values).fetchall()
        return [self._describe(one, False) for one in found]

    def answers(self, number: int, position: int | None) -> list[sqlite3.Row]:
        """State, status, headers and answer of the entries of a job, or of one of them."""
        query = (
            "SELECT position, state, status, headers, answer FROM entries WHERE job = ?1 AND"
            " (?2 IS NULL OR position = ?2) ORDER BY position"
        )
        return self._db.connection.execute(query, (number, position)).fetchall()

    def answer_size(self, number: int, position: int | None) -> int:
        """Bytes of the answers to the entries of a job, or to one of them."""
        query = (
            "SELECT coalesce(sum(length(answer)), 0) FROM entries WHERE job = ?1 AND"
            " (?2 IS NULL OR position = ?2)"
        )
        return self._db.connection.execute(query, (number, position)).fetchone()[0]

    def cancel(self, number: int) -> None:
        """End a job: what waits or runs is cancelled, what has ended stays."""
        with self._db.transaction() as connection:
            connection.execute(
                "UPDATE entries SET state = 'cancelled', worker = NULL, body = NULL,"
                " preview = NULL, size = 0 WHERE job = ? AND state IN ('queued', 'running')",
                (number,),
            )
            settle(connection, number, self._clock())

    def delete(self, number: int) -> None:
        """Delete a job and all that is stored of it; what runs of it is cancelled."""
        with self._db.transaction() as connection:
            connection.execute("DELETE FROM jobs WHERE number = ?", (number,))
        self._db.shrink()

    def expire(self) -> None:
        """Delete jobs that have ended long ago."""
        limit = self._clock() - self._limits.job_seconds
        with self._db.transaction() as connection:
            deleted = connection.execute("DELETE FROM jobs WHERE ended < ?", (limit,)).rowcount
        if deleted:
            self._db.shrink()

    def count(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        query = "SELECT state, count(*) FROM jobs GROUP BY state"
        return count_states(self._db.connection.execute(query).fetchall())

    def _describe(self, row: sqlite3.Row, preview: bool) -> StoredJob:
        connection, number = self._db.connection, row["number"]
        query = "SELECT state, count(*) FROM entries WHERE job = ? GROUP BY state"
        counts = count_states(connection.execute(query, (number,)).fetchall())
        query = (
            "SELECT sum(work * CASE WHEN state IN ('succeeded', 'failed') THEN 1 ELSE progress END)"
            " / max(sum(work), 1) FROM entries WHERE job = ?"
        )
        progress = connection.execute(query, (number,)).fetchone()[0]
        query = (
            "SELECT preview FROM entries WHERE job = ? AND preview IS NOT NULL ORDER BY position"
        )
        picture = connection.execute(query, (number,)).fetchone() if preview else None
        query = "SELECT state, attempts, error FROM deliveries WHERE job = ?"
        delivery = connection.execute(query, (number,)).fetchone()
        return StoredJob(
            number, row["id"], row["endpoint"], bool(row["is_batch"]), row["priority"],
            row["state"], row["created"], row["started"], row["ended"], row["webhook"], counts,
            progress, *self._find_place(row), self._find_error(row),
            delivery and tuple(delivery), picture and picture[0],
        )  # fmt: skip

    def _find_place(self, row: sqlite3.Row) -> tuple[int, float]:
        """How many jobs are before this one, and the FLOPs until its end."""
        if row["ended"]:
            return 0, 0.0
        query = (
            "SELECT min(turn), max(turn) FROM entries WHERE job = ? AND state IN"
            " ('queued', 'running')"
        )
        first, last = self._db.connection.execute(query, (row["number"],)).fetchone()
        query = (
            "SELECT count(DISTINCT CASE WHEN (turn < :first OR entries.state = 'running') AND"
            " job != :job THEN job END), sum(work * (1 - progress)) FROM entries JOIN jobs ON"
            " job = number WHERE model = :model AND (entries.state = 'running' OR"
            " entries.state = 'queued' AND turn <= :last)"
        )
        values = {"first": first, "last": last, "job": row["number"], "model": row["model"]}
        before, work = self._db.connection.execute(query, values).fetchone()
        return (before if row["state"] == "queued" else 0), work or 0.0

    def _find_error(self, row: sqlite3.Row) -> dict[str, object] | None:
        """The error of a failed job that is no batch; entries of a batch have their own."""
        if row["state"] != "failed" or row["is_batch"]:
            return None
        (one,) = self.answers(row["number"], 0)
        with suppress(ValueError, KeyError):
            return json.loads(one["answer"])["error"]
        return None


def count_states(rows: Iterable[sqlite3.Row]) -> dict[str, int]:
    """How many there are in each state, from rows of a state and a count."""
    counts: dict[str, int] = dict.fromkeys(STATES, 0)
    return counts | {str(state): int(count) for state, count in rows}


def stored_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of all bodies and answers."""
    return connection.execute("SELECT coalesce(sum(size), 0) FROM entries").fetchone()[0]


def owned_bytes(connection: sqlite3.Connection) -> dict[str, int]:
    """The same of each owner who has jobs."""
    query = "SELECT owner, sum(size) FROM entries JOIN jobs ON job = number GROUP BY owner"
    return {owner: size for owner, size in connection.execute(query)}


def share_limits(limits: Limits, owners: int) -> OwnedLimits:
    """What one of several owners may have: half, so that nobody fills the table for the others."""
    parts = 1 if owners < 2 else 2
    return OwnedLimits(max(1, limits.stored_jobs // parts), max(1, limits.job_bytes // parts))


def settle(connection: sqlite3.Connection, number: int, now: float) -> None:
    """Give a job the state that its entries have together.

    It has succeeded if any of its entries has; a job is cancelled if one entry is and all ended.
    """
    query = "SELECT state, count(*) FROM entries WHERE job = ? GROUP BY state"
    counts = dict(connection.execute(query, (number,)).fetchall())
    waiting, running = counts.get("queued", 0), counts.get("running", 0)
    if waiting or running:
        has_begun = running or any(counts.get(one) for one in ENDED[:1])
        state = "running" if has_begun else "queued"
        query = "UPDATE jobs SET state = ?, started = coalesce(started, ?) WHERE number = ?"
        connection.execute(query, (state, now if has_begun else None, number))
        return
    order = ("cancelled", "succeeded", "failed")
    state = next((one for one in order if counts.get(one)), "failed")
    query = "UPDATE jobs SET state = ?, ended = ? WHERE number = ? AND ended IS NULL"
    if connection.execute(query, (state, now, number)).rowcount:
        _add_delivery(connection, number, state, now)


def _add_delivery(connection: sqlite3.Connection, number: int, state: str, now: float) -> None:
    """Make the message about the end of a job, if anybody is to get one."""
    query = "SELECT id, webhook FROM jobs WHERE number = ?"
    name, webhook = connection.execute(query, (number,)).fetchone()
    if webhook is None:
        return
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    message = {"type": f"job.{state}", "timestamp": stamp, "data": {"id": name, "state": state}}
    connection.execute(
        "INSERT OR IGNORE INTO deliveries (job, id, payload, state, attempts, due)"
        " VALUES (?, ?, ?, 'pending', 0, ?)",
        (number, f"msg_{secrets.token_hex(16)}", json.dumps(message), now),
    )
