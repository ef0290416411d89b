"""Results as files, one for each stage, and what they belong to: the code and the device."""

import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.record import RESULTS, ROOT, commit
from mdp_lite.files import atomic

FOLDER = RESULTS / "gpu_first"
# All that a stage runs; a change of a page makes no result old.
CODE = ("mdp_lite", "kernels", "weights/mdp_lite_weights", "benchmarks/gpu_first",
        "benchmarks/kernels.py", "tests/engine", "tests/support")  # fmt: skip
KINDS = (".py", ".c", ".h")
REHEARSAL = "CPU, rehearsal"  # in place of a device's name
DONE = ("passed", "failed", "skipped")  # the others are run again: they did not end by themselves


class Origin(NamedTuple):
    """What a result belongs to: a hash of the code, its commit, and the device's name."""

    code: str
    commit: str
    device: str


class Result(NamedTuple):
    """The outcome of a stage. status: passed, failed, skipped, timed out or interrupted.

    reason says why it did not pass. seconds it took of limit seconds. findings are figures by name,
    checks with what was seen, and why it was skipped.
    """

    stage: str
    status: str
    reason: str
    seconds: float
    limit: float
    date: str
    origin: Origin
    figures: dict[str, Any]
    checks: list[dict[str, Any]]


def find_origin(small: bool, named: str | None = None) -> Origin:
    """What results belong to now; named is the commit where there is no git."""
    device = REHEARSAL if small else torch.cuda.get_device_name()
    return Origin(hash_code(list_code()), named or find_commit(), device)


def find_commit() -> str:
    """The commit of this checkout, or "unknown" without git."""
    return commit() if shutil.which("git") else "unknown"


def list_code() -> list[Path]:
    """The files that stages run, of this checkout."""
    places = [ROOT / place for place in CODE]
    files = [
        file for place in places for file in ([place] if place.is_file() else place.rglob("*"))
    ]
    return sorted(file for file in files if file.suffix in KINDS)


def hash_code(files: Iterable[Path]) -> str:
    """A hash of files, their names among them; git is not needed, and changes without it count."""
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(ROOT).as_posix()}\0".encode() + file.read_bytes())
    return total.hexdigest()[:16]


def read_result(folder: Path, stage: str) -> Result | None:
    """The stored result of a stage, or None if there is none that can be read."""
    try:
        data = json.loads((folder / f"{stage}.json").read_text("utf-8"))
        return Result(**data | {"origin": Origin(**data["origin"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_result(folder: Path, result: Result) -> None:
    """Store a result, in place of an older one of its stage."""
    data = result._asdict() | {"origin": result.origin._asdict()}
    atomic.write(folder / f"{result.stage}.json", (json.dumps(data, indent=1) + "\n").encode())


def is_done(result: Result | None, origin: Origin) -> bool:
    """Whether a stage need not be run again: it ended with this code on this device."""
    if result is None or result.status not in DONE:
        return False
    return (result.origin.code, result.origin.device) == (origin.code, origin.device)
