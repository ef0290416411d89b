"""What a stage finds, written to a file at once, so that a stage that is stopped keeps it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mdp_lite.files import atomic


class Setting(NamedTuple):
    """Where a stage runs; small is a rehearsal: the bundled model, few repeats."""

    device: torch.device
    small: bool


class Findings:
    """Figures and checks of a stage. skip(reason) says that it can't run here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.figures: dict[str, Any] = {}
        self.checks: list[dict[str, Any]] = []
        self.skipped: str | None = None
        self._write()

    def add(self, name: str, value: Any) -> None:
        """A figure, or a dict of them."""
        self.figures[name] = value
        print(f"{name}: {json.dumps(value)}", flush=True)
        self._write()

    def check(self, what: str, ok: bool, seen: Any = None) -> None:
        """Something that must hold, and what was seen."""
        self.checks.append({"what": what, "ok": bool(ok), "seen": seen})
        print(f"{'ok' if ok else 'FAILED'}: {what}: {seen}", flush=True)
        self._write()

    def skip(self, reason: str) -> None:
        """The stage can't run here; a reason for people."""
        self.skipped = reason
        self._write()

    def _write(self) -> None:
        data = {"figures": self.figures, "checks": self.checks, "skipped": self.skipped}
        atomic.write(self.path, (json.dumps(data, indent=1) + "\n").encode())
