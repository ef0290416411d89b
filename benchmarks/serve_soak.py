"""A service under mixed requests and faults for half an hour: its memory and files stay flat.

python -m benchmarks.serve_soak [--minutes 30] [--clients 8] [-o FILE]
Starts one server. Clients send right requests, whose pictures are compared to those of the library
bit for bit, jobs, and faults: clients that leave, damaged pictures, half heads, wrong fields, wrong
paths, pictures of many pixels. Needs Linux. Prints one JSON object.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import numpy as np
from PIL import Image

from benchmarks.serve_load import PROMPT, ROOT, LoadRequest, build_requests, run_server
from mdp_lite.editor import Editor

SAMPLE = 10.0  # seconds between two looks at the process
SETTLED = 3.0  # seconds after the last request, in which freed memory goes back
FAULTS = ("leave", "damaged", "half head", "wrong field", "wrong path", "many pixels", "no JSON")
Sample = tuple[float, int, int, int]  # seconds, bytes in memory, descriptors, threads


class Soak(NamedTuple):
    """What all clients share."""

    client: httpx2.AsyncClient
    port: int
    requests: list[LoadRequest]
    file: bytes
    source: str
    counts: Counter[str]
    end: float


def look(pid: int, begun: float) -> Sample:
    """The process now."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    size, threads = int(fields["VmRSS"].split()[0]) * 1024, int(fields["Threads"])
    return round(time.monotonic() - begun, 1), size, len(os.listdir(f"/proc/{pid}/fd")), threads


async def send_right(soak: Soak, choose: random.Random) -> None:
    """A request whose picture must be the library's."""
    one = choose.choice(soak.requests)
    path = f"/v1/sources/{soak.source}/edits" if one.path == "source" else one.path
    files = {"image": soak.file} if one.data else None
    answer = await soak.client.post(path, json=one.json, data=one.data, files=files)
    count_answer(soak, "right", answer, one.want)


def count_answer(soak: Soak, kind: str, answer: httpx2.Response, want: bytes) -> None:
    """Count the answer by its kind and status, and whether the picture is another one."""
    soak.counts[f"{kind} {answer.status_code}"] += 1
    if answer.status_code == 200:
        data = base64.b64decode(answer.json()["data"][0]["b64_json"])
        got = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).tobytes()
        soak.counts["wrong pictures"] += got != want


async def send_job(soak: Soak, choose: random.Random) -> None:
    """A job with an edit, which is cancelled, or else waited for and read."""
    one = choose.choice([one for one in soak.requests if one.path == "/v1/images/edits"])
    body = {**(one.data or {}), "image": base64.b64encode(soak.file).decode()}
    made = await soak.client.post("/v1/jobs", json={"endpoint": one.path, "body": body})
    soak.counts[f"job {made.status_code}"] += 1
    if made.status_code not in (200, 201, 202):
        return
    job = f"/v1/jobs/{made.json()['id']}"
    if choose.random() < 0.3:
        soak.counts[f"cancel {(await soak.client.post(f'{job}/cancel')).status_code}"] += 1
        return
    while (await soak.client.get(job, params={"wait": 20})).json()["state"] in (
        "queued",
        "running",
    ):
        pass
    count_answer(soak, "job's result", await soak.client.get(f"{job}/result"), one.want)
    await soak.client.delete(job)


async def send_fault(soak: Soak, choose: random.Random) -> None:
    """One of FAULTS."""
    kind, files = choose.choice(FAULTS), {"image": soak.file}
    data: dict[str, Any] = {"prompt": "a boat", "num_inference_steps": "20"}
    if kind == "half head":
        await leave_half_a_head(soak.port)
        soak.counts[kind] += 1
        return
    if kind == "damaged":
        files = {"image": damage(soak.file, choose)}
    if kind == "many pixels":
        files = {"image": draw_solid(choose.choice((2000, 4000)))}
    if kind == "wrong field":
        data |= {"strength": "2"}
    path = "/v1/nothing" if kind == "wrong path" else "/v1/images/edits"
    if kind == "no JSON":
        sending = soak.client.post("/v1/images/generations", content=b"{" * 1000)
    else:
        sending = soak.client.post(path, data=data, files=files)
    if kind == "leave":
        with suppress(TimeoutError):
            await asyncio.wait_for(sending, choose.random())
        soak.counts[kind] += 1
        return
    soak.counts[f"{kind} {(await sending).status_code}"] += 1


async def leave_half_a_head(port: int) -> None:
    """Open a connection, send half of a head and go."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/images/edits HTTP/1.1\r\nHost: a\r\nContent-")
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def damage(file: bytes, choose: random.Random) -> bytes:
    """A file with a changed byte, or cut."""
    at = choose.randrange(len(file))
    return file[:at] if choose.random() < 0.5 else file[:at] + b"\0" + file[at + 1 :]


def draw_solid(side: int) -> bytes:
    """A small file of many pixels."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(out, "PNG")
    return out.getvalue()


async def run_client(soak: Soak, seed: int) -> None:
    """Send one request after the other until the end."""
    choose = random.Random(seed)
    kinds: list[Callable[[Soak, random.Random], Awaitable[None]]] = [
        send_right,
        send_job,
        send_fault,
    ]
    while time.monotonic() < soak.end:
        (send,) = choose.choices(kinds, (5, 1, 4))
        await send(soak, choose)


async def run_soak(port: int, pid: int, clients: int, seconds: float) -> dict[str, Any]:
    """All clients until the end; the samples, and what came back."""
    editor = Editor.from_pretrained("tiny")
    file = ((editor.models.folder or Path()) / "example.png").read_bytes()
    requests, begun = build_requests(editor, file), time.monotonic()
    limits = httpx2.Limits(max_connections=clients + 4)
    url = f"http://127.0.0.1:{port}"
    async with httpx2.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        data = {"source_prompt": PROMPT, "seed": "7", "num_inference_steps": "20"}
        source = (await client.post("/v1/sources", data=data)).json()["id"]
        end = time.monotonic() + seconds
        soak = Soak(client, port, requests, file, source, Counter(), end)
        running = [asyncio.create_task(run_client(soak, seed)) for seed in range(clients)]
        samples: list[Sample] = []
        while time.monotonic() < end:
            samples.append(look(pid, begun))
            await asyncio.sleep(SAMPLE)
        await asyncio.gather(*running)
    await asyncio.sleep(SETTLED)
    return summarize(samples, look(pid, begun), soak.counts)


def summarize(samples: list[Sample], last: Sample, counts: Counter[str]) -> dict[str, Any]:
    """The most of each third of the time, the end when all is idle, and the counts."""
    third = max(1, len(samples) // 3)
    parts = [samples[k * third : (k + 1) * third] for k in range(3)]
    most = lambda k: [max(one[k] for one in part) for part in parts if part]  # noqa: E731
    return {
        "seconds": last[0],
        "mib_of_thirds": [size // 2**20 for size in most(1)],
        "descriptors_of_thirds": most(2),
        "threads_of_thirds": most(3),
        "idle": {"mib": last[1] // 2**20, "descriptors": last[2], "threads": last[3]},
        "counts": dict(sorted(counts.items())),
    }


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    with run_server(0, ROOT) as (url, pid):
        port = int(url.rpartition(":")[2])
        found = asyncio.run(run_soak(port, pid, args.clients, 60 * args.minutes))
    text = json.dumps({"clients": args.clients} | found, indent=1)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
