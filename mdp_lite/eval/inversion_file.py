"""The file that keeps every figure of `mdp-lite bench inversion`, so that a run can be resumed."""

import json
import math
from pathlib import Path
from typing import Any

from mdp_lite.checkpoint import atomic
from mdp_lite.eval.inversions import Sections
from mdp_lite.pipeline.provenance import Settings


def kept(path: Path | None, settings: Settings) -> dict[str, Sections]:
    """The figures by method of an earlier run, which must have had these settings."""
    if path is None or not path.exists():
        return {}
    try:
        data = json.loads(path.read_text("utf-8"))
        had, figures = dict(data["settings"]), dict(data["figures"])
    except (ValueError, KeyError, TypeError, OSError):
        raise ValueError(f"output must hold figures of inversions, {path.name} has none") from None
    for key, value in settings.items():
        if had.get(key) != value:
            got = f"{key} {had.get(key)!r} there, {value!r} here"
            raise ValueError(f"{path.name} has figures of another run ({got}): give another output")
    return _exchanged(figures, None, math.nan)


def keep(path: Path | None, head: Settings, figures: dict[str, Sections]) -> None:
    """Write the figures after a head, which has their settings."""
    if path is not None:
        data = {**head, "figures": _exchanged(figures, math.nan, None)}
        atomic.write(path, (dumped(data) + "\n").encode())


def dumped(data: Any, indent: str = "") -> str:
    """JSON with a line for each list and each innermost object."""
    if not isinstance(data, dict) or not any(isinstance(v, dict | list) for v in data.values()):
        return json.dumps(data, allow_nan=False)
    deeper = indent + " "
    parts = [f"{deeper}{json.dumps(key)}: {dumped(v, deeper)}" for key, v in data.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def _exchanged(data: Any, old: float | None, new: float | None) -> Any:
    """One value for another all through: JSON has null and no NaN."""
    if isinstance(data, dict):
        return {key: _exchanged(value, old, new) for key, value in data.items()}
    if isinstance(data, list):
        return [_exchanged(value, old, new) for value in data]
    gone = data is None if old is None else isinstance(data, float) and math.isnan(data)
    return new if gone else data
