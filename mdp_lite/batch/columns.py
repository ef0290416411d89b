"""The columns of a job, and how the cells of each are read, from text or from typed values."""

from collections.abc import Callable
from typing import Any

from mdp_lite.cli.values import find_near
from mdp_lite.cli.xl import PAIRS, read_pair
from mdp_lite.names import BadInput

EntryValues = dict[str, Any]  # by column

FILES = ("image", "mask")
MAX_NUMBER = 1e300  # JSON has whole numbers that no float holds


def read_values(cells: EntryValues) -> EntryValues:
    """Convert the cells of one entry; None and most empty texts are left out. Raises BadInput.

    An empty text is no file: it would be the folder itself.
    """
    values = {}
    for name, cell in cells.items():
        if name not in READERS:
            raise BadInput(describe_unknown(name))
        if cell is not None and (cell != "" or name in FILES):
            values[name] = READERS[name](name, cell)
    return values


def describe_unknown(name: str) -> str:
    """That there is no such column, and which one is near; all of them come last."""
    near = find_near(name, READERS)
    hint = f", did you mean {near}?" if near else ","
    return f"unknown column: got {name!r:.80}{hint} columns must be among {', '.join(READERS)}"


def _read_text(name: str, cell: Any) -> str:
    if not isinstance(cell, str):
        raise BadInput(f"{name} must be a text, got {cell!r:.80}")
    return cell


def _read_file(name: str, cell: Any) -> str:
    file = _read_text(name, cell)
    if not file:
        raise BadInput(f"{name} must not be empty, got '' (null leaves it out)")
    return file


def _read_texts(name: str, cell: Any) -> list[str]:
    """Read a list, or one text in which | separates the entries."""
    texts = [part.strip() for part in cell.split("|")] if isinstance(cell, str) else cell
    if not isinstance(texts, list) or not all(isinstance(one, str) for one in texts):
        raise BadInput(f"{name} must be a list of texts, got {cell!r:.80}")
    return texts


def _read_whole(name: str, cell: Any) -> int:
    number = _parse(int, cell)
    if isinstance(number, bool) or not isinstance(number, int):
        raise BadInput(f"{name} must be a whole number, got {cell!r:.80}")
    return number


def _read_number(name: str, cell: Any) -> float:
    number = _parse(float, cell)
    bad = isinstance(number, bool) or not isinstance(number, int | float)
    if bad or abs(number) > MAX_NUMBER:
        raise BadInput(f"{name} must be a number, got {cell!r:.80}")
    return float(number)


def _read_flag(name: str, cell: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    flag = words.get(cell.strip().lower()) if isinstance(cell, str) else cell
    if not isinstance(flag, bool):
        raise BadInput(f"{name} must be true or false, got {cell!r:.80}")
    return flag


def _read_box(name: str, cell: Any) -> tuple[int, ...]:
    parts = cell.split(",") if isinstance(cell, str) else cell
    if not isinstance(parts, list | tuple) or len(parts) != 4:
        raise BadInput(f"{name} must be X0,Y0,X1,Y1 in pixels, got {cell!r:.80}")
    return tuple(_read_whole(name, part) for part in parts)


def _parse(kind: Callable[[str], Any], cell: Any) -> Any:
    """Convert a text by kind, or return None if that fails; return anything else as it is."""
    if not isinstance(cell, str):
        return cell
    try:
        return kind(cell)
    except ValueError:
        return None


READERS: dict[str, Callable[[str, Any], Any]] = {
    "image": _read_file, "source_prompt": _read_text, "seed": _read_whole, "prompt": _read_text,
    "prompts": _read_texts, "name": _read_text, "steps": _read_whole,
    "guidance_scale": _read_number, "negative_prompt": _read_text, "width": _read_whole,
    "height": _read_whole, "fit": _read_text, "method": _read_text,
    "inversion_steps": _read_whole, "iterations": _read_whole, "inner_steps": _read_whole,
    "early_stop": _read_number, "inversion_seed": _read_whole, "variant": _read_text,
    "t_max": _read_number, "t_m": _read_number, "schedule": _read_text, "strength": _read_number,
    "weight": _read_number,
    "proximal": _read_number, "mask": _read_file, "box": _read_box, "auto_mask": _read_flag,
    "record_noise": _read_flag, "guidance_every": _read_whole,
    "feather": _read_whole, "paste": _read_flag, "source_prompt_2": _read_text,
    "prompt_2": _read_text, "negative_prompt_2": _read_text, **dict.fromkeys(PAIRS, read_pair),
}  # fmt: skip
