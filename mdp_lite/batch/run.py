"""A batch from its rows to its manifest: whatever engine makes the edits, records come out here."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from mdp_lite.batch.cells import Values
from mdp_lite.batch.manifest import Book, Known, Record
from mdp_lite.batch.rows import Raw, Row, Unit, row_of, units_of
from mdp_lite.batch.work import FAILED, FAILED_BEFORE, FOUND, MADE, THERE, Outcome
from mdp_lite.cli.console import Console

Progress = Callable[[int, int], None]  # how many are done, and of how many

TOLD = 5  # errors that are told as they happen; all are in the manifest
EVERY = 60.0  # seconds between two lines where no bar is shown


class Rows(NamedTuple):
    """A job that was read: what to work on, and the rows that are none, each with why."""

    units: list[Unit]
    bad: list[tuple[Raw, str]]

    @property
    def edits(self) -> int:
        """How many are asked for, as far as that can be told: one of a row that can't be read."""
        return sum(len(unit.wanted) for unit in self.units) + len(self.bad)


def rows_of(raws: Iterable[Raw], defaults: Values) -> Rows:
    """Rows that can be worked on, by their sources, and the others."""
    good: list[Row] = []
    bad: list[tuple[Raw, str]] = []
    for raw in raws:
        try:
            good.append(row_of(raw, defaults))
        except ValueError as error:
            bad.append((raw, str(error)))
    return Rows(units_of(good), bad)


def refused(rows: Rows, known: Known, retry: bool) -> list[Outcome]:
    """What is recorded of the rows that are none; a row that is changed is another one."""
    outcomes = []
    for raw, why in rows.bad:
        said = json.dumps([raw.number, raw.values, why], sort_keys=True, default=str)
        key = hashlib.sha256(said.encode()).hexdigest()
        record = {"key": key, "status": "error", "row": raw.number, "error": why}
        again = key in known and not retry
        outcomes.append(Outcome(FAILED_BEFORE) if again else Outcome(FAILED, record))
    return outcomes


def run(
    rows: Rows, engine: Iterable[list[Outcome]], book: Book, retry: bool, console: Console
) -> Counter[str]:
    """Records everything that an engine makes, as it comes; how many edits became what."""
    counts: Counter[str] = Counter()
    with console.progress("batch") as on_step:
        on_step = on_step or by_lines(console.log)
        for outcomes in chain([refused(rows, book.known, retry)], engine):
            records = list(_new(outcomes, book.known))
            book.append(records)
            counts.update(one.status for one in outcomes)
            counts["UNet rows"] += sum(
                one.get("unet_rows", 0) + one.get("source_rows", 0) for one in records
            )
            _tell(records, counts, console)
            done = counts[MADE] + counts[FAILED]
            on_step(done, rows.edits - counts[THERE] - counts[FOUND] - counts[FAILED_BEFORE])
    return counts


def by_lines(note: Callable[[str], None], every: float = EVERY) -> Progress:
    """A sentence now and then for who reads a log: how far it is, how fast, and what is left."""
    started = last = time.monotonic()

    def on_step(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done and now - last >= every:
            last = now
            rate = done / (now - started)
            left = duration((total - done) / rate)
            note(f"{done:,} of {total:,} edits, {rate:.3g} a second, {left} left")

    return on_step


def duration(seconds: float) -> str:
    """8 s; 12 min; 3.4 h; 2.1 days: what a person plans with."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{0 if unit == 'min' else 1}f} {unit}"
    return f"{seconds:.0f} s"


def _new(outcomes: list[Outcome], known: Known) -> Iterator[Record]:
    """Records that the manifest does not have: an engine that lost a worker may say one twice."""
    for one in outcomes:
        if one.record is not None:
            again = one.status == FOUND and known.get(one.record["key"]) == one.record["bytes"]
            if not again:
                yield one.record


def _tell(records: list[Record], counts: Counter[str], console: Console) -> None:
    for one in records:
        if one["status"] == "error":
            counts["told"] += 1
            if counts["told"] <= TOLD:
                console.log(f"row {one['row']}: {one['error']}")
            elif counts["told"] == TOLD + 1:
                console.log("more rows failed: the manifest says why")
    if counts[FAILED]:
        console.status(f"{counts[FAILED]} failed")
