"""Cells of a job's rows, as a table has them in text or in types of its own."""

from collections.abc import Callable
from typing import Any

Values = dict[str, Any]

MOST = 1e300  # JSON has whole numbers that no float holds


def read(values: Values) -> Values:
    """Cells as what they stand for; empty ones are left out."""
    given = {}
    for name, value in values.items():
        if name not in READERS:
            raise ValueError(f"a row's columns are {', '.join(READERS)}, got {name!r}")
        if value is not None and value != "":
            given[name] = READERS[name](name, value)
    return given


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, got {value!r:.80}")
    return value


def _texts(name: str, value: Any) -> list[str]:
    """A list, or a text of several with | between."""
    listed = [part.strip() for part in value.split("|")] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise ValueError(f"{name} must be a list of texts, got {value!r:.80}")
    return listed


def _whole(name: str, value: Any) -> int:
    found = _parsed(int, value)
    if isinstance(found, bool) or not isinstance(found, int):
        raise ValueError(f"{name} must be a whole number, got {value!r:.80}")
    return found


def _number(name: str, value: Any) -> float:
    found = _parsed(float, value)
    if isinstance(found, bool) or not isinstance(found, int | float) or abs(found) > MOST:
        raise ValueError(f"{name} must be a number, got {value!r:.80}")
    return float(found)


def _flag(name: str, value: Any) -> bool:
    known = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    found = known.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(found, bool):
        raise ValueError(f"{name} must be true or false, got {value!r:.80}")
    return found


def _box(name: str, value: Any) -> tuple[int, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 4:
        raise ValueError(f"{name} must be X0,Y0,X1,Y1 in pixels, got {value!r:.80}")
    return tuple(_whole(name, part) for part in parts)


def _parsed(kind: Callable[[str], Any], value: Any) -> Any:
    """A text as what it says, if it does; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return kind(value)
    except ValueError:
        return None


READERS: dict[str, Callable[[str, Any], Any]] = {
    "image": _text, "source_prompt": _text, "seed": _whole, "prompt": _text, "prompts": _texts,
    "name": _text, "steps": _whole, "guidance_scale": _number, "negative_prompt": _text,
    "width": _whole, "height": _whole, "fit": _text, "method": _text, "inversion_steps": _whole,
    "iterations": _whole, "inner_steps": _whole, "early_stop": _number, "inversion_seed": _whole,
    "variant": _text, "t_max": _number, "t_m": _number, "schedule": _text, "strength": _number,
    "proximal": _number, "mask": _text, "box": _box, "auto_mask": _flag, "feather": _whole,
    "paste": _flag,
}  # fmt: skip
