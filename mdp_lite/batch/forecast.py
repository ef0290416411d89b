"""A dry run of a batch: what there is to do, what that costs, and how long it will take here."""

import io
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from mdp_lite.batch.rows import Start, Unit
from mdp_lite.batch.run import Progress, Rows, refused
from mdp_lite.batch.settings import check_settings
from mdp_lite.batch.work import (
    FAILED,
    FAILED_BEFORE,
    FOUND,
    THERE,
    Files,
    Station,
    Task,
    edits_of,
    source_of,
    standing,
    tasks_of,
)
from mdp_lite.cli.dry_run import dry_run_editor
from mdp_lite.editor import Edit, Editor
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import Size
from mdp_lite.pipeline.inversion_methods import NEVER

LOOKS = 3  # calls that are timed


class Part(NamedTuple):
    """What a unit would take: edits that can be made, UNet rows at most, and their size."""

    edits: int
    unet_rows: int = 0
    size: Size = (0, 0)


class Forecast(NamedTuple):
    """What a batch would find, and what it would do: so many edits of so many sources."""

    there: int
    failed_before: int
    bad: int
    edits: int
    sources: int
    unet_rows: int
    seconds: float


def forecast(at: Station, rows: Rows, on_step: Progress | None) -> Forecast:
    """Looks at every row and every picture, as a run would, and makes nothing."""
    idle = at._replace(editor=dry_run_editor(at.editor))
    counts = Counter(one.status for one in refused(rows, at.known, at.retry))
    told: dict[Any, Part] = {}
    parts: list[Part] = []
    for done, unit in enumerate(rows.units, 1):
        tasks, files = tasks_of(at, unit)
        once = {task.key: task for task in tasks}.values()
        found = [(task, standing(at, task)) for task in once]
        left = [task for task, one in found if one is None]
        part = _part(idle, unit, left, files, told) if left else Part(0)
        counts.update(one.status for _, one in found if one)
        counts[THERE] += len(tasks) - len(once)
        counts[FAILED] += len(left) - part.edits
        parts += [part] if part.edits else []
        if on_step:
            on_step(done, len(rows.units))
    edits, total = sum(part.edits for part in parts), sum(part.unet_rows for part in parts)
    there, before = counts[THERE] + counts[FOUND], counts[FAILED_BEFORE]
    seconds = _seconds(at.editor, parts) if parts else 0.0
    return Forecast(there, before, counts[FAILED], edits, len(parts), total, seconds)


def _part(
    idle: Station, unit: Unit, tasks: list[Task], files: Files, told: dict[Any, Part]
) -> Part:
    """A unit rehearsed with models that do nothing, once for all units that cost the same."""
    start, good = unit.start, [task for task in tasks if _passes(idle.editor, unit.start, task)]
    try:
        size = _size(start, files)
    except ValueError:
        return Part(0)
    if not good:
        return Part(0)
    if any(one.wanted.target.mask for one in good):
        return _rehearsed(idle, start, good, files)  # a mask's content counts
    alike = (_shape(start, good), size)
    if alike not in told:
        told[alike] = _rehearsed(idle, start, good, files)
    return told[alike]


def _rehearsed(idle: Station, start: Start, tasks: list[Task], files: Files) -> Part:
    if start.method == "null-text" and start.early_stop is None:
        start = replace(start, early_stop=NEVER)  # says the most
    try:
        source = source_of(idle.editor, start, files)
    except ValueError:
        return Part(0)
    edits = [one for one in edits_of(idle, source, tasks, files) if isinstance(one, Edit)]
    rows = source.cost.unet_rows + sum(one.cost.unet_rows for one in edits)
    return Part(len(edits), rows, source.image.size)


def _passes(editor: Editor, start: Start, task: Task) -> bool:
    try:
        check_settings(editor, start, task.wanted.target)
    except ValueError:
        return False
    return True


def _size(start: Start, files: Files) -> Size | None:
    """The size of a picture that can be read to its end."""
    if start.image is None:
        return None
    return images.rgb(images.decoded(io.BytesIO(files[start.image]), repr(start.image))).size


def _shape(start: Start, tasks: list[Task]) -> tuple[Any, ...]:
    """All that costs depend on: of the texts only which of them are equal."""
    targets = [one.wanted.target for one in tasks]
    texts = [start.source_prompt, start.negative_prompt, *(one.prompt for one in targets)]
    bare = replace(start, image=start.image and "", seed=None, source_prompt="", negative_prompt="")
    settings = tuple(replace(one, prompt="") for one in targets)
    return bare, settings, tuple(texts.index(text) for text in texts)


def _seconds(editor: Editor, parts: list[Part]) -> float:
    """The time of all parts, from some calls at their commonest size; others by their area."""
    common = Counter(part.size for part in parts).most_common(1)[0][0]
    row, picture = _pace(editor, common)
    area = common[0] * common[1]
    return sum(
        part.size[0] * part.size[1] / area * (part.unet_rows * row + (part.edits + 2) * picture)
        for part in parts
    )


@torch.no_grad()
def _pace(editor: Editor, size: Size) -> tuple[float, float]:
    """Seconds of a UNet row, where two are one call, and of a picture through the VAE."""
    codec, (width, height) = editor.runner, size
    c, t = codec.condition("").expand(2, -1, -1), codec.grid(None).t[0]
    x = codec.noise(0, width, height)
    row = _fastest(lambda: float(codec.unet(x.expand(2, -1, -1, -1).to(c.dtype), t, c).sum())) / 2
    return row, _fastest(lambda: codec.picture(x))


def _fastest(call: Callable[[], object]) -> float:
    """Seconds of a call, after one that prepares it."""
    call()
    taken = []
    for _ in range(LOOKS):
        started = time.monotonic()
        call()
        taken.append(time.monotonic() - started)
    return min(taken)
