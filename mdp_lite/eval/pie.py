"""PIE-Bench (Ju et al. 2023, arXiv 2310.01506): reading its folder, with all its quirks.

The folder has mapping_file.json and annotation_images/, or it is that of PIE-Bench++ (see
pie_parquet). Results go to METHOD/annotation_images/ under the same names. Nothing
of the benchmark is part of this package.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mdp_lite.eval.pie_parquet import FILES, list_files, read_items
from mdp_lite.names import BadInput
from mdp_lite.pictures.images import load_picture

SIDE = 512  # pixels of its pictures and masks
MAPPING, PICTURES = "mapping_file.json", "annotation_images"
TYPES = (
    "random", "change object", "add object", "delete object", "change content", "change pose",
    "change colour", "change material", "change background", "change style",
)  # fmt: skip
KEYS = ("image_path", "original_prompt", "editing_prompt", "editing_type_id", "mask")


class PieEdit(NamedTuple):
    """One edit: its picture's path below annotation_images, prompts without marks, its mask.

    mask (512, 512) is true where the picture may change. It serves evaluation only; no method reads
    it.
    """

    key: str
    picture: str
    source: str
    target: str
    instruction: str
    type: int
    blended: tuple[str, ...]  # the words that change, of the source and of the target
    mask: NDArray[np.bool_]
    data: bytes | None = None  # the picture's file, if it does not lie in a folder


def read_edits(folder: Path) -> list[PieEdit]:
    """All edits of a folder, in the order of its mapping file or rows. Raises BadInput."""
    file, files = folder / MAPPING, list_files(folder)
    if files and not file.exists():
        return [parse_edit(key, item) for key, item in read_items(files)]
    try:
        data = json.loads(file.read_text("utf-8"))
    except OSError:
        want = f"a folder with {MAPPING}, or of PIE-Bench++ with {FILES}"
        raise BadInput(f"data must be {want}, got {folder.name}") from None
    except ValueError as error:
        raise BadInput(f"{MAPPING} must be JSON, got {error}") from None
    if not isinstance(data, dict) or not data:
        raise BadInput(f"{MAPPING} must be an object of edits by their ids, got none")
    return [parse_edit(key, item) for key, item in data.items()]


def open_source(folder: Path, edit: PieEdit) -> Image.Image:
    """The picture of an edit, from its folder or from its row."""
    return load_picture(edit.data if edit.data is not None else folder / PICTURES / edit.picture)


def parse_edit(key: str, item: Any) -> PieEdit:
    """One entry of the mapping file."""
    missing = [name for name in KEYS if not isinstance(item, dict) or name not in item]
    if missing:
        raise BadInput(f"{MAPPING}: edit {key} must have {', '.join(KEYS)}, no {missing[0]}")
    path = Path(str(item["image_path"]))
    if path.is_absolute() or ".." in path.parts:
        raise BadInput(f"{MAPPING}: image_path of {key} must lie below {PICTURES}, got {path}")
    number = str(item["editing_type_id"])
    if number not in map(str, range(len(TYPES))):
        raise BadInput(f"{MAPPING}: editing_type_id of {key} must be 0 to 9, got {number!r}")
    return PieEdit(
        key, str(path), strip_marks(item["original_prompt"]), strip_marks(item["editing_prompt"]),
        item.get("editing_instruction", ""), int(number),
        tuple(item.get("blended_word", "").split()), decode_mask(key, item["mask"]),
        item.get("data"),
    )  # fmt: skip


def strip_marks(prompt: str) -> str:
    """A prompt without the brackets that mark its changes; blanks stay as they are."""
    return prompt.replace("[", "").replace("]", "")


def decode_mask(key: str, runs: list[int]) -> NDArray[np.bool_]:
    """The mask of pairs (start, length) of pixels, row by row; the rim always belongs to it."""
    whole = isinstance(runs, list) and all(type(n) is int and n >= 0 for n in runs)
    if not whole or len(runs) % 2:
        raise BadInput(f"{MAPPING}: mask of {key} must be pairs of start and length")
    mask = np.zeros(SIDE * SIDE, np.bool_)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask[start : start + length] = True
    mask = mask.reshape(SIDE, SIDE)
    mask[[0, -1]] = mask[:, [0, -1]] = True  # as the authors do, against errors of annotation there
    return mask
