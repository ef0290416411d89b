"""Requests that take much memory, and what a server of its own process took meanwhile.

`python tests/support/memory_attack.py [KIND ...]` attacks a new server with all kinds, or these,
and prints the figures. It needs Linux.
"""

import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import httpx2
import psutil

from support.memory_requests import KINDS, WAIT, Send
from support.places import ENVIRONMENT

SAMPLE, PROBE = 0.02, 0.1  # seconds between two looks at memory, and at health
PROBER = """
import http.client, json, select, sys, time
port, pause = int(sys.argv[1]), float(sys.argv[2])
print("ready", flush=True)
seconds = []
while True:  # at least one look, also at an attack that ends at once
    begun = time.monotonic()
    for path in ("/health/live", "/health/ready"):
        one = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        one.request("GET", path)
        assert one.getresponse().status == 200
        one.close()
    seconds.append(time.monotonic() - begun)
    if select.select([sys.stdin], [], [], pause)[0]:
        break
print(json.dumps(seconds))
"""


class Figures(NamedTuple):
    """What an attack took: bytes before, at most and after, seconds of health, statuses."""

    start: int
    peak: int
    end: int
    median: float
    worst: float
    statuses: dict[int, int]


class Server(NamedTuple):
    """A server in its own process."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def resident(self) -> int:
        """Bytes in memory now."""
        return psutil.Process(self.process.pid).memory_info().rss

    def reset_peak(self) -> None:
        """Let the system's own peak begin anew."""
        with open(f"/proc/{self.process.pid}/clear_refs", "w") as file:
            file.write("5")

    @property
    def peak(self) -> int:
        """The most bytes in memory, as the system counted them."""
        with open(f"/proc/{self.process.pid}/status") as file:
            line = next(line for line in file if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


@contextmanager
def start_server(*options: str) -> Iterator[Server]:
    """`mdp-lite serve` with these options, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mdp_lite", "serve", "--port", str(port), "--quiet", *options]
    with subprocess.Popen(command, env=ENVIRONMENT) as process:
        server = Server(f"http://127.0.0.1:{port}", process)
        try:
            wait_until_ready(server)
            yield server
        finally:
            process.terminate()


def wait_until_ready(server: Server) -> None:
    """Wait for /health/ready."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        try:
            if httpx2.get(f"{server.url}/health/ready", timeout=5).status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        time.sleep(0.2)
    raise TimeoutError("the server is not ready")


@contextmanager
def probe_health(server: Server) -> Iterator[list[float]]:
    """Ask for health in another process; the seconds of each answer, once the context ends.

    Threads of this process would wait for each other.
    """
    seconds: list[float] = []
    command = [sys.executable, "-c", PROBER, server.url.rpartition(":")[2], str(PROBE)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as prober:
        assert prober.stdout and prober.stdout.readline()
        yield seconds
        seconds += json.loads(prober.communicate()[0])


def attack(server: Server, sends: list[Send], settle: float = 4.0) -> Figures:
    """Send all at once; health is asked meanwhile. Then wait for what is given back."""
    start, done = server.resident, threading.Event()
    server.reset_peak()
    peaks = [start]

    def look() -> None:
        while not done.wait(SAMPLE):
            peaks.append(server.resident)

    def send(one: Send) -> int:
        try:
            return one(client)
        except httpx2.TransportError:
            return 0  # the answer was lost

    # One client, as each new one works long on certificates, which the server would wait for.
    most = httpx2.Limits(max_connections=None)
    client = httpx2.Client(base_url=server.url, timeout=WAIT, verify=False, limits=most)
    thread = threading.Thread(target=look)
    thread.start()
    with probe_health(server) as seconds, ThreadPoolExecutor(len(sends)) as pool:
        statuses = Counter(pool.map(send, sends))
    done.set()
    thread.join()
    client.close()
    time.sleep(settle)
    health = statistics.median(seconds), max(seconds)
    return Figures(start, max(server.peak, *peaks), server.resident, *health, dict(statuses))


def format_figures(kind: str, found: Figures) -> str:
    """One line."""
    sizes = ", ".join(f"{n} {x / 1e9:.2f} GB" for n, x in zip(
        ("start", "peak", "end"), found[:3], strict=True))  # fmt: skip
    health = f"health {1e3 * found.median:.0f} ms median, {1e3 * found.worst:.0f} ms worst"
    return f"{kind}: {sizes}; {health}; {json.dumps(found.statuses)}"


if __name__ == "__main__":
    with start_server() as server:
        for name in sys.argv[1:] or KINDS:
            started = time.monotonic()
            print(format_figures(name, attack(server, KINDS[name](server.url))), flush=True)
            print(f"  {time.monotonic() - started:.0f} s", flush=True)
