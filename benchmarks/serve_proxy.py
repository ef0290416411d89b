"""The time that Ray Serve adds: one replica behind its proxy against the same service alone.

python -m benchmarks.serve_proxy [--rounds 300] [--edits 30] [-o FILE]
One client asks both in turns, then eight at once; prints one JSON object. Needs [ray].
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.serve_load import PROMPT, ROOT, STEPS, TARGETS, run_server

AT_ONCE = 8


def time_call(call: Callable[[], Any]) -> float:
    """Milliseconds of a call, which must be answered with 200."""
    started = time.monotonic()
    answer = call()
    assert answer.status_code == 200, answer.text
    return 1e3 * (time.monotonic() - started)


def summarize(times: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    p99 = sorted(times)[int(0.99 * (len(times) - 1))]
    return {"p50_ms": round(statistics.median(times), 2), "p99_ms": round(p99, 2)}


def run_in_turns(clients: dict[str, Any], ask: Callable[[Any], Any], rounds: int) -> Any:
    """One client asks all services, in the other order each round; a tenth of rounds warms up."""
    times: dict[str, list[float]] = {name: [] for name in clients}
    for k in range(-rounds // 10, rounds):
        for name in list(clients)[:: 1 if k % 2 else -1]:
            spent = time_call(lambda name=name: ask(clients[name]))
            times[name] += [spent] if k >= 0 else []
    more = statistics.median(b - a for a, b in zip(times["alone"], times["ray"], strict=True))
    return {name: summarize(one) for name, one in times.items()} | {"more_ms": round(more, 2)}


def requests_per_second(client: Any, rounds: int) -> float:
    """Lists of models per second, for AT_ONCE clients that ask without a pause."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = time.monotonic()
        answers = list(pool.map(lambda _: client.get("/v1/models").status_code, range(rounds)))
    assert set(answers) == {200}
    return round(rounds / (time.monotonic() - started), 1)


def edit(client: Any, source: str) -> Any:
    """An edit of a stored source: a small request, and a picture as its answer."""
    return client.post(f"/v1/sources/{source}/edits", json={"prompt": TARGETS[0]})


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--edits", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    with run_server(0, ROOT) as alone, run_server(0, ROOT, "--engine", "ray") as ray:
        clients = {
            name: httpx2.Client(base_url=url, timeout=600)
            for name, (url, _) in (("alone", alone), ("ray", ray))
        }
        fields = {"source_prompt": PROMPT, "seed": "7", "num_inference_steps": str(STEPS)}
        sources = {
            id(one): one.post("/v1/sources", data=fields).json()["id"] for one in clients.values()
        }
        found = {
            "steps": STEPS,
            "list_of_models": run_in_turns(clients, lambda one: one.get("/v1/models"), args.rounds),
            "edit_of_a_source": run_in_turns(
                clients, lambda one: edit(one, sources[id(one)]), args.edits
            ),
            f"models_a_second_by_{AT_ONCE}": {
                name: requests_per_second(one, 4 * args.rounds) for name, one in clients.items()
            },
        }
    text = json.dumps(found, indent=1)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
