"""Jobs: a folder or a glob of pictures, one picture, or a table; each gives a list of entries."""

import csv
import glob
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mdp_lite.batch.columns import READERS, describe_unknown
from mdp_lite.batch.entries import RawEntry
from mdp_lite.batch.listing import Listing, is_picture_file, list_folder, list_glob
from mdp_lite.cli.streams import check_open
from mdp_lite.names import BadInput, MissingExtra

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class BatchJob(NamedTuple):
    """The entries of a job; their files are named relative to base."""

    base: Path
    entries: list[RawEntry]


def read_job(location: str, out: Path) -> BatchJob:
    """Read all entries of a job. Raises BadInput for a location that holds no job."""
    path = Path(location)
    if location == "-" or path.is_fifo():
        return BatchJob(Path(), _read_pipe(path))
    if path.is_dir():
        _check_apart(path, out)
        return _list_pictures(path, list_folder(path), out, location)
    if path.suffix.lower() in PICTURES and path.is_file():
        return BatchJob(path.parent, [RawEntry(1, {"image": path.name})])
    if path.suffix.lower() in TABLES and path.is_file():
        return BatchJob(path.parent, _read_table(path))
    if glob.has_magic(location):
        base = _glob_base(path)
        _check_apart(base, out)
        return _list_pictures(base, list_glob(location, base), out, location)
    got = "another file" if path.exists() else "no such file"
    want = f"a folder, a glob, a picture, a table ({', '.join(TABLES)}), or - for JSON lines"
    raise BadInput(f"job must be {want}, got {got}: {location!r}")


def _read_pipe(path: Path) -> list[RawEntry]:
    """The entries of JSON lines that come through a pipe; - is stdin."""
    if str(path) == "-":
        check_open(sys.stdin, "job - reads JSON lines on stdin")
    if str(path) != "-":
        entries = list(_read_jsonl(path))
    elif sys.stdin.isatty():
        raise BadInput("job - reads JSON lines on stdin, got a terminal")
    else:
        entries = list(_read_lines(sys.stdin.buffer))
    if not entries:
        raise BadInput(f"job must have at least one row, got none in {str(path)!r}")
    return entries


def _list_pictures(base: Path, found: Listing, out: Path, location: str) -> BatchJob:
    """The pictures among the files, sorted, without those that an earlier run wrote below base.

    A folder that can't be listed is a row that fails. Raises BadInput if that is base itself.
    """
    if base in found.unreadable:
        got = f"{found.unreadable[base]!r} for {str(base)!r}"
        raise BadInput(f"job must be a folder that can be listed, got {got}")
    own = Path(os.path.relpath(out, base)).as_posix() + "/"
    pictures = [path for path in found.files if _is_picture(path)]
    names = {path.relative_to(base).as_posix(): path for path in (*pictures, *found.unreadable)}
    rows = []
    for name in sorted(name for name in names if not (name + "/").startswith(own)):
        why = found.unreadable.get(names[name])
        problem = f"a folder must be one that can be listed, got {why!r} for {name!r}"
        rows.append(RawEntry(len(rows) + 1, {"image": name}, problem if why else None))
    if not rows:
        want = f"at least one picture ({', '.join(PICTURES)})"
        raise BadInput(f"job must have {want}, got none in {location!r}")
    return BatchJob(base, rows)


def _is_picture(path: Path) -> bool:
    named = path.suffix.lower() in PICTURES and not path.name.startswith(".")
    return named and is_picture_file(path)


def _check_apart(base: Path, out: Path) -> None:
    if base.resolve() == out.resolve():
        raise BadInput(f"output must be another folder than the pictures', got {str(out)!r}")


def _glob_base(path: Path) -> Path:
    """The folders of a glob before its first wildcard."""
    parts = path.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])


def _read_table(path: Path) -> list[RawEntry]:
    """The entries of a table. Raises BadInput if it has none or can't be read."""
    try:
        entries = list(TABLES[path.suffix.lower()](path))
    except OSError as error:
        raise BadInput(f"{path.name} can't be read: {error.strerror or error}") from None
    if not entries:
        raise BadInput(f"job must have at least one row, got none in {path.name!r}")
    return entries


def _read_csv(path: Path) -> Iterator[RawEntry]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, restkey="more than the header has")
            _check_columns(path, table.fieldnames or [])
            for number, values in enumerate(table, 1):  # CSV writes nothing as an empty text
                yield RawEntry(number, {name: cell or None for name, cell in values.items()})
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path.name} must be CSV in UTF-8, got {error}") from None


def _read_jsonl(path: Path) -> Iterator[RawEntry]:
    with path.open("rb") as file:
        yield from _read_lines(file)


def _read_lines(file: Iterable[bytes]) -> Iterator[RawEntry]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield _read_line(number, line)


def _read_line(number: int, line: bytes) -> RawEntry:
    """Read a line of JSON; a line that is not a JSON object becomes an entry with a problem."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    if isinstance(values, dict):
        return RawEntry(number, values)
    shown = line[:80].decode("utf-8", "replace").strip()
    return RawEntry(number, {}, f"a line must be a JSON object, got {shown!r}")


def _read_parquet(path: Path) -> Iterator[RawEntry]:
    try:
        import pyarrow  # pyright: ignore[reportMissingImports]
        from pyarrow import parquet  # pyright: ignore[reportMissingImports]
    except ImportError:
        more = "pip install 'mdp-lite[ray]', or give a .csv or .jsonl"
        raise MissingExtra(f"a .parquet job needs pyarrow: {more}") from None
    try:
        table = parquet.ParquetFile(path)
        _check_columns(path, table.schema_arrow.names)
        entries = [values for part in table.iter_batches() for values in part.to_pylist()]
    except pyarrow.ArrowException as error:
        raise BadInput(f"{path.name} is no readable Parquet file ({error})") from None
    yield from (RawEntry(number, values) for number, values in enumerate(entries, 1))


def _check_columns(path: Path, names: Iterable[str]) -> None:
    """Check the header of a table: only columns that exist, each once."""
    columns = list(names)
    for name in columns:
        if name not in READERS:
            raise BadInput(f"{path.name}: {describe_unknown(name)}")
        if columns.count(name) > 1:
            raise BadInput(f"{path.name} must have each column once, got {name!r} twice or more")
    if not columns:
        raise BadInput(f"{path.name} must have columns among {', '.join(READERS)}, got none")


TABLES: dict[str, Callable[[Path], Iterator[RawEntry]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
