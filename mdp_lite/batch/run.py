"""Running a batch: from the entries of its job to the records of its manifest."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from mdp_lite.batch.columns import EntryValues
from mdp_lite.batch.entries import BatchUnit, Entry, RawEntry, group_by_source, read_entry
from mdp_lite.batch.manifest import ManifestRecord, OpenManifest, RecordedSizes
from mdp_lite.batch.work import EXISTING, FAILED, FAILED_BEFORE, RECOVERED, WRITTEN, Outcome
from mdp_lite.cli.console import Console

OnProgress = Callable[[int, int], None]  # how many are done, and of how many

MAX_LOGGED_ERRORS = 5  # the manifest has all of them
LOG_SECONDS = 60.0  # between two lines of progress if no bar is shown


class BatchPlan(NamedTuple):
    """What there is to do, and the entries that can't be read, each with the reason."""

    units: list[BatchUnit]
    bad: list[tuple[RawEntry, str]]

    @property
    def edits(self) -> int:
        """The number of edits that are asked for; an entry that can't be read counts as one."""
        return sum(len(unit.edits) for unit in self.units) + len(self.bad)


def plan_batch(raws: Iterable[RawEntry], defaults: EntryValues) -> BatchPlan:
    """Read all entries and group them by source."""
    good: list[Entry] = []
    bad: list[tuple[RawEntry, str]] = []
    for raw in raws:
        try:
            good.append(read_entry(raw, defaults))
        except ValueError as error:
            bad.append((raw, str(error)))
    return BatchPlan(group_by_source(good), bad)


def reject_bad(plan: BatchPlan, sizes: RecordedSizes, retry: bool) -> list[Outcome]:
    """Records of the entries that can't be read; an entry that is changed gets another key."""
    outcomes = []
    for raw, why in plan.bad:
        content = json.dumps([raw.number, raw.values, why], sort_keys=True, default=str)
        key = hashlib.sha256(content.encode()).hexdigest()
        record = {"key": key, "status": "error", "row": raw.number, "error": why}
        again = key in sizes and not retry
        outcomes.append(Outcome(FAILED_BEFORE) if again else Outcome(FAILED, record))
    return outcomes


def record_outcomes(
    plan: BatchPlan, results: Iterable[list[Outcome]], manifest: OpenManifest, retry: bool,
    console: Console,
) -> Counter[str]:  # fmt: skip
    """Write records to the manifest as results arrive; count the edits by outcome.

    The count of "UNet rows" is the cost of the new records.
    """
    counts: Counter[str] = Counter()
    with console.progress("batch") as on_step:
        on_step = on_step or log_progress(console.log)
        for outcomes in chain([reject_bad(plan, manifest.sizes, retry)], results):
            records = list(_select_new(outcomes, manifest.sizes))
            manifest.append(records)
            counts.update(one.status for one in outcomes)
            counts["UNet rows"] += sum(
                one.get("unet_rows", 0) + one.get("source_rows", 0) for one in records
            )
            _log_errors(records, counts, console)
            done = counts[WRITTEN] + counts[FAILED]
            skipped = counts[EXISTING] + counts[RECOVERED] + counts[FAILED_BEFORE]
            on_step(done, plan.edits - skipped)
    return counts


def log_progress(log: Callable[[str], None], every: float = LOG_SECONDS) -> OnProgress:
    """Progress for a log file: a line every so many seconds, with the rate and the time left."""
    started = last = time.monotonic()

    def on_step(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if done and now - last >= every:
            last = now
            rate = done / (now - started)
            left = format_duration((total - done) / rate)
            log(f"{done:,} of {total:,} edits, {rate:.3g} a second, {left} left")

    return on_step


def format_duration(seconds: float) -> str:
    """8 -> 8 s; 720 -> 12 min; 12240 -> 3.4 h; 181440 -> 2.1 days."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{0 if unit == 'min' else 1}f} {unit}"
    return f"{seconds:.0f} s"


def _select_new(outcomes: list[Outcome], sizes: RecordedSizes) -> Iterator[ManifestRecord]:
    """Records that the manifest does not have yet: after a lost worker, one may arrive twice."""
    for one in outcomes:
        if one.record is not None:
            again = one.status == RECOVERED and sizes.get(one.record["key"]) == one.record["bytes"]
            if not again:
                yield one.record


def _log_errors(records: list[ManifestRecord], counts: Counter[str], console: Console) -> None:
    """Log the first errors of a batch; the bar shows how many there are."""
    for one in records:
        if one["status"] == "error":
            counts["logged"] += 1
            if counts["logged"] <= MAX_LOGGED_ERRORS:
                console.log(f"row {one['row']}: {one['error']}")
            elif counts["logged"] == MAX_LOGGED_ERRORS + 1:
                console.log("more rows failed: the manifest says why")
    if counts[FAILED]:
        console.status(f"{counts[FAILED]} failed")
