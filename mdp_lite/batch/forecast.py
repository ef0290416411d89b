"""The dry run of a batch: what fails, how many edits there are to make, their cost and time."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mdp_lite.batch.entries import BatchTask, BatchUnit, FileContents, SourceSpec
from mdp_lite.batch.manifest import ManifestRecord
from mdp_lite.batch.output import free_bytes
from mdp_lite.batch.rehearsal import Problem, find_problems, read_size
from mdp_lite.batch.run import BatchPlan, OnProgress, reject_bad
from mdp_lite.batch.work import (
    EXISTING,
    FAILED,
    FAILED_BEFORE,
    RECOVERED,
    BatchContext,
    Outcome,
    find_outcome,
    make_edits,
    make_source,
    read_tasks,
    record_failure,
    split_by_mask,
)
from mdp_lite.cli.console import Console
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.cli.memory import estimate_calls
from mdp_lite.cli.units import SIZES, format_count
from mdp_lite.editor import Editor
from mdp_lite.engine.estimate import Estimate
from mdp_lite.method.mdp import add_channels
from mdp_lite.pictures.fit import Size
from mdp_lite.pipeline.inversion_methods import NEVER
from mdp_lite.pipeline.xl import XLCondition

TIMED_CALLS = 3


class UnitForecast(NamedTuple):
    """What a unit would take: edits that can be made, UNet rows at most, size of the pictures.

    sources is how many sources they need: one, or one for each mask of an inpainting model. steps
    are those of its source path.
    """

    edits: int
    unet_rows: int = 0
    size: Size = (0, 0)
    sources: int = 0
    steps: int = 0


class Forecast(NamedTuple):
    """What a batch would find in its output, and what it would make.

    there counts edits that the output already has. errors has a record for each edit that would
    fail now, as the manifest of a run gets it, without key and status. picture_bytes is the most
    that the new pictures can take. The fields are keys of the report.
    """

    there: int
    failed_before: int
    bad: int
    edits: int
    sources: int
    unet_rows: int
    seconds: float
    picture_bytes: int
    memory: Estimate | None
    errors: list[ManifestRecord]


StubRun = tuple[UnitForecast, list[Problem]]  # a unit's cost, and what is wrong with each task


def forecast_batch(context: BatchContext, plan: BatchPlan, on_step: OnProgress | None) -> Forecast:
    """Read every entry, picture and mask, as a run would, but make nothing."""
    calls: list[tuple[int, ...]] = []
    dry = context._replace(editor=dry_run_editor(context.editor, calls))
    outcomes = reject_bad(plan, context.sizes, context.retry)
    known: dict[Any, StubRun] = {}
    parts: list[UnitForecast] = []
    for done, unit in enumerate(plan.units, 1):
        some, part = _forecast_unit(dry, unit, known)
        outcomes += some
        parts += [part] if part.edits else []
        calls[:] = dict.fromkeys(calls)  # a few shapes, however many units there are
        if on_step:
            on_step(done, len(plan.units))
    counts = Counter(one.status for one in outcomes)
    steps = max((part.steps for part in parts), default=0)
    seconds = _estimate_seconds(context.editor, parts) if parts else 0.0
    return Forecast(
        counts[EXISTING] + counts[RECOVERED], counts[FAILED_BEFORE], counts[FAILED],
        sum(part.edits for part in parts), sum(part.sources for part in parts),
        sum(part.unet_rows for part in parts),
        seconds, sum(part.edits * 3 * part.size[0] * part.size[1] for part in parts),
        estimate_calls(context.editor, calls, steps) if parts else None,
        [_strip(one.record) for one in outcomes if one.status == FAILED and one.record],
    )  # fmt: skip


def log_forecast(forecast: Forecast, out: Path, console: Console) -> None:
    """Name every edit that would fail, each row and reason once, and a disk that may be too small.

    A run names the first and writes all to the manifest, but a dry run has no manifest.
    """
    for line in dict.fromkeys(f"row {one['row']}: {one['error']}" for one in forecast.errors):
        console.log(line)
    need, free = forecast.picture_bytes, free_bytes(out)
    if need > free:
        sizes = f"up to {format_count(need, SIZES)}, {format_count(free, SIZES)} are free"
        console.log(f"the disk may be too small: the pictures take {sizes}")


def _strip(record: ManifestRecord) -> ManifestRecord:
    return {key: value for key, value in record.items() if key not in ("key", "status")}


def _forecast_unit(
    dry: BatchContext, unit: BatchUnit, known: dict[Any, StubRun]
) -> tuple[list[Outcome], UnitForecast]:
    """The outcomes of a unit that are known without making anything, and what the rest takes."""
    tasks, files = read_tasks(dry, unit)
    unique = {task.key: task for task in tasks}.values()
    found = [(task, find_outcome(dry, task)) for task in unique]
    outcomes = [one for _, one in found if one] + [Outcome(EXISTING)] * (len(tasks) - len(unique))
    missing, part = [task for task, one in found if one is None], UnitForecast(0)
    problems = find_problems(dry.editor, dry.out, unit.source, missing, files)
    good = [task for task, problem in zip(missing, problems, strict=True) if problem is None]
    if good:
        part, late = _run_stubs(dry, unit.source, good, files, known)
        outcomes += _record_problems(good, late)
    outcomes += _record_problems(missing, problems)
    return outcomes, part


def _record_problems(tasks: list[BatchTask], problems: list[Problem]) -> list[Outcome]:
    pairs = zip(tasks, problems, strict=True)
    return [record_failure(task, one) for task, one in pairs if one is not None]


def _run_stubs(
    dry: BatchContext, source: SourceSpec, tasks: list[BatchTask], files: FileContents,
    known: dict[Any, StubRun],
) -> StubRun:  # fmt: skip
    """Run a unit with stub models, once for all units of the same cost."""
    if any(task.edit.target.mask for task in tasks):
        return _run_stubs_once(dry, source, tasks, files)  # the mask's content decides the cost
    key = (_cost_key(source, tasks), read_size(source, files))
    if key not in known:
        known[key] = _run_stubs_once(dry, source, tasks, files)
    return known[key]


def _run_stubs_once(
    dry: BatchContext, source: SourceSpec, tasks: list[BatchTask], files: FileContents
) -> StubRun:
    if source.method == "null-text" and source.early_stop is None:
        source = replace(source, early_stop=NEVER)  # count all inner steps: the cost at most
    part, found = UnitForecast(0), dict[str, Problem]()
    for some in split_by_mask(dry.editor, tasks):
        part, own = _run_stubs_of_source(dry, source, some, files, part)
        found |= dict(zip((task.key for task in some), own, strict=True))
    return part, [found[task.key] for task in tasks]


def _run_stubs_of_source(
    dry: BatchContext, source: SourceSpec, tasks: list[BatchTask], files: FileContents,
    part: UnitForecast,
) -> StubRun:  # fmt: skip
    """Add the edits that share a source to a forecast, and find what is wrong with them."""
    try:
        path = make_source(dry.editor, source, files, tasks[0].edit.target)
    except Exception as error:  # of any kind, as in a run: it is the record of all its edits
        return part, [error] * len(tasks)
    made = make_edits(dry, path, tasks, files)
    problems: list[Problem] = [one if isinstance(one, Exception) else None for one in made]
    rows = sum(one.cost.unet_rows for one in made if not isinstance(one, Exception))
    rows += part.unet_rows + path.cost.unet_rows
    good, sources = problems.count(None), part.sources + any(one is None for one in problems)
    size, steps = path.image.size, len(path.grid.t)
    return UnitForecast(part.edits + good, rows, size, sources, steps), problems


def _cost_key(source: SourceSpec, tasks: list[BatchTask]) -> tuple[Any, ...]:
    """Everything that the cost depends on: of the texts, which are equal, and which are empty."""
    targets, first, negative = (
        [one.edit.target for one in tasks], source.source_prompt, source.negative_prompt
    )  # fmt: skip
    texts = [first, negative, *(one.prompt for one in targets)]
    texts += [source.xl.prompt_2 or first, source.xl.negative_prompt_2 or negative]
    texts += [one.xl.prompt_2 or one.prompt for one in targets]
    bare = replace(
        source, image=source.image and "", seed=None, source_prompt="", negative_prompt="",
        xl=_drop_texts(source.xl),
    )  # fmt: skip
    settings = tuple(replace(one, prompt="", xl=_drop_texts(one.xl)) for one in targets)
    return bare, settings, tuple((texts.index(text), not text) for text in texts)


def _drop_texts(xl: XLCondition) -> XLCondition:
    return replace(xl, prompt_2=None, negative_prompt_2=None)


def _estimate_seconds(editor: Editor, parts: list[UnitForecast]) -> float:
    """The time of all units: measured at their most common size, other sizes by their area."""
    common = Counter(part.size for part in parts).most_common(1)[0][0]
    row, picture = _measure_pace(editor, common)
    area = common[0] * common[1]
    return sum(
        part.size[0] * part.size[1] / area * (part.unet_rows * row + (part.edits + 2) * picture)
        for part in parts
    )


@torch.no_grad()
def _measure_pace(editor: Editor, size: Size) -> tuple[float, float]:
    """Seconds of one UNet row, in a call of two, and of decoding one picture."""
    runner, (width, height) = editor.runner, size
    c, t = runner.condition("", size).expand(2, -1, -1), runner.grid(None).t[0]
    x = runner.noise(0, width, height)
    rows = add_channels(x, runner.blank_channels(size)).expand(2, -1, -1, -1).to(c.dtype)
    row = _time_fastest(lambda: float(runner.unet(rows, t, c).sum()))
    return row / 2, _time_fastest(lambda: runner.decode(x))


def _time_fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of TIMED_CALLS calls, after one call to warm up."""
    call()
    times = []
    for _ in range(TIMED_CALLS):
        started = time.monotonic()
        call()
        times.append(time.monotonic() - started)
    return min(times)
