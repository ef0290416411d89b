"""Many clients at once against `mdp-lite serve`: each picture is held against the same edit alone.

python -m benchmarks.serve_load [--clients 50] [--seconds 60] [--rounds 2] [--rows 0 16] [-o FILE]
A server for each value of --rows, loaded in turns; one JSON object on standard output.
"""

import argparse
import asyncio
import base64
import io
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import numpy as np
import torch
from PIL import Image

from mdp_lite.editor import Editor
from mdp_lite.pipeline.result import Source

ROOT = Path(__file__).resolve().parent.parent
STEPS = 20
NEAR = 2  # levels of 255: rows in company are within 1e-5 of those alone, unless one thread runs
PROMPT = "a red house on the grass"
TARGETS = ("a blue house on the grass", "a red boat", "a red house at night", "a green tree")
WAYS: tuple[dict[str, Any], ...] = (
    {"variant": "epsilon"},
    {"variant": "x", "t_max": 18, "t_m": 8},
    {"variant": "c", "schedule": "cosine"},
    {"variant": "beta", "strength": 0.6},
)


class Told(NamedTuple):
    """An answer: how far apart its picture and the right one are, in levels of 255 at most."""

    seconds: float
    status: int
    apart: int


class Ask(NamedTuple):
    """A request of the mix, and the pixels that it is to give."""

    path: str
    json: dict[str, Any] | None
    data: dict[str, Any] | None
    want: bytes


def mix(editor: Editor, file: bytes) -> list[Ask]:
    """Edits of a picture, of a drawn source and of a kept one, by all variants."""
    steps = {"num_inference_steps": STEPS}
    picture = Image.open(io.BytesIO(file)).convert("RGB")
    real = editor.invert(picture, PROMPT, "edit-friendly", STEPS)
    replayed = editor.invert(picture, PROMPT, "replay", STEPS)
    drawn = editor.generate(PROMPT, 7, STEPS)
    asks = []

    def pixels(source: Source, target: str, way: dict[str, Any]) -> bytes:
        return editor.edit(source, target, **way).picture.tobytes()

    for target in TARGETS:
        for way in WAYS:
            form = {"prompt": target, "source_prompt": PROMPT} | steps | way
            asks.append(Ask("/v1/images/edits", None, form, pixels(real, target, way)))
            form = form | {"inversion": "replay"}
            asks.append(Ask("/v1/images/edits", None, form, pixels(replayed, target, way)))
            said = {"prompt": PROMPT, "seed": 7, "edit_prompt": target} | steps | way
            asks.append(Ask("/v1/images/generations", said, None, pixels(drawn, target, way)))
            said = {"prompt": target} | way
            asks.append(Ask("source", said, None, pixels(drawn, target, way)))
    return asks


@contextmanager
def server(rows: int, jobs: int, *words: str) -> Iterator[tuple[str, int]]:
    """A server of the bundled model: its address and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mdp_lite", "serve", "--port", str(port), "--rows", str(rows),
        "--limit", f"jobs={jobs}", "--limit", "waiting_rows=1000000", "--quiet", *words,
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        url = f"http://127.0.0.1:{port}"
        while True:
            try:
                if httpx2.get(f"{url}/health/ready").status_code == 200:
                    break
            except httpx2.TransportError:
                pass
            time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


async def client(
    one: httpx2.AsyncClient, asks: list[Ask], source: str, file: bytes, seed: int, end: float
) -> list[Told]:
    """Requests one after the other."""
    choose, told = random.Random(seed), []
    while time.monotonic() < end:
        ask, started = choose.choice(asks), time.monotonic()
        path = f"/v1/sources/{source}/edits" if ask.path == "source" else ask.path
        files = {"image": file} if ask.data else None
        answer = await one.post(path, json=ask.json, data=ask.data, files=files)
        seconds, apart = time.monotonic() - started, 255
        if answer.status_code == 200:
            data = base64.b64decode(answer.json()["data"][0]["b64_json"])
            got = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)
            apart = int(abs(got.ravel() - np.frombuffer(ask.want, np.uint8)).max())
        told.append(Told(seconds, answer.status_code, apart))
    return told


async def load(url: str, asks: list[Ask], file: bytes, clients: int, seconds: float) -> list[Told]:
    """All clients at once; what they were told."""
    limits = httpx2.Limits(max_connections=clients)
    async with httpx2.AsyncClient(base_url=url, timeout=600, limits=limits) as one:
        data = {"source_prompt": PROMPT, "seed": "7", "num_inference_steps": str(STEPS)}
        source = (await one.post("/v1/sources", data=data)).json()["id"]
        end = time.monotonic() + seconds
        parts = await asyncio.gather(
            *(client(one, asks, source, file, seed, end) for seed in range(clients))
        )
    return [told for part in parts for told in part]


def processor(pid: int) -> float:
    """Seconds of processors that a process has used, which depend less on what else runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def figures(told: list[Told], seconds: float, used: float, url: str, pid: int) -> Any:
    """What all rounds of a server come to; used are its seconds of processors."""
    metrics = httpx2.get(f"{url}/metrics").text
    count = lambda name: float(re.findall(rf"^mdp_lite_{name} (\S+)", metrics, re.M)[0])  # noqa: E731
    took = sorted(one.seconds for one in told)
    rows, calls = count("unet_rows_total"), count("unet_calls_total")
    memory = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    good = [one for one in told if one.status == 200]
    return {
        "requests": len(told),
        "seconds": round(seconds, 1),
        "not_200": len(told) - len(good),
        "wrong_pictures": sum(one.apart > NEAR for one in good),
        "not_to_the_bit": sum(one.apart > 0 for one in good),
        "requests_a_second": round(len(told) / seconds, 2),
        "p50_seconds": round(statistics.median(took), 3),
        "p99_seconds": round(took[int(0.99 * (len(took) - 1))], 3),
        "unet_rows": rows,
        "unet_calls": calls,
        "rows_a_call": round(rows / calls, 2),
        "rows_a_second_of_unet": round(rows / count("unet_seconds_total"), 1),
        "share_of_time_in_unet": round(count("unet_seconds_total") / seconds, 3),
        "processor_ms_a_row": round(1e3 * used / rows, 2),
        "peak_mib": int(memory[0]) // 1024,
    }


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 16])
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    editor = Editor.from_pretrained()
    file = ((editor.models.folder or Path()) / "example.png").read_bytes()
    asks, found = mix(editor, file), {}
    told: dict[int, list[Told]] = {rows: [] for rows in args.rows}
    spent = dict.fromkeys(args.rows, 0.0)
    with ExitStack() as stack:
        servers = {rows: stack.enter_context(server(rows, args.jobs)) for rows in args.rows}
        before = {rows: processor(pid) for rows, (_, pid) in servers.items()}
        for turn in range(args.rounds):
            for rows in args.rows[:: -1 if turn % 2 else 1]:
                started = time.monotonic()
                told[rows] += asyncio.run(
                    load(servers[rows][0], asks, file, args.clients, args.seconds)
                )
                spent[rows] += time.monotonic() - started
        for rows, at in servers.items():
            found[f"rows {rows}"] = figures(
                told[rows], spent[rows], processor(at[1]) - before[rows], *at
            )
    text = json.dumps(
        {"clients": args.clients, "steps": STEPS, "threads": torch.get_num_threads()}
        | {"jobs": args.jobs, "near": NEAR, "servers": found},
        indent=1,
    )
    print(text)
    if args.output:
        args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
