"""The database of jobs: turns, limits, expiry, deaths of processes, and models that are gone."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mdp_lite.serve.errors import ApiError
from mdp_lite.serve.queue import claims, turns
from mdp_lite.serve.queue.claims import ClaimStore, EntryProgress
from mdp_lite.serve.queue.database import Database
from mdp_lite.serve.queue.jobs import JobStore, OwnedLimits, share_limits
from mdp_lite.serve.queue.records import EntryAnswer, NewEntry, NewJob, StoredJob
from mdp_lite.serve.queue.workers import Workers
from mdp_lite.serve.settings import Limits
from support.serving import ManualClock

LIMITS = Limits(stored_jobs=12, job_bytes=1000, job_seconds=100)
OWNED = OwnedLimits(8, 950)
GOOD = EntryAnswer(200, {"content-type": "text/plain"}, b"fine")


class Process(NamedTuple):
    """What one process has of a database."""

    jobs: JobStore
    claims: ClaimStore
    workers: Workers
    database: Database


Start = Callable[..., Process]


def open_process(folder: Path | None, clock: ManualClock, model: str = "m") -> Process:
    database = Database(folder)
    database.open()
    workers = Workers(folder, model)
    workers.join()
    jobs = JobStore(database, LIMITS, OWNED, clock)
    claims = ClaimStore(database, LIMITS, OWNED, workers, model, clock)
    return Process(jobs, claims, workers, database)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def start(clock: ManualClock) -> Iterator[Start]:
    """Starts processes, which end with the test."""
    found = list[Process]()

    def start_one(folder: Path | None, model: str = "m") -> Process:
        found.append(open_process(folder, clock, model))
        return found[-1]

    yield start_one
    for process in found:
        process.workers.leave()
        process.database.connection.close()


@pytest.fixture
def one(start: Start) -> Process:
    return start(None)


def submit(
    at: Process, owner: str = "a", priority: int = 0, seconds: float = 10.0, count: int = 1,
    body: str = "{}", webhook: str | None = None, model: str = "m",
) -> str:  # fmt: skip
    entries = [NewEntry(seconds * 1e9, seconds, body)] * count
    new = NewJob(owner, "/v1/x", count > 1, priority, None, "d", webhook, entries, model)
    return at.jobs.submit(new)[0]


def get(at: Process, name: str, owner: str = "a") -> StoredJob:
    found = at.jobs.get(owner, name)
    assert found
    return found


def run_all(at: Process) -> list[int]:
    """The numbers of the jobs in the order in which their entries run."""
    found = list[int]()
    while claim := at.claims.claim(True):
        found.append(claim.job)
        at.claims.end(claim, GOOD)
    return found


def test_owners_take_turns_by_work(one: Process) -> None:
    first = [get(one, submit(one)).number for _ in range(3)]
    other = [get(one, submit(one, "b"), "b").number for _ in range(2)]
    assert run_all(one) == [first[0], other[0], first[1], other[1], first[2]]


def test_a_large_batch_lets_others_pass(one: Process) -> None:
    batch = get(one, submit(one, count=4)).number
    other = get(one, submit(one, "b"), "b").number
    assert run_all(one) == [batch, other, batch, batch, batch]


def test_priorities_pass_others_but_not_for_ever(one: Process, clock: ManualClock) -> None:
    low = get(one, submit(one)).number
    high = get(one, submit(one, priority=1)).number
    clock.now += turns.STEP - 1
    early = get(one, submit(one, "b", priority=1), "b").number
    clock.now += 2
    late = get(one, submit(one, "c", priority=1), "c").number
    assert run_all(one) == [high, early, low, late]


def test_place_work_and_progress(one: Process) -> None:
    names = [submit(one, seconds=10) for _ in range(3)]
    assert [get(one, name).position for name in names] == [0, 1, 2]
    assert [get(one, name).work for name in names] == [10e9, 20e9, 30e9]
    claim = one.claims.claim(True)
    assert claim
    report = EntryProgress(claim.job, 0, 0.5, b"picture")
    assert one.claims.report([report]) == {(claim.job, 0)}
    first = one.jobs.get("a", names[0], preview=True)
    assert first and (first.state, first.progress, first.preview) == ("running", 0.5, b"picture")
    assert [get(one, name).position for name in names] == [0, 1, 2]
    assert [get(one, name).work for name in names] == [5e9, 15e9, 25e9]
    one.claims.end(claim, GOOD)
    assert get(one, names[0]).state == "succeeded" and get(one, names[1]).position == 0


def test_what_is_cancelled_does_not_end_again(one: Process) -> None:
    name = submit(one, count=2)
    claim = one.claims.claim(True)
    assert claim
    one.jobs.cancel(claim.job)
    assert get(one, name).state == "cancelled" and get(one, name).ended
    assert one.claims.report([EntryProgress(claim.job, 0, 0.5, None)]) == set()
    one.claims.end(claim, GOOD)
    one.claims.put_back(claim)
    assert get(one, name).counts["cancelled"] == 2 and one.claims.claim(True) is None


def test_limits(one: Process, clock: ManualClock) -> None:
    def refuse(**more: str) -> str:
        with pytest.raises(ApiError) as caught:
            submit(one, **more)  # type: ignore[arg-type]
        assert caught.value.status == 429 and caught.value.retry
        return caught.value.message

    large = submit(one, body="x" * 900)
    assert "bytes" in refuse(body="x" * 200)
    one.jobs.delete(get(one, large).number)
    names = [submit(one) for _ in range(8)]
    assert "8 jobs of yours" in refuse()
    for _ in range(4):
        submit(one, "b")
    assert "12 in all" in refuse(owner="c")
    run_all(one)
    assert get(one, names[0]).ended == clock.now
    clock.now += LIMITS.job_seconds + 1
    one.jobs.expire()
    assert one.jobs.get("a", names[0]) is None and sum(one.jobs.count().values()) == 0
    submit(one)


def test_one_owner_does_not_fill_the_table_for_another(one: Process) -> None:
    assert share_limits(LIMITS, 2) == (6, 500) and share_limits(LIMITS, 1) == (12, 1000)
    large = submit(one, body="x" * 900)
    with pytest.raises(ApiError, match="your jobs may take 950 bytes") as caught:
        submit(one, body="x" * 60)
    assert caught.value.status == 429 and caught.value.retry
    one.jobs.delete(get(one, large).number)
    names = [submit(one), submit(one), submit(one, "b", body="x" * 10)]
    claim = one.claims.claim(True)
    assert claim
    one.claims.end(claim, GOOD._replace(body=b"x" * 960))
    assert len(run_all(one)) == 1
    assert [get(one, name).state for name in names[:2]] == ["succeeded", "queued"]
    assert get(one, names[2], "b").state == "succeeded"
    one.jobs.delete(claim.job)
    assert run_all(one) == [get(one, names[1]).number]


def test_nothing_starts_while_the_answers_are_too_large(one: Process) -> None:
    first, second = submit(one), submit(one)
    claim = one.claims.claim(True)
    assert claim
    one.claims.end(claim, GOOD._replace(body=b"x" * 1001))
    assert one.claims.claim(True) is None
    one.jobs.delete(get(one, first).number)
    claim = one.claims.claim(True)
    assert claim and claim.job == get(one, second).number


def test_a_dead_process_is_noticed_and_a_killer_fails(tmp_path: Path, start: Start) -> None:
    watcher = start(tmp_path)
    name, other = submit(watcher), submit(watcher)
    for deaths in range(1, claims.DEATHS + 1):
        dying = start(tmp_path)
        claim = dying.claims.claim(True)
        assert claim and claim.deaths == deaths - 1
        watcher.claims.recover()
        assert get(watcher, name).state == "running"  # it lives
        assert dying.workers._file
        dying.workers._file.close()  # as its death does
        watcher.claims.recover()
        dying.claims.end(claim, GOOD)  # too late
        if deaths < claims.DEATHS:
            assert get(watcher, name).state == "queued"
            assert watcher.claims.claim(is_alone=False) is None
    found = get(watcher, name)
    assert found.state == "failed" and found.error
    assert (found.error["code"], found.work) == ("job_ended_service", 0)
    claim = watcher.claims.claim(is_alone=False)
    assert claim and claim.job == get(watcher, other).number


def test_jobs_of_a_model_that_is_gone_fail(
    tmp_path: Path, clock: ManualClock, start: Start
) -> None:
    old, new = start(tmp_path, "old"), start(tmp_path, "new")
    name = submit(old, model="old")
    assert new.claims.claim(True) is None
    clock.now += 2 * claims.ABANDONED
    new.claims.recover()
    assert get(new, name).state == "queued"  # it is served
    old.workers.leave()
    for seconds, state in ((0, "queued"), (claims.ABANDONED, "failed")):
        clock.now += seconds
        new.claims.recover()
        assert get(new, name).state == state
    found = get(new, name)
    assert found.error and found.error["code"] == "model_not_found"


def test_what_stops_is_put_back_and_found_by_the_next(tmp_path: Path, start: Start) -> None:
    first = start(tmp_path)
    name = submit(first, webhook="https://a.example/")
    assert first.claims.claim(True)
    first.claims.put_back()
    first.workers.leave()
    first.database.connection.close()
    second = start(tmp_path)
    claim = second.claims.claim(True)
    assert claim and (claim.deaths, claim.starts) == (0, 2)
    second.claims.end(claim, GOOD)
    assert get(second, name).state == "succeeded"
    (row,) = second.jobs.answers(claim.job, None)
    assert (row["status"], json.loads(row["headers"]), row["answer"]) == GOOD


def test_a_delivery_is_tried_again_after_a_death(one: Process, clock: ManualClock) -> None:
    submit(one, webhook="https://a.example/")
    run_all(one)
    (first,) = one.claims.claim_deliveries(8)
    assert one.claims.claim_deliveries(8) == []  # it is being sent
    clock.now += claims.LEASE
    (again,) = one.claims.claim_deliveries(8)
    assert (again.id, again.payload, again.attempts) == (first.id, first.payload, 2)
    assert one.claims.record_delivery(again, "status 500", False) == "pending"
    assert one.claims.claim_deliveries(8) == []
    clock.now += claims.DELAYS[1]
    (third,) = one.claims.claim_deliveries(8)
    assert one.claims.record_delivery(third, "status 410", True) == "failed"
    clock.now += 1e6
    assert one.claims.claim_deliveries(8) == []


def test_only_this_user_may_read_the_files(tmp_path: Path, start: Start) -> None:
    before = os.umask(0)
    try:
        at = start(tmp_path / "jobs")
        submit(at)
    finally:
        os.umask(before)
    paths = [tmp_path / "jobs", *(tmp_path / "jobs").rglob("*")]
    modes = {one.name: one.stat().st_mode & 0o777 for one in paths}
    assert {modes["jobs"], modes["workers"]} == {0o700}
    assert {modes[name] for name in modes if name not in ("jobs", "workers")} == {0o600}, modes
