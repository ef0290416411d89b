"""Many clients at once against `mdp-lite serve`; each picture is compared to the same edit alone.

python -m benchmarks.serve_load [--clients 50] [--seconds 60] [--rounds 2] [--rows 0 16] \\
    [--other CHECKOUT] [-o FILE]
Starts a server for each value of --rows, and one of another checkout too if there is one, and loads
them in turns; prints one JSON object.
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
# Levels of 255. Rows of a batch are within 1e-5 of those alone; with one thread they are equal.
MAX_ROUNDING = 2
PROMPT = "a red house on the grass"
TARGETS = ("a blue house on the grass", "a red boat", "a red house at night", "a green tree")
SETTINGS: tuple[dict[str, Any], ...] = (
    {"variant": "epsilon"},
    {"variant": "x", "t_max": 18, "t_m": 8},
    {"variant": "c", "schedule": "cosine"},
    {"variant": "beta", "strength": 0.6},
)


class LoadAnswer(NamedTuple):
    """An answer; max_difference is between its picture and the right one, in levels of 255."""

    seconds: float
    status: int
    max_difference: int


class LoadRequest(NamedTuple):
    """A request of the load, and the pixels of the right answer."""

    path: str
    json: dict[str, Any] | None
    data: dict[str, Any] | None
    want: bytes


def build_requests(editor: Editor, file: bytes) -> list[LoadRequest]:
    """Edits of a picture, of a generated picture and of a stored source, by all variants."""
    steps = {"num_inference_steps": STEPS}
    picture = Image.open(io.BytesIO(file)).convert("RGB")
    real = editor.invert(picture, PROMPT, "edit-friendly", STEPS)
    replayed = editor.invert(picture, PROMPT, "replay", STEPS)
    generated = editor.generate(PROMPT, 7, STEPS)
    requests: list[LoadRequest] = []

    def add(
        path: str, body: dict[str, Any], source: Source, target: str, settings: dict[str, Any]
    ) -> None:
        want = editor.edit(source, target, **settings).picture.tobytes()
        body, is_form = body | settings, path == "/v1/images/edits"
        form, json = (body, None) if is_form else (None, body)
        requests.append(LoadRequest(path, json, form, want))

    for target in TARGETS:
        for settings in SETTINGS:
            form = {"prompt": target, "source_prompt": PROMPT} | steps
            add("/v1/images/edits", form, real, target, settings)
            add("/v1/images/edits", form | {"inversion": "replay"}, replayed, target, settings)
            body = {"prompt": PROMPT, "seed": 7, "edit_prompt": target} | steps
            add("/v1/images/generations", body, generated, target, settings)
            add("source", {"prompt": target}, generated, target, settings)
    return requests


@contextmanager
def run_server(rows: int, root: Path, *words: str) -> Iterator[tuple[str, int]]:
    """A server of the bundled model, by the code of a checkout: its address and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mdp_lite", "serve", "--model", "tiny", "--port", str(port),
        "--rows", str(rows), "--limit", "waiting_rows=1000000", "--quiet", *words,
    ]  # fmt: skip
    rooms = os.pathsep.join(str(root / one) for one in ("", "kernels", "weights"))
    process = subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONPATH": rooms})
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


async def run_client(
    one: httpx2.AsyncClient,
    requests: list[LoadRequest],
    source: str,
    file: bytes,
    seed: int,
    end: float,
) -> list[LoadAnswer]:
    """Send random requests, one after the other, until the end."""
    choose, answers = random.Random(seed), []
    while time.monotonic() < end:
        request, started = choose.choice(requests), time.monotonic()
        path = f"/v1/sources/{source}/edits" if request.path == "source" else request.path
        files = {"image": file} if request.data else None
        answer = await one.post(path, json=request.json, data=request.data, files=files)
        seconds, max_difference = time.monotonic() - started, 255
        if answer.status_code == 200:
            data = base64.b64decode(answer.json()["data"][0]["b64_json"])
            got = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)
            max_difference = int(abs(got.ravel() - np.frombuffer(request.want, np.uint8)).max())
        answers.append(LoadAnswer(seconds, answer.status_code, max_difference))
    return answers


async def run_load(
    url: str, requests: list[LoadRequest], file: bytes, clients: int, seconds: float
) -> list[LoadAnswer]:
    """Run all clients at once; returns their answers."""
    limits = httpx2.Limits(max_connections=clients)
    async with httpx2.AsyncClient(base_url=url, timeout=600, limits=limits) as one:
        data = {"source_prompt": PROMPT, "seed": "7", "num_inference_steps": str(STEPS)}
        source = (await one.post("/v1/sources", data=data)).json()["id"]
        end = time.monotonic() + seconds
        parts = await asyncio.gather(
            *(run_client(one, requests, source, file, seed, end) for seed in range(clients))
        )
    return [answer for part in parts for answer in part]


def processor_seconds(pid: int) -> float:
    """Processor seconds of a process; they depend less on what else runs than wall time."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def summarize(answers: list[LoadAnswer], seconds: float, used: float, url: str, pid: int) -> Any:
    """The figures of all rounds of a server; used are its seconds of processor time."""
    metrics = httpx2.get(f"{url}/metrics").text
    count = lambda name: float(re.findall(rf"^mdp_lite_{name} (\S+)", metrics, re.M)[0])  # noqa: E731
    took = sorted(one.seconds for one in answers)
    rows, calls = count("unet_rows_total"), count("unet_calls_total")
    memory = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    good = [one for one in answers if one.status == 200]
    return {
        "requests": len(answers),
        "seconds": round(seconds, 1),
        "not_200": len(answers) - len(good),
        "wrong_pictures": sum(one.max_difference > MAX_ROUNDING for one in good),
        "not_to_the_bit": sum(one.max_difference > 0 for one in good),
        "requests_a_second": round(len(answers) / seconds, 2),
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
    parser.add_argument("--other", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    editor = Editor.from_pretrained("tiny")
    file = ((editor.models.folder or Path()) / "example.png").read_bytes()
    requests, found = build_requests(editor, file), {}
    roots = {"": ROOT} | ({f"{args.other.name}, ": args.other} if args.other else {})
    names = {
        f"{name}rows {rows}": (rows, root) for name, root in roots.items() for rows in args.rows
    }
    answers: dict[str, list[LoadAnswer]] = {name: [] for name in names}
    spent = dict.fromkeys(names, 0.0)
    with ExitStack() as stack:
        servers = {name: stack.enter_context(run_server(*one)) for name, one in names.items()}
        before = {name: processor_seconds(pid) for name, (_, pid) in servers.items()}
        for turn in range(args.rounds):
            for name in list(names)[:: -1 if turn % 2 else 1]:
                started = time.monotonic()
                answers[name] += asyncio.run(
                    run_load(servers[name][0], requests, file, args.clients, args.seconds)
                )
                spent[name] += time.monotonic() - started
        for name, at in servers.items():
            used = processor_seconds(at[1]) - before[name]
            found[name] = summarize(answers[name], spent[name], used, *at)
    text = json.dumps(
        {"clients": args.clients, "steps": STEPS, "threads": torch.get_num_threads()}
        | {"near": MAX_ROUNDING, "servers": found},
        indent=1,
    )
    print(text)
    if args.output:
        args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
