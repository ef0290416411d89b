"""Many requests for many models: right pixels, and no more memory than the bound and one call."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from support.served_models import Zoo, ask_for, build_zoo, generate_alone, read_picture
from support.serving import WAIT

CLIENTS, REQUESTS, SEEDS, ROOM = 16, 200, 3, 2.5
VARIANTS = [
    ("a", ()), ("b", ()), ("c", ()), ("a", (("x", 0.8),)), ("b", (("y", 1.0), ("x", -0.5))),
]  # fmt: skip


def read_anonymous(pid: int) -> int:
    """Bytes of a process in memory that are no pages of files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("the system says nothing of RssAnon")


@contextmanager
def run_server(zoo: Zoo, log: Path) -> Iterator[tuple[int, str]]:
    """A server of the zoo in a process of its own: its id and address."""
    command = [sys.executable, "-m", "mdp_lite", "serve", "--port", "0", "--device", "cpu"]
    command += ["--model", str(zoo.folder / "a"), "--alias", "a", "--lora-folder", str(zoo.loras)]
    command += ["--model-memory", str(ROOM * zoo.size() / 1e9), "--limit", "model_seconds=3"]
    for alias in "bc":
        command += ["--serve-model", f"{alias}={zoo.folder / alias}"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        yield process.pid, find_address(log)
    finally:
        process.terminate()
        process.wait(WAIT)


def find_address(log: Path) -> str:
    end = time.monotonic() + WAIT
    while "served on" not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    url = log.read_text().split("served on ")[1].split("/v1")[0]
    while httpx2.get(f"{url}/health/ready").status_code != 200:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    return url


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_200_mixed_requests_of_16_clients_stay_within_the_bound(tmp_path: Path) -> None:
    zoo = build_zoo(tmp_path / "zoo", width=768)
    want = {}
    for one in VARIANTS:
        editor = zoo.editor(*one)
        want |= {(one, seed): generate_alone(editor, seed).tobytes() for seed in range(SEEDS)}
    choices = random.Random(7).choices(sorted(want), k=REQUESTS)
    with run_server(zoo, tmp_path / "log") as (pid, url):
        make = f"{url}/v1/images/generations"
        for alias in ("a", "b"):  # what calls and a load take beside the weights
            assert httpx2.post(make, json=ask_for(alias), timeout=WAIT).status_code == 200
        wait_until_unloaded(url)
        start, peak, is_over = read_anonymous(pid), [0], threading.Event()

        def sample() -> None:
            while not is_over.wait(0.02):
                peak[0] = max(peak[0], read_anonymous(pid))

        def ask(choice: tuple) -> bytes:
            answer = httpx2.post(make, json=ask_for(*choice[0], seed=choice[1]), timeout=10 * WAIT)
            assert answer.status_code == 200, answer.text
            return read_picture(answer.json()).tobytes()

        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            sampling = pool.submit(sample)
            pictures = list(pool.map(ask, choices))
            is_over.set()
            sampling.result()
        assert all(got == want[one] for got, one in zip(pictures, choices, strict=True))
        wait_until_unloaded(url)
        end, size = read_anonymous(pid), zoo.size()
        loads = read_loads(url)
        figures = {"start": start, "peak": peak[0], "end": end, "model": size, "loads": loads}
        print(json.dumps(figures))
        # One model more than stays, and the copies that one load makes.
        assert peak[0] <= start + (ROOM - 1) * size + size
        assert end <= 1.2 * start
        assert sum(loads.values()) >= len(VARIANTS) - 1


def read_loads(url: str) -> dict[str, float]:
    lines = httpx2.get(f"{url}/metrics").text.splitlines()
    pairs = (one.split() for one in lines if one.startswith("mdp_lite_model_loads_total{"))
    return {name.split('"')[1]: float(value) for name, value in pairs}


def wait_until_unloaded(url: str) -> None:
    end = time.monotonic() + WAIT
    while True:
        listed = httpx2.get(f"{url}/metrics").text
        sizes = [one.split() for one in listed.splitlines() if one.startswith("mdp_lite_model_by")]
        if sum(float(value) > 0 for _, value in sizes) == 1:
            return time.sleep(1)
        assert time.monotonic() < end
        time.sleep(0.2)
