"""The dry run of a batch: how many edits there are to make, their cost, and the time they take."""

import io
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from mdp_lite.batch.entries import BatchUnit, SourceSpec
from mdp_lite.batch.run import BatchPlan, OnProgress, reject_bad
from mdp_lite.batch.settings import check_settings
from mdp_lite.batch.work import (
    EXISTING,
    FAILED,
    FAILED_BEFORE,
    RECOVERED,
    BatchContext,
    BatchTask,
    FileContents,
    find_outcome,
    make_edits,
    make_source,
    read_tasks,
)
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.editor import Edit, Editor
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import Size
from mdp_lite.pipeline.inversion_methods import NEVER

TIMED_CALLS = 3


class UnitForecast(NamedTuple):
    """What a unit would take: edits that can be made, UNet rows at most, size of the pictures."""

    edits: int
    unet_rows: int = 0
    size: Size = (0, 0)


class Forecast(NamedTuple):
    """What a batch would find in its output, and what it would make.

    there counts edits that the output already has. The fields are keys of the report.
    """

    there: int
    failed_before: int
    bad: int
    edits: int
    sources: int
    unet_rows: int
    seconds: float


def forecast_batch(context: BatchContext, plan: BatchPlan, on_step: OnProgress | None) -> Forecast:
    """Read every entry and every picture, as a run would, but make nothing."""
    dry = context._replace(editor=dry_run_editor(context.editor))
    counts = Counter(one.status for one in reject_bad(plan, context.sizes, context.retry))
    forecasts: dict[Any, UnitForecast] = {}
    parts: list[UnitForecast] = []
    for done, unit in enumerate(plan.units, 1):
        tasks, files = read_tasks(context, unit)
        unique = {task.key: task for task in tasks}.values()
        outcomes = [(task, find_outcome(context, task)) for task in unique]
        missing = [task for task, one in outcomes if one is None]
        part = UnitForecast(0)
        if missing:
            part = _forecast_unit(dry, unit, missing, files, forecasts)
        counts.update(one.status for _, one in outcomes if one)
        counts[EXISTING] += len(tasks) - len(unique)
        counts[FAILED] += len(missing) - part.edits
        parts += [part] if part.edits else []
        if on_step:
            on_step(done, len(plan.units))
    edits, total = sum(part.edits for part in parts), sum(part.unet_rows for part in parts)
    there, before = counts[EXISTING] + counts[RECOVERED], counts[FAILED_BEFORE]
    seconds = _estimate_seconds(context.editor, parts) if parts else 0.0
    return Forecast(there, before, counts[FAILED], edits, len(parts), total, seconds)


def _forecast_unit(
    dry: BatchContext, unit: BatchUnit, tasks: list[BatchTask], files: FileContents,
    forecasts: dict[Any, UnitForecast],
) -> UnitForecast:  # fmt: skip
    """Run a unit with stub models, once for all units of the same cost."""
    source = unit.source
    good = [task for task in tasks if _has_good_settings(dry.editor, source, task)]
    try:
        size = _read_size(source, files)
    except ValueError:
        return UnitForecast(0)
    if not good:
        return UnitForecast(0)
    if any(task.edit.target.mask for task in good):
        return _dry_run(dry, source, good, files)  # the cost depends on the mask's content
    key = (_cost_key(source, good), size)
    if key not in forecasts:
        forecasts[key] = _dry_run(dry, source, good, files)
    return forecasts[key]


def _dry_run(
    dry: BatchContext, source: SourceSpec, tasks: list[BatchTask], files: FileContents
) -> UnitForecast:
    if source.method == "null-text" and source.early_stop is None:
        source = replace(source, early_stop=NEVER)  # count all inner steps: the cost at most
    try:
        path = make_source(dry.editor, source, files)
    except ValueError:
        return UnitForecast(0)
    edits = [one for one in make_edits(dry, path, tasks, files) if isinstance(one, Edit)]
    rows = path.cost.unet_rows + sum(one.cost.unet_rows for one in edits)
    return UnitForecast(len(edits), rows, path.image.size)


def _has_good_settings(editor: Editor, source: SourceSpec, task: BatchTask) -> bool:
    try:
        check_settings(editor, source, task.edit.target)
    except ValueError:
        return False
    return True


def _read_size(source: SourceSpec, files: FileContents) -> Size | None:
    """The size of the source's picture, which is decoded to its end; None without a picture."""
    if source.image is None:
        return None
    picture = images.decode_picture(io.BytesIO(files[source.image]), repr(source.image))
    return images.rgb(picture).size


def _cost_key(source: SourceSpec, tasks: list[BatchTask]) -> tuple[Any, ...]:
    """Everything that the cost depends on: of the texts, only which of them are equal."""
    targets = [one.edit.target for one in tasks]
    texts = [source.source_prompt, source.negative_prompt, *(one.prompt for one in targets)]
    bare = replace(
        source, image=source.image and "", seed=None, source_prompt="", negative_prompt=""
    )
    settings = tuple(replace(one, prompt="") for one in targets)
    return bare, settings, tuple(texts.index(text) for text in texts)


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
    row = _time_fastest(lambda: float(runner.unet(x.expand(2, -1, -1, -1).to(c.dtype), t, c).sum()))
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
