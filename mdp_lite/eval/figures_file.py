"""The file with every figure of a benchmark, from which a run can be resumed."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mdp_lite.cli.console import Console
from mdp_lite.eval.inversions import Sections
from mdp_lite.files import atomic
from mdp_lite.names import BadInput, CannotWrite
from mdp_lite.pipeline.provenance import Settings


def read_figures(path: Path | None, settings: Settings) -> dict[str, Sections]:
    """The figures of an earlier run; {} if there is no file.

    Raises BadInput for a file without figures, or with those of other settings.
    """
    if path is None or not path.exists():
        return {}
    try:
        data = json.loads(path.read_text("utf-8"))
        old, figures = dict(data["settings"]), dict(data["figures"])
    except (ValueError, KeyError, TypeError, OSError):
        raise BadInput(f"output must hold figures of a benchmark, {path.name} has none") from None
    for key, value in settings.items():
        if old.get(key) != value:
            got = f"{key} {old.get(key)!r} there, {value!r} here"
            raise BadInput(f"{path.name} has figures of another run ({got}): give another output")
    return _exchange(figures, None, math.nan)


def write_figures(path: Path | None, head: Settings, figures: dict[str, Sections]) -> None:
    """Write the head, which holds the settings, and the figures; nothing without a path."""
    if path is not None:
        data = {**head, "figures": _exchange(figures, math.nan, None)}
        atomic.write(path, (to_json(data) + "\n").encode())


def try_to_write(write: Callable[[], None], console: Console) -> bool:
    """Write, or say why that failed: the figures of hours are worth more than their file."""
    try:
        write()
    except CannotWrite as error:
        console.log(str(error))
        return False
    return True


def to_json(data: Any, indent: str = "") -> str:
    """JSON with a line for each list and each innermost object."""
    if not isinstance(data, dict) or not any(isinstance(v, dict | list) for v in data.values()):
        return json.dumps(data, allow_nan=False)
    deeper = indent + " "
    parts = [f"{deeper}{json.dumps(key)}: {to_json(v, deeper)}" for key, v in data.items()]
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}"


def _exchange(data: Any, old: float | None, new: float | None) -> Any:
    """Replace every NaN by None, or every None by NaN: JSON has null but no NaN."""
    if isinstance(data, dict):
        return {key: _exchange(value, old, new) for key, value in data.items()}
    if isinstance(data, list):
        return [_exchange(value, old, new) for value in data]
    match = data is None if old is None else isinstance(data, float) and math.isnan(data)
    return new if match else data
