"""What Ray Serve adds to a request: one replica behind its proxy against the same service alone.

python -m benchmarks.serve_proxy [--rounds 300] [--edits 30] [-o FILE]
One client asks both in turns, then eight at once; one JSON object on standard output. Needs [ray].
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

from benchmarks.serve_load import PROMPT, STEPS, TARGETS, server

AT_ONCE = 8


def timed(call: Callable[[], Any]) -> float:
    """Milliseconds of a call that has to be answered with 200."""
    started = time.monotonic()
    answer = call()
    assert answer.status_code == 200, answer.text
    return 1e3 * (time.monotonic() - started)


def figures(took: list[float]) -> dict[str, float]:
    """Median and 99th percentile."""
    p99 = sorted(took)[int(0.99 * (len(took) - 1))]
    return {"p50_ms": round(statistics.median(took), 2), "p99_ms": round(p99, 2)}


def in_turns(clients: dict[str, Any], ask: Callable[[Any], Any], rounds: int) -> Any:
    """One client that asks all, each round in the other order, after a tenth to warm up."""
    took: dict[str, list[float]] = {name: [] for name in clients}
    for k in range(-rounds // 10, rounds):
        for name in list(clients)[:: 1 if k % 2 else -1]:
            spent = timed(lambda name=name: ask(clients[name]))
            took[name] += [spent] if k >= 0 else []
    more = statistics.median(b - a for a, b in zip(took["alone"], took["ray"], strict=True))
    return {name: figures(one) for name, one in took.items()} | {"more_ms": round(more, 2)}


def at_once(client: Any, rounds: int) -> float:
    """Requests a second of a list of models, by clients that ask again at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = time.monotonic()
        answers = list(pool.map(lambda _: client.get("/v1/models").status_code, range(rounds)))
    assert set(answers) == {200}
    return round(rounds / (time.monotonic() - started), 1)


def edit(client: Any, source: str) -> Any:
    """An edit of a kept source: a small request and a picture back."""
    return client.post(f"/v1/sources/{source}/edits", json={"prompt": TARGETS[0]})


def main() -> None:
    """Read the command line, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--edits", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    with server(0, 16) as alone, server(0, 16, "--engine", "ray") as ray:
        clients = {
            name: httpx2.Client(base_url=url, timeout=600)
            for name, (url, _) in (("alone", alone), ("ray", ray))
        }
        said = {"source_prompt": PROMPT, "seed": "7", "num_inference_steps": str(STEPS)}
        kept = {
            id(one): one.post("/v1/sources", data=said).json()["id"] for one in clients.values()
        }
        found = {
            "steps": STEPS,
            "list_of_models": in_turns(clients, lambda one: one.get("/v1/models"), args.rounds),
            "edit_of_a_source": in_turns(clients, lambda one: edit(one, kept[id(one)]), args.edits),
            f"models_a_second_by_{AT_ONCE}": {
                name: at_once(one, 4 * args.rounds) for name, one in clients.items()
            },
        }
    text = json.dumps(found, indent=1)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
