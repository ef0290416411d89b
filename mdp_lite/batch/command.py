"""The command `mdp-lite batch`: many edits, each made once however often the command is run."""

import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

from mdp_lite.batch import manifest
from mdp_lite.batch.cluster import check_cluster, stream_outcomes
from mdp_lite.batch.columns import EntryValues
from mdp_lite.batch.entries import SETTINGS, XL_TEXTS, RawEntry, read_entry
from mdp_lite.batch.forecast import Forecast, forecast_batch, log_forecast
from mdp_lite.batch.jobs import BatchJob, read_job
from mdp_lite.batch.output import check_output
from mdp_lite.batch.run import BatchPlan, format_duration, plan_batch, record_outcomes
from mdp_lite.batch.settings import check_settings
from mdp_lite.batch.work import (
    EXISTING,
    FAILED,
    FAILED_BEFORE,
    RECOVERED,
    WRITTEN,
    BatchContext,
    identify_model,
    process_unit,
)
from mdp_lite.cli.commands.batch import BatchOptions
from mdp_lite.cli.console import Console
from mdp_lite.cli.early import check_schedule
from mdp_lite.cli.loading import open_editor
from mdp_lite.cli.memory import describe_memory, format_memory
from mdp_lite.cli.reports import Report
from mdp_lite.cli.sampling_options import choose_steps
from mdp_lite.cli.units import pluralize
from mdp_lite.editor import Editor
from mdp_lite.names import BadInput


def batch(args: BatchOptions, console: Console) -> Report:
    """Read the job, then make the edits that the manifest does not have.

    Raises BadInput for what is wrong with the whole job, before any work.
    """
    started = time.monotonic()
    job = read_job(args.job, args.output)
    plan = plan_batch(job.entries, read_defaults(args))
    check_output(args.output)
    on_cluster = _check_engine(args)
    if on_cluster:
        args = replace(args, engine=replace(args.engine, mode="auto"))
    model = args.model.for_driver(args.run.dry_run) if on_cluster else args.model
    editor = open_editor(model, args.engine, partial(check_schedule, args))
    args, plan = _apply_quality(args, job, plan, editor)
    _check_defaults(editor, read_defaults(args))
    for note in editor.models.notes:
        console.log(note)
    context = BatchContext(
        editor,
        identify_model(editor, not args.run.dry_run),
        job.base,
        args.output,
        {},
        args.retry_failed,
        args.rows,
    )
    if args.run.dry_run:
        with console.progress("look") as on_step:
            context = context._replace(sizes=manifest.read_sizes(args.output))
            forecast = forecast_batch(context, plan, on_step)
        log_forecast(forecast, args.output, console)
        return _report_forecast(job, plan, forecast, on_cluster)
    with manifest.open_manifest(args.output) as opened:
        context = context._replace(sizes=opened.sizes)
        results = (process_unit(context, unit) for unit in plan.units)
        if on_cluster:
            results = stream_outcomes(args, job.base, plan.units)
        counts = record_outcomes(plan, results, opened, args.retry_failed, console)
    return _report_run(job, plan, counts, time.monotonic() - started, args.output)


def _apply_quality(
    args: BatchOptions, job: BatchJob, plan: BatchPlan, editor: Editor
) -> tuple[BatchOptions, BatchPlan]:
    """The options and the plan with the steps of --quality, which only the model says."""
    if args.sampling.quality is None:
        return args, plan
    args = choose_steps(args, editor.models.defaults)
    return args, plan_batch(job.entries, read_defaults(args))


def read_defaults(args: BatchOptions) -> EntryValues:
    """The settings of the command line, which hold for every entry that does not set its own."""
    parts = (args.row, args.sampling, args.sampling.xl, args.inversion, args.edit, args.mask)
    values = {name: getattr(one, name) for one in parts for name in SETTINGS if hasattr(one, name)}
    if values["mask"] is not None:
        values["mask"] = str(Path(values["mask"]).absolute())  # an entry's is relative to the job
    some = {name: value for name, value in values.items() if value not in (None, "")}
    return some | {"prompts": list(args.row.prompt)}


def _check_engine(args: BatchOptions) -> bool:
    """Check the options of the engine; return whether a cluster does the work."""
    on_cluster, workers = args.engine.mode == "ray", args.worker.workers
    if not on_cluster and workers is not None:
        raise BadInput(f"--workers is for --engine ray, got {workers} without it")
    if on_cluster:
        check_cluster()
    return on_cluster


def _check_defaults(editor: Editor, defaults: EntryValues) -> None:
    """Raise BadInput for settings that are wrong for every entry.

    Texts of SDXL's second encoder are left out: entries may have prompts that are equal to them.
    """
    defaults = {name: value for name, value in defaults.items() if name not in XL_TEXTS}
    for source in ({"image": "-"}, {"source_prompt": "-"}):
        entry = read_entry(RawEntry(0, {**source, "prompt": "-"}), defaults)
        check_settings(editor, entry.source, entry.targets[0])


def _report_forecast(
    job: BatchJob, plan: BatchPlan, forecast: Forecast, on_cluster: bool
) -> Report:
    memory = forecast.memory
    data = {
        "command": "batch",
        "dry_run": True,
        "rows": len(job.entries),
        "requested": plan.edits,
        **forecast._asdict(),
        "seconds": round(forecast.seconds, 3),
        "memory": memory and describe_memory(memory),
    }
    each = "each worker on a CPU, " if on_cluster else ""
    failures = _format_failures(forecast.bad, forecast.failed_before)
    lines = [
        f"{pluralize(plan.edits, 'edit')} of {pluralize(len(job.entries), 'row')}: "
        f"{forecast.edits:,} to make, "
        f"{forecast.there:,} already there, {failures}",
        f"at most {pluralize(forecast.unet_rows, 'UNet row')} for "
        f"{pluralize(forecast.sources, 'source')} and their "
        f"edits, about {format_duration(forecast.seconds)} at the speed of a few calls on this "
        "machine",
        *([each + format_memory(memory)] if memory else []),
    ]
    return Report({}, data, lines, failed=forecast.bad + forecast.failed_before > 0)


def _report_run(
    job: BatchJob, plan: BatchPlan, counts: Counter[str], seconds: float, out: Path
) -> Report:
    there = counts[EXISTING] + counts[RECOVERED]
    data = {
        "command": "batch",
        "dry_run": False,
        "rows": len(job.entries),
        "requested": plan.edits,
        "written": counts[WRITTEN],
        "there": there,
        "failed": counts[FAILED],
        "failed_before": counts[FAILED_BEFORE],
        "unet_rows": counts["UNet rows"],
        "manifest": str(out / manifest.NAME),
        "seconds": round(seconds, 3),
    }
    failures = _format_failures(counts[FAILED], counts[FAILED_BEFORE])
    lines = [
        f"{pluralize(plan.edits, 'edit')} of {pluralize(len(job.entries), 'row')}: "
        f"{counts[WRITTEN]:,} written, "
        f"{there:,} already there, {failures}",
        f"cost: {pluralize(counts['UNet rows'], 'UNet row')} in {format_duration(seconds)}",
        f"every edit has a line in {out / manifest.NAME}",
    ]
    failed = counts[FAILED] + counts[FAILED_BEFORE] > 0
    return Report({}, data, lines, failed=failed)


def _format_failures(now: int, before: int) -> str:
    old = f", {before:,} failed before (--retry-failed tries them again)" if before else ""
    return f"{now:,} bad{old}"
