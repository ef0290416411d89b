"""Jobs that another version of the service stored: older ones run, newer ones say why they do not.

OLD is how the tables were made first. What is stored must outlive an update of the server.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mdp_lite.editor import Editor
from mdp_lite.serve.queue.database import NAME, VERSION, Database
from mdp_lite.serve.queue.job_fields import JobFields
from mdp_lite.serve.queue.records import ADDED, FORM, update_body
from mdp_lite.serve.queue.routes import hash_job
from mdp_lite.serve.settings import JobSettings, Limits
from support.jobs import GENERATIONS, MADE, drop_times, read_result, submit, wait_for_end
from support.serving import open_client, run_service

OLD = """
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL,
  model TEXT NOT NULL, endpoint TEXT NOT NULL, is_batch INTEGER NOT NULL,
  priority INTEGER NOT NULL, state TEXT NOT NULL, created REAL NOT NULL, started REAL, ended REAL,
  idempotency_key TEXT, digest TEXT NOT NULL, webhook TEXT, UNIQUE (owner, idempotency_key));
CREATE TABLE entries (
  job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE, position INTEGER NOT NULL,
  state TEXT NOT NULL, work REAL NOT NULL, seconds REAL NOT NULL, turn REAL NOT NULL,
  progress REAL NOT NULL DEFAULT 0, worker TEXT, starts INTEGER NOT NULL DEFAULT 0,
  deaths INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL, status INTEGER, headers TEXT,
  body TEXT, preview BLOB, answer BLOB, PRIMARY KEY (job, position));
CREATE TABLE deliveries (
  job INTEGER PRIMARY KEY REFERENCES jobs (number) ON DELETE CASCADE, id TEXT NOT NULL,
  payload TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL, due REAL NOT NULL,
  error TEXT);
PRAGMA user_version = 1;
"""
# With all fields of JobFields as they were then: {"body": ..., "endpoint": ..., "priority": 0,
# "rows": null, "webhook": null}, in this order.
OLD_DIGEST = "9b6525032f5365e6771f4e6773f7ab9ca102fecc72607a3800579bac1a9250ec"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


@pytest.fixture
def job(folder: Path, editor: Editor) -> dict[str, Any]:
    """A job that a service stored and did not run."""
    jobs, limits = JobSettings(str(folder)), Limits(running_jobs=0)
    with run_service(editor, jobs=jobs, limits=limits) as at, open_client(at) as client:
        return submit(client, key="first")


@pytest.fixture
def old_job(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """The same in tables of the first version."""
    new = folder.with_suffix(".sqlite")
    (folder / NAME).rename(new)
    for name in ("-wal", "-shm"):
        (folder / f"{NAME}{name}").unlink(missing_ok=True)
    with closing(sqlite3.connect(folder / NAME)) as connection:
        connection.executescript(OLD)
        connection.execute("ATTACH ? AS new", (str(new),))
        for table in ("jobs", "entries"):
            rows = connection.execute(f"PRAGMA main.table_info({table})").fetchall()
            names = ", ".join(row[1] for row in rows)
            connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM new.{table}")
        connection.execute("UPDATE jobs SET digest = ?", (OLD_DIGEST,))
        connection.commit()
    return job


@pytest.fixture
def client(folder: Path, editor: Editor) -> Iterator[httpx2.Client]:
    """A client of a service that has the folder."""
    jobs = JobSettings(str(folder))
    with run_service(editor, jobs=jobs) as at, open_client(at) as one:
        yield one


def test_a_job_of_the_first_version_runs(
    old_job: dict[str, Any], client: httpx2.Client, folder: Path
) -> None:
    assert wait_for_end(client, old_job)["state"] == "succeeded"
    direct = client.post(GENERATIONS, json=MADE).json()
    assert drop_times(read_result(client, old_job).json()) == drop_times(direct)
    assert submit(client, key="first")["id"] == old_job["id"]  # its key is known
    with closing(sqlite3.connect(folder / NAME)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert connection.execute("SELECT form FROM entries").fetchone() == (1,)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ({"prompt": "a", "fast": True}, {"prompt": "a", "quality": "draft"}),
        ({"prompt": "a", "fast": False, "quality": "high"}, {"prompt": "a"}),
        ({"prompt": "a", "quality": 3, "num_inference_steps": 4},
         {"prompt": "a", "num_inference_steps": 4}),
    ],
)  # fmt: skip
def test_fields_of_the_first_form_mean_what_they_meant(
    stored: dict[str, Any], read: dict[str, Any]
) -> None:
    assert update_body(stored, 1) == read
    assert update_body(stored, FORM) == stored


def test_a_fast_job_of_the_first_form_is_a_draft(
    job: dict[str, Any], folder: Path, editor: Editor
) -> None:
    body = {"prompt": "a red house", "seed": 3, "fast": True, "quality": "high"}
    with closing(sqlite3.connect(folder / NAME)) as connection:
        connection.execute("UPDATE entries SET form = 1, body = ?", (json.dumps(body),))
        connection.commit()
    with run_service(editor, jobs=JobSettings(str(folder))) as at, open_client(at) as client:
        assert wait_for_end(client, job)["state"] == "succeeded"
        made = read_result(client, job).json()
        direct = client.post(
            GENERATIONS, json={"prompt": "a red house", "seed": 3, "quality": "draft"}
        )
        assert made["data"] == direct.json()["data"]


def test_a_job_of_a_newer_version_says_so(
    job: dict[str, Any], folder: Path, editor: Editor
) -> None:
    with closing(sqlite3.connect(folder / NAME)) as connection:
        connection.execute("UPDATE entries SET form = ?, body = 'no JSON'", (FORM + 1,))
        connection.commit()
    jobs = JobSettings(str(folder))
    with run_service(editor, jobs=jobs) as at, open_client(at) as client:
        end = wait_for_end(client, job)
    assert (end["state"], end["error"]["code"]) == ("failed", "job_too_new")
    want = f"its form is {FORM + 1}, this version reads up to {FORM}"
    assert want in end["error"]["message"] and "submit it again" in end["error"]["message"]


def test_tables_that_were_made_in_part_are_completed(folder: Path) -> None:
    folder.mkdir()
    with closing(sqlite3.connect(folder / NAME)) as connection:
        connection.executescript(OLD)
        connection.execute("PRAGMA user_version = 0")
    for _ in range(2):
        database = Database(folder)
        database.open()
        for table, column, _kind in ADDED:
            found = database.connection.execute(f"PRAGMA table_info({table})").fetchall()
            assert [row["name"] for row in found].count(column) == 1
        database.connection.close()


def test_an_idempotency_key_outlives_a_new_field() -> None:
    class NewerFields(JobFields):
        """A later version's."""

        later: int | None = None
        """a field that none of today's clients sends"""

    sent = {"endpoint": GENERATIONS, "body": MADE}
    assert hash_job(JobFields(**sent)) == hash_job(NewerFields(**sent)) == OLD_DIGEST
    others = [sent | {"priority": 1}, sent | {"body": MADE | {"seed": 4}}]
    digests = {hash_job(NewerFields(**one)) for one in (*others, sent | {"later": 1})}
    assert len(digests | {OLD_DIGEST}) == 4
