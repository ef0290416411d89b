"""From the texts of a command line to values; what can't be read is a BadInput that names it."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mdp_lite.cli.fields import OptionField
from mdp_lite.names import BadInput

Pair = tuple[int, int]
Text = str | bool | list[str] | None  # what was written for an option
STDIN = STDOUT = "-"  # in the place of a file
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")  # of files that are written
MAX_SEED = 2**63 - 1
MAX_DIGITS = 20  # of each number of a pair
PROMPTS = ("PROMPT", "SOURCE", "TARGET", "TEXT")  # metavars of the texts that may be empty
NEAR = 0.7  # how alike two words must be, from 0 to 1, for one to be the other misspelt
MIN_PART = 3  # letters that stand for the word that they begin


def read_values(
    options: tuple[OptionField, ...], texts: Mapping[str, Text], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The values of all options: as written, by the environment, or the default."""
    values: dict[str, Any] = {}
    for one in options:
        text, label = texts.get(one.name), one.label
        if text is None and isinstance(one.info.envvar, str):
            text, label = environment.get(one.info.envvar) or None, one.info.envvar
        values[one.name] = one.default if text is None else read_field(one, text, label)
    return values


def read_field(one: OptionField, text: str | bool | list[str], label: str) -> Any:
    """The value of one option. Raises BadInput with its label, what it wants and what it got."""
    if isinstance(text, bool):
        return text
    if not one.several:
        return _read_one(one, text if isinstance(text, str) else text[-1], label)
    parts = [text] if isinstance(text, str) else text
    if one.commas:
        parts = [part.strip() for every in parts for part in every.split(",")]
    values = [_read_one(one, part, label) for part in parts]
    return tuple(dict.fromkeys(values) if one.commas else values)


def _read_one(one: OptionField, text: str, label: str) -> Any:
    try:
        if one.choices:
            return _read_choice(one.choices, text)
        if not text and one.info.metavar not in PROMPTS:  # Path("") would be the current folder
            raise ValueError("must not be empty, got ''")
        read: Callable[[str], Any] = one.info.parser or READERS[one.kind]
        value = read(text)
        _check_bounds(one, value)
    except ValueError as error:
        raise BadInput(f"{label} {error}") from None
    return value


def _read_choice(choices: tuple[str, ...], text: str) -> str:
    if text not in choices:
        near = find_near(text, choices)
        hint = f": did you mean {near}?" if near else ""
        raise ValueError(f"must be one of {', '.join(choices)}, got {text!r}{hint}")
    return text


def find_near(word: str, words: Iterable[str]) -> str | None:
    """The one of the words that was meant, if one is near; dashes before a word don't count."""
    names = {one.lstrip("-").replace("_", "-"): one for one in words}
    bare = word.lstrip("-").replace("_", "-")
    if len(bare) < 2:  # one letter is near to everything
        return None
    near = [name for name in names if len(bare) >= MIN_PART and name.startswith(bare)]
    near = near or get_close_matches(bare, names, 1, NEAR)
    return names[near[0]] if near else None


def _check_bounds(one: OptionField, value: Any) -> None:
    low, high = one.info.min, one.info.max
    if low is None and high is None:
        return
    below, above = low is not None and value < low, high is not None and value > high
    if below or above or not math.isfinite(value):
        raise ValueError(f"must be {describe_bounds(low, high)}, got {value}")


def describe_bounds(low: float | None, high: float | None) -> str:
    """The bounds of a number in words."""
    if low is None or high is None:
        return f"{low:g} or more" if low is not None else f"{high:g} or less"
    return f"from {low:g} to {'2^63 - 1' if high == MAX_SEED else f'{high:g}'}"


def _read_whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"must be a whole number, got {text!r}") from None


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"must be a number, got {text!r}") from None


READERS: dict[Any, Callable[[str], Any]] = {
    int: _read_whole,
    float: _read_number,
    str: str,
    Path: Path,
}


