"""Jobs survive the death of their server: each ends once, and its answer is the direct one.

The long proof: `pytest tests/serve/test_serve_job_kills.py -m slow` (500 jobs, three kills).
"""

import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.jobs import (
    EDIT,
    EDITS,
    ENCODED,
    GENERATIONS,
    MADE,
    PICTURE,
    STEPS,
    read_result,
    submit,
    wait_for_end,
)
from support.serving import WAIT, wait_until

SWEEPS, PROMPTS = "/v1/sweeps", ["a tent", "a boat"]


@contextmanager
def run_server(checkpoint: Path, cache: Path, log: Path) -> Iterator[tuple[Any, httpx2.Client]]:
    """A server process of its own, and a client; it is killed at the end if it still runs."""
    command = [
        sys.executable, "-m", "mdp_lite", "serve", "--port", "0", "--model", str(checkpoint),
        "--device", "cpu", "--cache", str(cache), "--limit", "stored_jobs=2000",
    ]  # fmt: skip
    with open(log, "ab") as file:
        size = log.stat().st_size
        process = subprocess.Popen(command, stderr=file)
    try:
        find = lambda: re.search(r"http://\S+?(?=/v1)", log.read_text()[size:])  # noqa: E731
        for _ in range(4):  # a start on a busy machine may be slow
            with suppress(AssertionError):
                wait_until(lambda: find() or process.poll() is not None)
        found = find()
        assert found, log.read_text()
        with httpx2.Client(base_url=found[0], timeout=WAIT) as client:
            wait_until(lambda: client.get("/health/ready").status_code == 200)
            yield process, client
    finally:
        process.kill()
        process.wait()


def list_requests(source: str, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Small requests of all kinds."""
    kinds: list[tuple[str, dict[str, Any]]] = [
        (GENERATIONS, MADE), (EDITS, EDIT), (f"/v1/sources/{source}/edits", {"prompt": "a tent"}),
        (SWEEPS, {"source": source, "prompts": PROMPTS}), (GENERATIONS, MADE | {"n": 2}),
    ]  # fmt: skip
    found = [kinds[k % len(kinds)] for k in range(count)]
    return [
        (path, body | {"seed": k} if path in (GENERATIONS, EDITS) else body)
        for k, (path, body) in enumerate(found)
    ]


def make_source(client: httpx2.Client) -> str:
    body = {"source_prompt": "a", "num_inference_steps": STEPS, "image": ENCODED}
    return read_result(client, submit(client, "/v1/sources", body=body)).json()["id"]


def count_ended(client: httpx2.Client) -> int:
    lines = client.get("/metrics").text.splitlines()
    prefix = "mdp_lite_job_requests_total{"
    return int(sum(float(one.split()[-1]) for one in lines if one.startswith(prefix)))


def kill_and_check(
    checkpoint: Path, folder: Path, count: int, kills: int, delays: random.Random
) -> None:
    """Submit jobs, kill the server, start it again, and check every answer."""
    cache, log = folder / "cache", folder / "log"
    with run_server(checkpoint, cache, log) as (process, client):
        source = make_source(client)
        requests = list_requests(source, count)
        jobs = [submit(client, path, body=body) for path, body in requests]
        kill(process, client, delays)
    for _ in range(kills - 1):
        with run_server(checkpoint, cache, log) as (process, client):
            kill(process, client, delays)
    with (
        run_server(checkpoint, cache, log) as (process, client),
        run_server(checkpoint, folder / "other", folder / "other.log") as (_, other),
    ):
        again = list_requests(make_source(other), count)  # by a server that has no path of these
        for job, (path, body) in zip(jobs, again, strict=True):
            end = wait_for_end(client, job)
            assert end["state"] == "succeeded", end
            result, direct = read_result(client, job).json(), send_directly(other, path, body)
            assert result["data"] == direct["data"], path  # usage differs: paths are in the cache
        listed = client.get("/v1/jobs", params={"state": "succeeded", "limit": 100}).json()
        assert len(listed["data"]) == min(100, count + 1)
        assert client.get("/v1/jobs", params={"state": "queued"}).json()["data"] == []
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0


def kill(process: Any, client: httpx2.Client, delays: random.Random) -> None:
    """SIGKILL at a random moment, once a few jobs have ended here."""
    begun = count_ended(client)
    wait_until(lambda: count_ended(client) > begun + 1)
    time.sleep(delays.random() * 0.3)
    process.kill()
    process.wait()


def send_directly(client: httpx2.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The direct answer to the request of a job."""
    if path == EDITS:
        data = {name: str(value) for name, value in body.items() if name != "image"}
        answer = client.post(path, data=data, files={"image": ("a.png", PICTURE)})
    else:
        answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_jobs_survive_a_kill(checkpoint: Path, tmp_path: Path) -> None:
    kill_and_check(checkpoint, tmp_path, 6, 1, random.Random(0))


@pytest.mark.slow
def test_500_jobs_survive_three_kills(checkpoint: Path, tmp_path: Path) -> None:
    kill_and_check(checkpoint, tmp_path, 500, 3, random.Random(time.time()))


def test_a_running_job_waits_again_after_sigterm(checkpoint: Path, tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    body = MADE | {"num_inference_steps": 200, "n": 4}
    with run_server(checkpoint, cache, log) as (process, client):
        job = submit(client, body=body)
        wait_until(lambda: client.get(f"/v1/jobs/{job['id']}").json()["state"] == "running")
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0
    with run_server(checkpoint, cache, log) as (process, client):
        assert client.get(f"/v1/jobs/{job['id']}").json()["state"] in ("queued", "running")
        answer = client.post(f"/v1/jobs/{job['id']}/cancel")
        assert answer.json()["state"] == "cancelled"
    assert "Traceback" not in log.read_text()
    modes = {one.name: one.stat().st_mode & 0o777 for one in (cache / "jobs").rglob("*")}
    assert set(modes.values()) == {0o600, 0o700}, modes


def test_two_processes_share_the_jobs_of_a_folder(checkpoint: Path, tmp_path: Path) -> None:
    cache, ended = tmp_path / "cache", list[int]()
    with (
        run_server(checkpoint, cache, tmp_path / "a") as (_, one),
        run_server(checkpoint, cache, tmp_path / "b") as (_, two),
    ):
        source = make_source(one)
        requests = list_requests(source, 10)
        threads, jobs = list[threading.Thread](), list[dict[str, Any]]()
        for client, part in ((one, requests[:5]), (two, requests[5:])):
            send = lambda c=client, p=part: jobs.extend(submit(c, a, body=b) for a, b in p)  # noqa: E731
            threads.append(threading.Thread(target=send))
            threads[-1].start()
        for thread in threads:
            thread.join()
        for job in jobs:
            assert wait_for_end(two, job)["state"] == "succeeded"
            assert read_result(one, job).content == read_result(two, job).content
        ended += [count_ended(one), count_ended(two)]
        long = submit(one, body=MADE | {"num_inference_steps": 200, "n": 10})
        wait_until(lambda: one.get(f"/v1/jobs/{long['id']}").json()["state"] == "running")
        idle = next(c for c in (one, two) if "mdp_lite_tasks 0.0" in c.get("/metrics").text)
        cancelled = idle.post(f"/v1/jobs/{long['id']}/cancel").json()
        assert cancelled["state"] == "cancelled"
        for client in (one, two):
            wait_until(lambda c=client: "mdp_lite_tasks 0.0" in c.get("/metrics").text)
    assert sum(ended) == len(jobs) + 1
