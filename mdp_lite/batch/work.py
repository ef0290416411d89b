"""The work on one source and all its edits: specs in, picture files and manifest records out.

It is the same on one machine and on many. It depends on nothing but its arguments and files.
"""

import errno
import hashlib
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mdp_lite.batch.entries import (
    BatchTask,
    BatchUnit,
    FileContents,
    SourceSpec,
    TargetSpec,
    key_of,
)
from mdp_lite.batch.manifest import PARTIAL, ManifestRecord, RecordedSizes
from mdp_lite.batch.rehearsal import find_problems
from mdp_lite.batch.settings import read_mask
from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.editor import Edit, Editor, Source
from mdp_lite.files import atomic
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline.inpainting import mask_of_source
from mdp_lite.pipeline.likeness import warn_of_picture
from mdp_lite.pipeline.provenance import Settings, describe_edit, describe_reuse
from mdp_lite.pipeline.request import Request
from mdp_lite.version import __version__

MAX_BYTES = 2**28  # of a picture's file: RGB of the most pixels that are read takes less
MAX_ERROR_LENGTH = 500  # characters of an error that a record keeps
# Errors of writing that the name of an entry causes; a full disk, say, is not the entry's fault.
BAD_NAME = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)
# What became of an edit. RECOVERED: its picture exists, but its record was lost by a kill.
WRITTEN, RECOVERED, EXISTING = "written", "recovered", "existing"
FAILED, FAILED_BEFORE = "failed", "failed before"


class BatchContext(NamedTuple):
    """What all units of a batch share.

    model is the part of every key that stands for the model. Pictures are read relative to base and
    written to out. sizes is what the manifest holds; retry means that edits that failed before are
    tried again; max_rows is that of Editor.edits.
    """

    editor: Editor
    model: str
    base: Path
    out: Path
    sizes: RecordedSizes
    retry: bool = False
    max_rows: int = 0


class Outcome(NamedTuple):
    """What became of an edit, and its record unless the manifest already has it."""

    status: str
    record: ManifestRecord | None = None


def identify_model(editor: Editor, store: bool = True) -> str:
    """The model's part of every key: files, precision and defaults, but not machine or torch.

    The hashes of its files are stored in the editor's cache, unless store is False.
    """
    models, cache = editor.models, editor.cache
    digest = model_hash(models.origin, cache.folder if cache else None, store)
    return repr((__version__, digest, models.origin.dtype, models.defaults))


def process_unit(context: BatchContext, unit: BatchUnit) -> list[Outcome]:
    """Make the missing edits of a unit; each file appears only once it is whole.

    An error of an entry becomes its record. An error of the output folder is raised.
    """
    tasks, files = read_tasks(context, unit)
    unique = {task.key: task for task in tasks}
    earlier = {key: find_outcome(context, task) for key, task in unique.items()}
    missing = [task for key, task in unique.items() if earlier[key] is None]
    new = list(_make_all(context, unit.source, files, missing))
    repeated = [Outcome(EXISTING)] * (len(tasks) - len(unique))  # an edit that stands twice
    return [*(one for one in earlier.values() if one), *new, *repeated]


def read_tasks(context: BatchContext, unit: BatchUnit) -> tuple[list[BatchTask], FileContents]:
    """The edits of a unit with their keys, and the files that were read to compute these."""
    files: FileContents = {}
    problems: dict[str, str] = {}
    masks = [("mask", one.target.mask) for one in unit.edits]
    for what, name in [("picture", unit.source.image), *masks]:
        if name is not None and name not in files | problems:
            try:
                files[name] = read_picture_file(context.base / name, name, what)
            except ValueError as error:
                problems[name] = str(error)
    # The error stands for a file that can't be read: once it can be read, the key is another one,
    # and the edit does not count as failed before.
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} | problems
    tasks = []
    for one in unit.edits:
        names = [name for name in (unit.source.image, one.target.mask) if name is not None]
        image, mask = (digests.get(name or "") for name in (unit.source.image, one.target.mask))
        key = key_of(context.model, unit.source, one, image, mask)
        problem = next((problems[name] for name in names if name in problems), None)
        tasks.append(BatchTask(one, key, f"{one.name}-{key[:16]}.png", problem))
    return tasks, files


def read_picture_file(path: Path, name: str, what: str = "picture") -> bytes:
    """The bytes of a picture or mask; errors say what it is, and its name. Raises BadInput."""
    try:
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "a device" if path.exists() else "no such file"
            raise BadInput(f"{what} must be a PNG, JPEG or WebP file, got {kind}: {name!r}")
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(f"{what} must have at most {MAX_BYTES >> 20} MiB: {name!r}")
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{what} must be readable, got {error.strerror!r}: {name!r}") from None


def find_outcome(context: BatchContext, task: BatchTask) -> Outcome | None:
    """The outcome of an edit that needs no work, or None if it must be made."""
    path, size = context.out / task.file, context.sizes.get(task.key)
    if size is not None and path.is_file() and path.stat().st_size == size:
        return Outcome(EXISTING)
    if task.key in context.sizes and size is None and not context.retry:
        return Outcome(FAILED_BEFORE)
    if task.problem:
        return record_failure(task, task.problem)
    return None if task.key in context.sizes else _recover(task, path)


def record_failure(task: BatchTask, why: Exception | str) -> Outcome:
    """The record of an edit that can't be made."""
    plain = isinstance(why, ValueError | str)  # of other errors the record names the type too
    text = " ".join((str(why) if plain else f"{type(why).__name__}: {why}").split())
    error: ManifestRecord = {"error": text[:MAX_ERROR_LENGTH]}
    return Outcome(FAILED, _build_record(task, "error", error))