def list_missing(options: tuple[OptionField, ...], texts: Mapping[str, Text]) -> list[str]:
    """Those that must be given and are not."""
    return [one.label for one in options if one.default is MISSING and texts.get(one.name) is None]


def read_picture_path(text: str) -> Path:
    """The path of a picture that is written: its suffix is the format; - is stdout."""
    if text != STDOUT and Path(text).suffix.lower() not in PICTURE_SUFFIXES:
        want = f"must be a file name that ends in {', '.join(PICTURE_SUFFIXES)}, or -"
        raise ValueError(f"{want}, got {text!r}")
    return Path(text)


def read_page_path(text: str) -> Path:
    """The path of a picture beside the main one, which can't be stdout."""
    if Path(text).suffix.lower() not in PICTURE_SUFFIXES:
        want = f"must be a file name that ends in {', '.join(PICTURE_SUFFIXES)}"
        raise ValueError(f"{want}, got {text!r}")
    return Path(text)


def read_safetensors_path(text: str) -> Path:
    """The path of a .safetensors file."""
    return _read_path(text, ".safetensors")


def read_json_path(text: str) -> Path:
    """The path of a .json file."""
    return _read_path(text, ".json")


def _read_path(text: str, suffix: str) -> Path:
    if Path(text).suffix != suffix:
        raise ValueError(f"must end in {suffix}, got {text!r}")
    return Path(text)


def read_size(text: object) -> Pair:
    """WIDTHxHEIGHT as (height, width)."""
    width, height = _read_pair(text, "x", "WIDTHxHEIGHT such as 1024x768")
    return height, width


def read_corner(text: object) -> Pair:
    """X,Y as (top, left)."""
    x, y = _read_pair(text, ",", "X,Y such as 0,128")
    return y, x


def _read_pair(text: object, mark: str, want: str) -> Pair:
    first, found, second = text.partition(mark) if isinstance(text, str) else ("", "", "")
    short = max(len(first), len(second)) <= MAX_DIGITS  # int refuses thousands in other words
    if not (found and short and first.isdecimal() and second.isdecimal()):
        raise ValueError(f"must be {want}, got {text!r:.80}")
    return int(first), int(second)


def read_box(text: str) -> tuple[int, int, int, int]:
    """X0,Y0,X1,Y1 in pixels."""
    try:
        x0, y0, x1, y1 = map(int, text.split(","))
    except ValueError:
        raise ValueError(f"must be X0,Y0,X1,Y1 in pixels, got {text!r}") from None
    return x0, y0, x1, y1


def read_lora(text: str) -> tuple[str, float]:
    """FILE or FILE:STRENGTH; the strength is 1 by default."""
    file, colon, strength = text.rpartition(":")
    try:
        return (file, float(strength)) if colon and file else (text, 1.0)
    except ValueError:
        return text, 1.0


def read_embedding(text: str) -> tuple[str, str | None]:
    """FILE or FILE=WORD; without a word it is None."""
    file, equals, word = text.rpartition("=")
    return (file, word) if equals and file.endswith(".safetensors") else (text, None)


def read_quantile(text: str) -> float:
    """A quantile from 0 to below 1."""
    value = _read_number(text)
    if not 0 <= value < 1:
        raise ValueError(f"must be a quantile from 0 to below 1, got {text}")
    return value


def read_weight(text: str) -> float:
    """A weight: any finite number."""
    value = _read_number(text)
    if not math.isfinite(value):
        raise ValueError(f"must be a finite number, got {text}")
    return value


def read_gigabytes(text: str) -> float:
    """A size as 12, 12GB or 500 MB, in GB."""
    match = re.fullmatch(r"(.+?)\s*(GB|MB)?", text.strip(), re.IGNORECASE)
    assert match is not None  # no text is empty here
    value = _read_number(match[1])
    return value / 1000 if (match[2] or "").upper() == "MB" else value


def read_seconds(text: str) -> float:
    """A time above 0 seconds."""
    value = _read_number(text)
    if not 0 < value < math.inf:
        raise ValueError(f"must be above 0 seconds, got {text}")
    return value
