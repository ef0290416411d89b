"""Where a warm edit of the bundled model spends its time, and a cold command.

    python -m benchmarks.profile_edit [--engine eager] [--steps 50] [--out FILE]

Warm: the operators of one edit of a computed source, each without those that it calls, by kind, and
those that read float64; what is left of the profiled time is Python (with --engine compile also the
compiler's kernels). Cold: `mdp-lite edit` from
process start to its picture, with `--dry-run` (which loads the model and computes nothing), and
`import torch` alone, in turns.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_first.profile_step import find_kind
from benchmarks.record import RESULTS, Recorder, format_command
from benchmarks.test_bundled import CPU, GUIDANCE, PROMPT, SEED, TARGET, run_python
from mdp_lite import Editor

WARM, ROUNDS, COLD_ROUNDS = 3, 15, 7
OUTSIDE = "outside operators"


class Operator(NamedTuple):
    """One call of an operator: its kind, its own seconds, and whether it reads float64."""

    kind: str
    seconds: float
    double: bool


def own_seconds(events: Iterable[dict[str, Any]]) -> list[Operator]:
    """The operators of a trace, each without the time of those that it calls.

    Events of one thread are nested or apart, so the last one that has not ended is the caller.
    """
    found: list[Operator] = []
    open_: dict[Any, list[tuple[float, int]]] = {}  # by thread: when a call ends, and its index
    for event in sorted(events, key=lambda one: (one["ts"], -one["dur"])):
        callers = open_.setdefault(event["tid"], [])
        while callers and callers[-1][0] <= event["ts"]:
            callers.pop()
        if callers:
            caller = callers[-1][1]
            rest = found[caller].seconds - event["dur"] / 1e6
            found[caller] = found[caller]._replace(seconds=rest)
        types = event.get("args", {}).get("Input type", ())
        callers.append((event["ts"] + event["dur"], len(found)))
        found.append(Operator(find_kind(event["name"]), event["dur"] / 1e6, "double" in types))
    return found


def read_trace(path: Path) -> list[dict[str, Any]]:
    """The calls of operators in a trace that torch's profiler wrote."""
    events = json.loads(path.read_text("utf-8"))["traceEvents"]
    return [one for one in events if one.get("cat") == "cpu_op"]


def profile_warm(editor: Editor, steps: int) -> dict[str, Any]:
    """Seconds of a warm edit, and how one under the profiler divides."""
    source = editor.generate(PROMPT, SEED, steps, GUIDANCE)
    seconds = [time_edit(editor, source) for _ in range(WARM + ROUNDS)][WARM:]
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        whole = time_edit(editor, source)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        found.export_chrome_trace(str(path))
        operators = own_seconds(read_trace(path))
    return {"seconds": median(seconds), "profiled": whole, **divide(operators, whole)}


def time_edit(editor: Editor, source: Any) -> float:
    """Seconds of an edit of a computed source, from the call to the picture."""
    begun = time.perf_counter()
    editor.edit(source, TARGET)
    return time.perf_counter() - begun


def divide(operators: Iterable[Operator], whole: float) -> dict[str, Any]:
    """The shares of a whole time by kind of operator, and what no operator takes."""
    kinds: dict[str, float] = {}
    double = 0.0
    for one in operators:
        kinds[one.kind] = kinds.get(one.kind, 0.0) + one.seconds
        double += one.seconds if one.double else 0.0
    kinds[OUTSIDE] = whole - sum(kinds.values())
    ranked = sorted(kinds, key=lambda kind: -kinds[kind])
    return {
        "shares": {kind: kinds[kind] / whole for kind in ranked}, "float64": double / whole
    }  # fmt: skip


def time_cold(steps: int, out: Path) -> dict[str, float]:
    """Seconds of fresh processes, in turns: the command, a dry run of it, and torch alone."""
    words = ["-m", "mdp_lite", "edit", "--model", "tiny", "--source-prompt", PROMPT, "--seed",
             str(SEED), "--prompt", TARGET, "--steps", str(steps), "--device", "cpu",
             "-o", str(out)]  # fmt: skip
    commands = {
        "edit": words, "dry run": [*words, "--dry-run"], "import torch": ["-c", "import torch"]
    }  # fmt: skip
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(1 + COLD_ROUNDS):  # the first reads the files into memory
        for name, command in commands.items():
            begun = time.perf_counter()
            run_python(*command)
            taken[name].append(time.perf_counter() - begun)
    return {name: median(seconds[1:]) for name, seconds in taken.items()}


def main() -> None:
    """Read the command line, measure, and write the figures."""
    parser = argparse.ArgumentParser("python -m benchmarks.profile_edit", description=__doc__)
    parser.add_argument("--engine", default="eager", choices=("eager", "compile"))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS / "profile_edit.json")
    args = parser.parse_args()
    command = format_command("profile_edit", sys.argv[1:])
    recorder = Recorder(args.out, command, None, CPU)
    warm = profile_warm(Editor.from_pretrained("tiny", "cpu", engine=args.engine), args.steps)
    recorder.store(f"warm edit, {args.engine}", {"steps": args.steps, **warm})
    if args.engine == "eager":
        with tempfile.TemporaryDirectory() as folder:
            cold = time_cold(args.steps, Path(folder) / "edit.png")
        recorder.store("cold edit", {"steps": args.steps, "seconds": cold})


if __name__ == "__main__":
    main()