def _recover(task: BatchTask, path: Path) -> Outcome | None:
    """Record a picture whose batch was killed before it wrote the record."""
    try:
        images.open_picture(path)
    except ValueError:
        return None
    return Outcome(RECOVERED, _build_record(task, "ok", _describe_file(task, path.read_bytes())))


def _make_all(
    context: BatchContext, source: SourceSpec, files: FileContents, tasks: list[BatchTask]
) -> Iterator[Outcome]:
    """Find what is wrong before it costs a source, make this once, then all its edits together."""
    started, good = time.monotonic(), []
    problems = find_problems(context.editor, context.out, source, tasks, files)
    for task, problem in zip(tasks, problems, strict=True):
        if problem is None:
            good.append(task)
        else:
            yield record_failure(task, problem)
    for some in split_by_mask(context.editor, good):
        yield from _make_some(context, source, files, some, started)
        started = time.monotonic()


def split_by_mask(editor: Editor, tasks: list[BatchTask]) -> list[list[BatchTask]]:
    """The edits that share a source: all, or those of one mask if the UNet reads it."""
    if not editor.models.inpaints:
        return [tasks] if tasks else []
    groups: dict[tuple[Any, ...], list[BatchTask]] = {}
    for task in tasks:
        target = task.edit.target
        groups.setdefault((target.mask, target.box), []).append(task)
    return list(groups.values())


def _make_some(
    context: BatchContext, source: SourceSpec, files: FileContents, good: list[BatchTask],
    started: float,
) -> Iterator[Outcome]:  # fmt: skip
    """Make a source once, and all edits that share it."""
    try:
        path = make_source(context.editor, source, files, good[0].edit.target)
    except Exception as error:  # of any kind: the other entries go on
        yield from (record_failure(task, error) for task in good)
        return
    edits = make_edits(context, path, good, files)
    share, rows = round((time.monotonic() - started) / len(good), 3), path.cost.unet_rows
    for task, one in zip(good, edits, strict=True):
        bad = isinstance(one, Exception)
        outcome = record_failure(task, one) if bad else _write_edit(context, task, path, one)
        record = {**(outcome.record or {}), "source_rows": rows, "seconds": share}
        yield Outcome(outcome.status, record)
        rows = 0  # the first record of a source carries its cost


def make_source(
    editor: Editor, source: SourceSpec, files: FileContents, target: TargetSpec
) -> Source:
    """Generate or invert the source for edits with the target's mask, as `mdp-lite edit` does."""
    size = (source.width, source.height)
    if source.image is None:
        return editor.generate(
            source.source_prompt, source.seed or 0, source.steps, source.guidance_scale,
            source.negative_prompt, *size, xl=source.xl, record_noise=source.record_noise,
            record_direction=source.record_direction,
        )  # fmt: skip
    picture = images.decode_picture(io.BytesIO(files[source.image]), repr(source.image))
    warn_of_picture(editor.runner, picture)
    return editor.invert(
        picture,
        source.source_prompt, source.inversion, source.steps, source.guidance_scale,
        source.negative_prompt, *size, source.fit,
        mask=mask_of_source(editor.models, read_mask(target, files)), xl=source.xl,
        record_direction=source.record_direction,
    )  # fmt: skip


def build_request(source: Source, target: TargetSpec, files: FileContents) -> Request:
    """The request of an edit, as `mdp-lite edit` builds it."""
    return Request(
        source, target.prompt, target.variant, target.t_max, target.t_m, target.schedule,
        target.strength, None, target.guidance_scale, None, read_mask(target, files), target.paste,
        target.feather, target.proximal, target.xl, target.weight, target.guidance_every,
    )  # fmt: skip


def make_edits(
    context: BatchContext, source: Source, tasks: list[BatchTask], files: FileContents
) -> Sequence[Edit | Exception]:
    """Make all edits together, with the same bits as one by one; one by one if that fails."""
    try:
        requests = [build_request(source, task.edit.target, files) for task in tasks]
        return context.editor.edits(requests, context.max_rows)
    except Exception as error:  # of any kind: the other edits go on
        if len(tasks) == 1:
            return [error]
        return [one for task in tasks for one in make_edits(context, source, [task], files)]


def _write_edit(context: BatchContext, task: BatchTask, source: Source, one: Edit) -> Outcome:
    """Write the picture of an edit in one step, and build its record."""
    target = task.edit.target
    names = ("t_max", "t_m", "schedule", "strength", "weight", "proximal")
    window: Settings = {key: getattr(target, key) for key in names}
    window |= describe_reuse(target.guidance_every)
    settings = describe_edit(context.editor.models.name, source, one, window)
    data = images.png_bytes(one.picture, settings)
    try:
        atomic.write(context.out / task.file, data, context.out / PARTIAL)
    except OSError as error:
        if error.errno not in BAD_NAME:
            raise
        return record_failure(task, f"name must be that of a new file, got {error.strerror!r}")
    cost = {"truncated": source.truncated or one.truncated, "unet_rows": one.cost.unet_rows}
    return Outcome(WRITTEN, _build_record(task, "ok", _describe_file(task, data) | cost))


def _describe_file(task: BatchTask, data: bytes) -> ManifestRecord:
    return {"file": task.file, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _build_record(task: BatchTask, status: str, more: ManifestRecord) -> ManifestRecord:
    one = task.edit
    head = {"key": task.key, "status": status, "row": one.number, "name": one.name}
    xl = {"xl": read} if (read := one.target.xl.describe()) else {}
    return {**head, "prompt": one.target.prompt, **xl, **more}
