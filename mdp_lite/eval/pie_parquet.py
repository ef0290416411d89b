"""PIE-Bench++ (Huang et al. 2024, ParallelEdits): reading the Parquet files of its hub repository.

The folder has one folder for each kind of edit, such as 1_change_object_80, with V1-*.parquet in
it; a row holds its picture. Needs pyarrow. Nothing of the benchmark is part of this package.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdp_lite.names import BadInput, MissingExtra

FILES = "*/*.parquet"
COLUMNS = ("image", "id", "source_prompt", "target_prompt", "mask")
SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg"}  # of pictures, by their first bytes
Item = dict[str, Any]


def list_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder in the order of their kinds; [] if it has none."""
    return sorted(folder.glob(FILES))


def read_items(files: list[Path]) -> Iterator[tuple[str, Item]]:
    """The id of each edit, and the entry that mapping_file.json would have for it.

    "data" holds the picture's file. Raises BadInput, and MissingExtra without pyarrow.
    """
    for file in files:
        for row in _read_rows(file):
            yield convert_row(file.parent.name, row)


def convert_row(kind: str, row: Item) -> tuple[str, Item]:
    """A row of the folder of a kind, as an id and an entry of PIE-Bench's mapping file."""
    missing = [name for name in COLUMNS if row.get(name) is None]
    if missing:
        raise BadInput(f"{kind}: edit {row.get('id')} must have {', '.join(COLUMNS)}, "
                       f"no {missing[0]}")  # fmt: skip
    key, data = str(row["id"]), row["image"].get("bytes")
    if not isinstance(data, bytes) or not re.fullmatch(r"\w+", key):
        raise BadInput(f"{kind}: edit {key!r} must have an id of letters and a picture's bytes")
    suffix = next((s for start, s in SUFFIXES.items() if data.startswith(start)), ".png")
    runs = str(row["mask"]).split()
    return key, {
        "image_path": f"{kind}/{key}{suffix}",
        "original_prompt": row["source_prompt"],
        "editing_prompt": row["target_prompt"],
        "editing_type_id": kind.split("_")[0],
        "blended_word": " ".join(re.findall(r"\w+", str(row.get("blended_words") or ""))),
        "mask": [int(run) for run in runs] if all(run.isdecimal() for run in runs) else runs,
        "data": data,
    }


def _read_rows(file: Path) -> Iterator[Item]:
    """The rows of a file, a few at a time."""
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtra("PIE-Bench++ needs pyarrow: pip install 'mdp-lite[eval]'") from None
    try:
        for part in parquet.ParquetFile(file).iter_batches(16):
            yield from part.to_pylist()
    except pyarrow.ArrowException as error:
        raise BadInput(f"{file.name} is no readable Parquet file ({error})") from None
