"""The first minutes on a GPU.

    python -m benchmarks.gpu_first              # all stages, at most ten minutes in all
    python -m benchmarks.gpu_first --dry-run    # only lists them with their limits
    python -m benchmarks.gpu_first --rehearse   # on a CPU, small: proves the code, gives no figures
    python -m benchmarks.gpu_first report       # tables from the results

Every stage is a process with its own log and time limit, and its result is a JSON file. A stage
that has one of this code and device is not run again: a stopped run goes on where it stood.
Exit code: 0 if every stage passed or could not run here, 1 if one did not pass, 2 without a GPU.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu_first import report
from benchmarks.gpu_first.results import FOLDER, find_origin
from benchmarks.gpu_first.running import (
    Outcome,
    Run,
    build_command,
    interrupt_on_signals,
    run_stages,
)
from benchmarks.gpu_first.stages import NAMES, Stage, find_stage
from benchmarks.record import ROOT

REHEARSED = ROOT / "out" / "gpu_first"  # where a rehearsal writes: git ignores it
SLACK = 10.0  # times their limits that stages have in a rehearsal: it is not about time
GOOD = ("passed", "skipped")


def read_options(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_first", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("what", nargs="?", choices=("run", "report"), default="run")
    parser.add_argument("--budget", type=float, default=600, help="seconds in all (600)")
    parser.add_argument("--stages", help=f"some of them, by comma: {', '.join(NAMES)}")
    parser.add_argument("--again", action="store_true", help="run also what has a result")
    parser.add_argument("--dry-run", action="store_true", help="list stages and limits")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, small")
    parser.add_argument("--commit", help="the commit's name, where there is no git")
    parser.add_argument("-o", "--output", type=Path, help="a folder for results and logs")
    options = parser.parse_args(words)
    options.stages = _choose_stages(parser, options.stages)
    if not options.budget > 0:
        parser.error(f"--budget must be above 0 seconds, got {options.budget}")
    return options


def _choose_stages(parser: argparse.ArgumentParser, names: str | None) -> tuple[Stage, ...]:
    chosen = NAMES if names is None else tuple(names.split(","))
    for name in chosen:
        if name not in NAMES:
            parser.error(f"--stages must be some of {', '.join(NAMES)}, got {name!r}")
    return tuple(find_stage(name) for name in NAMES if name in chosen)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = read_options(words)
    folder = options.output or (REHEARSED if options.rehearse else FOLDER)
    if options.what == "report":
        print(report.publish(folder, whole=folder == FOLDER))
        return 0
    if options.dry_run:
        print(format_plan(options.stages, options.budget))
        return 0
    if not options.rehearse and not torch.cuda.is_available():
        print(
            "benchmarks.gpu_first needs a CUDA device, and torch sees none: nothing was run "
            "(--dry-run lists the stages, --rehearse runs them small on a CPU)", file=sys.stderr,
        )  # fmt: skip
        return 2
    return run(options, folder)


def run(options: argparse.Namespace, folder: Path) -> int:
    """Run the stages, print a line as each ends, then the summary and the tables."""
    origin = find_origin(options.rehearse, options.commit)
    command, slack = build_command(options.rehearse), SLACK if options.rehearse else 1.0
    settings = Run(folder, origin, options.budget, options.again, command, slack)
    print(f"{origin.device}, commit {origin.commit}, code {origin.code}; into {folder}", flush=True)
    outcomes: list[Outcome] = []
    interrupted = False
    with interrupt_on_signals():
        try:
            for outcome in run_stages(options.stages, settings):
                outcomes.append(outcome)
                print(format_outcome(outcome), flush=True)
        except KeyboardInterrupt:
            interrupted = True
    print("\n" + report.render(report.read_all(folder)))
    print(format_summary(options.stages, outcomes, interrupted))
    if interrupted:
        return 130
    return int(any(one.status not in GOOD for one in outcomes))


def format_plan(stages: Sequence[Stage], budget: float) -> str:
    """The stages and their limits."""
    lines = [f"{one.limit:5} s  {one.name:17} {one.question}" for one in stages]
    whole = sum(one.limit for one in stages)
    last = f"limits: {whole} s in all; budget: {budget:.0f} s, which cuts the last ones"
    return "\n".join([*lines, last if whole > budget else last.partition(",")[0]])


def format_outcome(one: Outcome) -> str:
    """One line for one stage."""
    return f"{one.seconds:6.1f} s  {one.stage:17} {one.status:11} {one.reason}".rstrip()


def format_summary(stages: Sequence[Stage], outcomes: Sequence[Outcome], interrupted: bool) -> str:
    """All lines again, and how many stages ended how."""
    lines = [format_outcome(one) for one in outcomes]
    counts = {one.status: 0 for one in outcomes}
    for one in outcomes:
        counts[one.status] += 1
    said = [f"{count} {status}" for status, count in counts.items()]
    missing = len(stages) - len(outcomes)
    said += [f"{missing} left: interrupted, the same command goes on"] if interrupted else []
    return "\n".join(["Summary", *lines, ", ".join(said)])


if __name__ == "__main__":
    raise SystemExit(main())
