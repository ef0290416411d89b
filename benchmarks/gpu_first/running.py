"""Running stages one after the other, each in its own process, with its own log and limit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu_first.results import Origin, Result, is_done, read_result, write_result
from benchmarks.gpu_first.stages import Stage
from benchmarks.record import ROOT
from mdp_lite.files import atomic

LEAST, GRACE, TAIL = 5.0, 5.0, 5  # seconds to start a stage; to end one; lines of a log
PATHS = [str(ROOT / room) for room in (".", "kernels", "weights", "tests")]
Command = Callable[[Stage, Path, float], list[str]]  # the stage, its findings' file, its limit


class Run(NamedTuple):
    """How stages run: where results go, what they belong to, seconds in all, and the command.

    slack times the limit of a stage is its limit: a rehearsal may be on a slow machine.
    """

    folder: Path
    origin: Origin
    budget: float
    again: bool
    command: Command
    slack: float = 1.0


class Outcome(NamedTuple):
    """A line of the summary: a stage, its status, its seconds, and why."""

    stage: str
    status: str
    seconds: float
    reason: str


def build_command(small: bool) -> Command:
    """The command of a stage of this package."""

    def build(stage: Stage, findings: Path, limit: float) -> list[str]:
        words = ["-m", "benchmarks.gpu_first.stage", stage.name, "--findings", str(findings)]
        return [sys.executable, *words, "--limit", f"{limit:.1f}", *["--small"] * small]

    return build


def run_stages(stages: Sequence[Stage], run: Run) -> Iterator[Outcome]:
    """Run each stage that has no result yet, while there is time; yields as each ends.

    A KeyboardInterrupt ends the stage that runs, and is raised once its result is stored.
    """
    end = time.monotonic() + run.budget
    for stage in stages:
        old = read_result(run.folder, stage.name)
        left = end - time.monotonic()
        if old and is_done(old, run.origin) and not run.again:
            yield Outcome(stage.name, old.status, 0.0, f"has a result of {old.date}")
        elif left < LEAST:
            yield Outcome(stage.name, "not run", 0.0, f"the {run.budget:.0f} s are spent")
        else:
            result = run_stage(stage, run, min(run.slack * stage.limit, left))
            yield Outcome(stage.name, result.status, result.seconds, result.reason)


def run_stage(stage: Stage, run: Run, limit: float) -> Result:
    """Run one stage and store its result, also if it is interrupted."""
    part, log = run.folder / f"{stage.name}.part", run.folder / f"{stage.name}.log"
    part.unlink(missing_ok=True)
    begun, stopped = time.monotonic(), None
    try:
        code = run_process(run.command(stage, part, limit), log, limit)
    except KeyboardInterrupt as error:
        code, stopped = -signal.SIGINT, error
    found = read_findings(part)
    status, reason = judge(code, found, limit, stopped is not None, log)
    date = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    result = Result(
        stage.name, status, reason, time.monotonic() - begun, limit, date, run.origin,
        found["figures"], found["checks"],
    )  # fmt: skip
    write_result(run.folder, result)
    part.unlink(missing_ok=True)
    if stopped:
        raise stopped
    return result


def run_process(command: Sequence[str], log: Path, limit: float) -> int | None:
    """The exit code of a command, or None if it was ended at its limit; its output is the log's."""
    atomic.write(log, b"")
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([*PATHS, os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            end_group(process)


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """End a process and its children: asked first, then killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(GRACE)
        except ProcessLookupError:  # nobody is left
            break
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def read_findings(path: Path) -> dict[str, Any]:
    """What a stage's process wrote before it ended; nothing if it did not get so far."""
    empty: dict[str, Any] = {"figures": {}, "checks": [], "skipped": None}
    try:
        return empty | json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return empty


def judge(
    code: int | None, found: dict[str, Any], limit: float, stopped: bool, log: Path
) -> tuple[str, str]:
    """The status of a stage, and why it is not "passed"."""
    if stopped:
        return "interrupted", "it was interrupted"
    wrong = [f"{one['what']}: {one['seen']}" for one in found["checks"] if not one["ok"]]
    if code is None:
        return "timed out", "; ".join([f"it was ended after {limit:.0f} s", *wrong])
    if found["skipped"]:
        return "skipped", found["skipped"]
    if wrong:
        return "failed", "not so: " + "; ".join(wrong)
    if code:
        return "failed", f"exit code {code}: {read_last_line(log)}"
    return "passed", ""


def read_last_line(log: Path) -> str:
    """The last line of a log that is not empty: mostly an error's own."""
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "its log is empty"


@contextmanager
def interrupt_on_signals() -> Iterator[None]:
    """Treat SIGTERM, which `timeout` sends, as Ctrl-C."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
