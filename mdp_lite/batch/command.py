"""What `mdp-lite batch` does: many edits, each done once however often the command is run."""

import time
from argparse import Namespace
from collections import Counter
from pathlib import Path

from mdp_lite.batch import manifest
from mdp_lite.batch.cells import Values
from mdp_lite.batch.cluster import check_ray, streamed
from mdp_lite.batch.forecast import Forecast, forecast
from mdp_lite.batch.jobs import Job, read_job
from mdp_lite.batch.rows import SETTINGS, Raw, row_of
from mdp_lite.batch.run import Rows, duration, rows_of, run
from mdp_lite.batch.settings import check_settings
from mdp_lite.batch.work import (
    FAILED,
    FAILED_BEFORE,
    FOUND,
    MADE,
    THERE,
    Station,
    identity,
)
from mdp_lite.cli.console import Console
from mdp_lite.editor import Editor


def batch(args: Namespace, console: Console) -> Made:
    """Read the job, refuse what is wrong with all of it, then make what its manifest lacks."""
    started = time.monotonic()
    job, defaults = read_job(args.job, args.output), defaults_of(args)
    rows = rows_of(job.rows, defaults)
    manifest.check_folder(args.output)
    spread = _spread(args)
    args = Namespace(**vars(args) | {"engine": "auto" if spread else args.engine})
    driver = {"device": "cpu"} if spread and not args.dry_run else {}  # it edits nothing itself
    editor = opened(Namespace(**vars(args) | driver))
    _check_defaults(editor, defaults)
    for note in editor.models.notes:
        console.log(note)
    at = Station(editor, identity(editor), job.base, args.output, {}, args.retry_failed, args.rows)
    if args.dry_run:
        with console.progress("look") as on_step:
            known = manifest.read(args.output)
            return _foretold(job, rows, forecast(at._replace(known=known), rows, on_step))
    with manifest.opened(args.output) as book:
        at = at._replace(known=book.known)
        here = (resolve_inversion(at, unit) for unit in rows.units)
        engine = streamed(args, job.base, rows.units) if spread else here
        counts = run(rows, engine, book, args.retry_failed, console)
    return _told(job, rows, counts, time.monotonic() - started, args.output)


def defaults_of(args: Namespace) -> Values:
    """What the command line says for all rows, which may say otherwise."""
    given = {name: getattr(args, name) for name in SETTINGS}
    if given["mask"] is not None:
        given["mask"] = str(Path(given["mask"]).absolute())  # a row's is relative to the job
    named = {name: value for name, value in given.items() if value not in (None, "")}
    return named | {"prompts": args.prompt}


def _spread(args: Namespace) -> bool:
    """Whether a cluster is to do the work; what can be refused at once is."""
    for name, least in (("rows", 0), ("workers", 1), ("worker_cpus", 1)):
        if (value := getattr(args, name)) is not None and value < least:
            raise ValueError(f"{name.replace('_', '-')} must be {least} or more, got {value}")
    spread = args.engine == "ray"
    if not spread and args.workers is not None:
        raise ValueError(f"workers are for --engine ray, got {args.workers} without it")
    if spread:
        check_ray()
    return spread


def _check_defaults(editor: Editor, defaults: Values) -> None:
    """Settings that are wrong for every row are the command's error, not the rows'."""
    for source in ({"image": "-"}, {"source_prompt": "-"}):
        row = row_of(Raw(0, {**source, "prompt": "-"}), defaults)
        check_settings(editor, row.start, row.targets[0])


def _foretold(job: Job, rows: Rows, found: Forecast) -> Made:
    data = {
        "command": "batch",
        "dry_run": True,
        "rows": len(job.rows),
        "asked": rows.edits,
        **found._asdict(),
        "seconds": round(found.seconds, 3),
    }
    lines = [
        f"{rows.edits:,} edits of {len(job.rows):,} rows: {found.edits:,} to make, "
        f"{found.there:,} there, {_failures(found.bad, found.failed_before)}",
        f"at most {found.unet_rows:,} UNet rows for {found.sources:,} sources and their edits, "
        f"about {duration(found.seconds)} at the speed of a few calls on this machine",
    ]
    return Made({}, data, lines)


def _told(job: Job, rows: Rows, counts: Counter[str], seconds: float, out: Path) -> Made:
    there = counts[THERE] + counts[FOUND]
    data = {
        "command": "batch",
        "dry_run": False,
        "rows": len(job.rows),
        "asked": rows.edits,
        "made": counts[MADE],
        "there": there,
        "failed": counts[FAILED],
        "failed_before": counts[FAILED_BEFORE],
        "unet_rows": counts["UNet rows"],
        "manifest": str(out / manifest.NAME),
        "seconds": round(seconds, 3),
    }
    lines = [
        f"{rows.edits:,} edits of {len(job.rows):,} rows: {counts[MADE]:,} made, {there:,} there, "
        f"{_failures(counts[FAILED], counts[FAILED_BEFORE])}",
        f"cost: {counts['UNet rows']:,} UNet rows in {duration(seconds)}",
        f"every edit has a line in {out / manifest.NAME}",
    ]
    failed = counts[FAILED] + counts[FAILED_BEFORE] > 0
    return Made({}, data, lines, failed=failed)


def _failures(now: int, before: int) -> str:
    old = f", {before:,} failed before (--retry-failed tries them again)" if before else ""
    return f"{now:,} bad{old}"
