"""PIE-Bench (Ju et al. 2023, arXiv 2310.01506) in its own layout, with its own quirks.

A folder has mapping_file.json and annotation_images/; methods write DEFAULT_METHOD/annotation_images/ with
the same names beside each other. Nothing of the benchmark is part of this package.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 512  # pixels of its pictures and masks
MAPPING, PICTURES = "mapping_file.json", "annotation_images"
TYPES = (
    "random", "change object", "add object", "delete object", "change content", "change pose",
    "change colour", "change material", "change background", "change style",
)  # fmt: skip
KEYS = ("image_path", "original_prompt", "editing_prompt", "editing_type_id", "mask")


class Record(NamedTuple):
    """One edit: where its picture is below annotation_images, prompts without marks, its mask.

    mask (512, 512) is where the edit belongs. It is for evaluation alone: no method is shown it.
    """

    key: str
    picture: str
    source: str
    target: str
    instruction: str
    type: int
    blended: tuple[str, ...]  # the words in question, of the source and of the target
    mask: NDArray[np.bool_]


def records(folder: Path) -> list[Record]:
    """All edits of a folder, in the order of its mapping file."""
    file = folder / MAPPING
    try:
        data = json.loads(file.read_text("utf-8"))
    except OSError:
        raise ValueError(f"data must be a folder with {MAPPING}, got {folder.name}") from None
    except ValueError as error:
        raise ValueError(f"{MAPPING} must be JSON, got {error}") from None
    if not isinstance(data, dict) or not data:
        raise ValueError(f"{MAPPING} must be an object of edits by their ids, got none")
    return [record(key, item) for key, item in data.items()]


def record(key: str, item: Any) -> Record:
    """One entry of the mapping file."""
    missing = [name for name in KEYS if not isinstance(item, dict) or name not in item]
    if missing:
        raise ValueError(f"{MAPPING}: edit {key} must have {', '.join(KEYS)}, no {missing[0]}")
    path = Path(str(item["image_path"]))
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{MAPPING}: image_path of {key} must lie below {PICTURES}, got {path}")
    number = str(item["editing_type_id"])
    if number not in map(str, range(len(TYPES))):
        raise ValueError(f"{MAPPING}: editing_type_id of {key} must be 0 to 9, got {number!r}")
    return Record(
        key, str(path), unmarked(item["original_prompt"]), unmarked(item["editing_prompt"]),
        item.get("editing_instruction", ""), int(number),
        tuple(item.get("blended_word", "").split()), decoded(key, item["mask"]),
    )  # fmt: skip


def unmarked(prompt: str) -> str:
    """A prompt without the brackets around what changes; blanks stay as they are."""
    return prompt.replace("[", "").replace("]", "")


def decoded(key: str, runs: list[int]) -> NDArray[np.bool_]:
    """The mask of pairs start, length over rows of 512, cut at the end; the rim always belongs."""
    whole = isinstance(runs, list) and all(type(n) is int and n >= 0 for n in runs)
    if not whole or len(runs) % 2:
        raise ValueError(f"{MAPPING}: mask of {key} must be pairs of start and length")
    mask = np.zeros(SIDE * SIDE, np.bool_)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask[start : start + length] = True
    mask = mask.reshape(SIDE, SIDE)
    mask[[0, -1]] = mask[:, [0, -1]] = True  # their remedy for errors of annotation at the edge
    return mask
