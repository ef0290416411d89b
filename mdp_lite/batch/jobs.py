"""Jobs: where the rows come from. A folder, a glob, one picture, or a table of rows."""

import csv
import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mdp_lite.batch.cells import READERS
from mdp_lite.batch.rows import Raw

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class Job(NamedTuple):
    """The rows of a job; their files are named relative to base."""

    base: Path
    rows: list[Raw]


def read_job(place: str, out: Path) -> Job:
    """All rows; of a job that is no job at all one sentence says why."""
    path = Path(place)
    if path.is_dir():
        _check_apart(path, out)
        return _pictures(path, (Path(root) / name for root, _, names in os.walk(path)
                                for name in names), out, place)  # fmt: skip
    if path.suffix.lower() in PICTURES and path.is_file():
        return Job(path.parent, [Raw(1, {"image": path.name})])
    if path.suffix.lower() in TABLES and path.is_file():
        return Job(path.parent, _rows(path))
    if glob.has_magic(place):
        base = _fixed(path)
        _check_apart(base, out)
        return _pictures(base, map(Path, glob.iglob(place, recursive=True)), out, place)
    found = "another file" if path.exists() else "no such file"
    want = f"a folder, a glob, a picture, or a table ({', '.join(TABLES)})"
    raise ValueError(f"job must be {want}, got {found}: {place!r}")


def _pictures(base: Path, found: Iterable[Path], out: Path, place: str) -> Job:
    """The pictures among the files found, in order; not what an earlier run wrote below base."""
    names = [
        path.relative_to(base).as_posix()
        for path in found
        if path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()
    ]
    own = Path(os.path.relpath(out, base)).as_posix() + "/"
    names = sorted(name for name in names if not name.startswith(own))
    if not names:
        want = f"at least one picture ({', '.join(PICTURES)})"
        raise ValueError(f"job must have {want}, got none in {place!r}")
    return Job(base, [Raw(i, {"image": name}) for i, name in enumerate(names, 1)])


def _check_apart(base: Path, out: Path) -> None:
    if base.resolve() == out.resolve():
        raise ValueError(f"output must be another folder than the pictures', got {str(out)!r}")


def _fixed(path: Path) -> Path:
    """The folders of a glob before its first wildcard."""
    parts = path.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def _rows(path: Path) -> list[Raw]:
    """The rows of a table, which must have some."""
    try:
        rows = list(TABLES[path.suffix.lower()](path))
    except OSError as error:
        raise ValueError(f"{path.name} can't be read: {error.strerror or error}") from None
    if not rows:
        raise ValueError(f"job must have at least one row, got none in {path.name!r}")
    return rows


def _csv(path: Path) -> Iterator[Raw]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, restkey="more than the header has")
            _check_columns(path, table.fieldnames or [])
            for number, values in enumerate(table, 1):
                yield Raw(number, values)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name} must be CSV in UTF-8, got {error}") from None


def _jsonl(path: Path) -> Iterator[Raw]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _object(number, line)


def _object(number: int, line: bytes) -> Raw:
    """A line of JSON; one that is no object is a row with a problem."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict):
        return Raw(number, values)
    shown = line[:80].decode("utf-8", "replace").strip()
    return Raw(number, {}, f"a line must be a JSON object, got {shown!r}")


def _parquet(path: Path) -> Iterator[Raw]:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        more = "pip install 'mdp-lite[ray]', or give a .csv or .jsonl"
        raise ValueError(f"a .parquet job needs pyarrow: {more}") from None
    try:
        table = parquet.ParquetFile(path)
        _check_columns(path, table.schema_arrow.names)
        rows = [values for part in table.iter_batches() for values in part.to_pylist()]
    except pyarrow.ArrowException as error:
        raise ValueError(f"{path.name} is no readable Parquet file ({error})") from None
    yield from (Raw(number, values) for number, values in enumerate(rows, 1))


def _check_columns(path: Path, names: Iterable[str]) -> None:
    """The header of a table: each column known, each once."""
    listed = list(names)
    odd = [name for name in listed if name not in READERS or listed.count(name) > 1]
    if odd or not listed:
        got, want = repr(odd[0]) if odd else "none", f"columns of {', '.join(READERS)}, each once"
        raise ValueError(f"{path.name} must have {want}, got {got}")


TABLES: dict[str, Callable[[Path], Iterator[Raw]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
