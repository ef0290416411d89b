"""Measuring sides against each other, and storing the figures in one JSON file."""

import json
import math
import shlex
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mdp_lite.eval.rounds import (
    DeviceLimit,
    TimedRounds,
    describe_machine,
    find_limit,
    percentiles,
    ratio,
    time_in_turns,
    time_warm_up,
)
from mdp_lite.files import atomic

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
Sides = Mapping[str, Callable[[], object]]
Limits = Mapping[torch.dtype, DeviceLimit]


# Options whose value belongs to one machine, and what the stored command has instead.
PLACES = {
    "--models": "FOLDER", "--environments": "FOLDER", "--openvino": "FOLDER", "--output": "FILE",
    "--out": "FILE", "--quiet": "COMMAND",
}  # fmt: skip


def format_command(module: str, words: Sequence[str]) -> str:
    """The command of a module of this folder, without the folders and programs of one machine."""
    given = list(words)
    for i, word in enumerate(given[:-1]):
        given[i + 1] = PLACES.get(word, given[i + 1])
    return shlex.join(["python", "-m", f"benchmarks.{module}", *given])


class Recorder(NamedTuple):
    """The file of the figures, and the settings of a run; with rounds None `enough` decides."""

    path: Path
    command: str
    rounds: int | None
    device: torch.device

    def compare(self, sides: Sides, warm_up: int = 2, rounds: int | None = None) -> dict[str, Any]:
        """Time all sides in turns; returns their seconds and the ratios of the others to ours."""
        first = time_warm_up(sides, warm_up, self.device)
        slowest = max(seconds[-1] for seconds in first.values())
        timed = time_in_turns(sides, self.rounds or rounds or enough(slowest), self.device, 0)
        return summarize({name: TimedRounds(t.seconds, first[name]) for name, t in timed.items()})

    def store(self, section: str, figures: Mapping[str, Any]) -> None:
        """Write a section of figures to the file, in place of the old one."""
        data = json.loads(self.path.read_text("utf-8")) if self.path.exists() else {}
        data[section] = {
            "machine": describe_machine(self.device) | {"diffusers": version("diffusers")},
            "command": self.command,
            "commit": commit(),
            "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            **figures,
        }
        atomic.write(self.path, (json.dumps(data, indent=1) + "\n").encode())
        print(f"\n{section}\n{format_section(figures)}", flush=True)


def limits(dtypes: Collection[torch.dtype], device: torch.device) -> dict[torch.dtype, DeviceLimit]:
    """The FLOP/s that the device can reach in each dtype."""
    return {dtype: find_limit(dtype, device) for dtype in set(dtypes)}


def highest(one: Limits, other: Limits) -> dict[torch.dtype, DeviceLimit]:
    """The higher of two limits that were measured at different times of a run."""
    return {dtype: max(one[dtype], other[dtype]) for dtype in one}


def enough(seconds: float) -> int:
    """The number of rounds for a call of so many seconds: 30, or fewer for slow calls."""
    return next(n for longest, n in ((1, 30), (6, 11), (30, 7), (120, 3), (math.inf, 1))
                if seconds < longest)  # fmt: skip


def summarize(timed: Mapping[str, TimedRounds]) -> dict[str, Any]:
    """Percentiles of all sides, and the ratio of each to mdp_lite's fastest mode."""
    modes = [name for name in timed if name.startswith("mdp_lite")] or list(timed)[:1]
    ours = min(modes, key=lambda name: percentiles(timed[name].seconds).p50)
    return {
        "sides": {
            name: {**percentiles(t.seconds)._asdict(), **t._asdict()} for name, t in timed.items()
        },
        "ratios": {
            f"{name} / {ours}": ratio(timed[name].seconds, timed[ours].seconds)._asdict()
            for name in timed
            if name != ours
        },
    }


def with_fractions(
    figures: dict[str, Any], flops: int, dtypes: Mapping[str, torch.dtype], limits: Limits
) -> dict[str, Any]:
    """The figures, each side with its fraction of the device's limit in the side's dtype."""
    for name, side in figures["sides"].items():
        side["fraction_of_limit"] = flops / side["p50"] / limits[dtypes[name]].rate
    peaks = {str(dtype).removeprefix("torch."): one._asdict() for dtype, one in limits.items()}
    return figures | {"flops": flops, "limits": peaks}


def format_section(figures: Mapping[str, Any]) -> str:
    """A section as text for people."""
    lines = []
    for name, side in figures.get("sides", {}).items():
        part = side.get("fraction_of_limit")
        lines.append(
            f"  {name:32} p50 {side['p50']:9.4f} s  p90 {side['p90']:9.4f}  p99 {side['p99']:9.4f}"
            f"  n {side['samples']}" + (f"  {part:.0%} of the limit" if part else "")
        )
    for name, one in figures.get("ratios", {}).items():
        lines.append(f"  {name}: {one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]")
    return "\n".join(lines)


def commit() -> str:
    """The commit of the working tree, with "-dirty" if tracked files differ from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/results")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" if changed else "")
