"""The work on one source and all edits of it: rows in, pictures and records out.

It is the same on one machine and on many, and depends on nothing but its arguments and files.
"""

import errno
import hashlib
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mdp_lite.batch.manifest import PARTIAL, Known, Record
from mdp_lite.batch.rows import Start, Target, Unit, Wanted, key_of
from mdp_lite.batch.settings import check_settings, place_of
from mdp_lite.checkpoint import atomic
from mdp_lite.checkpoint.identity import model_hash
from mdp_lite.editor import Edit, Editor, Source
from mdp_lite.pictures import images
from mdp_lite.pipeline.provenance import Settings, describe_edit
from mdp_lite.pipeline.request import Request
from mdp_lite.version import __version__

MOST_BYTES = 2**28  # of a picture's file: the largest picture that is read takes half of it
LONGEST = 500  # of what is said of an error
# Where a picture can't be written because of its name; a full disk, say, is not the row's fault.
BAD_NAME = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)
# What became of an edit.
MADE, FOUND, THERE, FAILED, FAILED_BEFORE = "made", "found", "there", "failed", "failed before"

Files = dict[str, bytes]


class Station(NamedTuple):
    """Where edits are made: the editor, what keys say of its model, and the folders.

    known is what the manifest has; retry has what failed tried again; most is of Editor.edits.
    """

    editor: Editor
    model: str
    base: Path
    out: Path
    known: Known
    retry: bool = False
    most: int = 0


class Task(NamedTuple):
    """An edit with its key and its file below the output; problem says why it can't be made."""

    wanted: Wanted
    key: str
    file: str
    problem: str | None = None


class Outcome(NamedTuple):
    """What became of an edit, and its record if the manifest has none."""

    status: str
    record: Record | None = None


def identity(editor: Editor) -> str:
    """What keys say of a model: all that decides how its edits look, but machine and torch."""
    models, shelf = editor.models, editor.cache
    total = model_hash(models.origin, shelf.folder if shelf else None)
    return repr((__version__, total, models.origin.dtype, models.defaults))


def resolve_inversion(at: Station, unit: Unit) -> list[Outcome]:
    """Make what is missing of a unit's edits, each a file that is whole when it is there.

    Whatever is wrong with a row is a record; what is wrong with the output's folder is raised.
    """
    tasks, files = tasks_of(at, unit)
    once = {task.key: task for task in tasks}
    known = {key: standing(at, task) for key, task in once.items()}
    left = [task for key, task in once.items() if known[key] is None]
    made = list(_made(at, unit.start, files, left))
    again = [Outcome(THERE)] * (len(tasks) - len(once))  # the same edit asked for twice
    return [*(one for one in known.values() if one), *made, *again]


def tasks_of(at: Station, unit: Unit) -> tuple[list[Task], Files]:
    """A unit's edits with their keys, and the files that were read for these."""
    files: Files = {}
    problems: dict[str, str] = {}
    for name in (unit.start.image, *(one.target.mask for one in unit.wanted)):
        if name is not None and name not in files | problems:
            try:
                files[name] = content(at.base / name, name)
            except ValueError as error:
                problems[name] = str(error)
    # What can't be read stands for itself: once it can, that is another edit, not one that failed.
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} | problems
    tasks = []
    for one in unit.wanted:
        reads = [name for name in (unit.start.image, one.target.mask) if name is not None]
        image, mask = (sums.get(name or "") for name in (unit.start.image, one.target.mask))
        key = key_of(at.model, unit.start, one, image, mask)
        problem = next((problems[name] for name in reads if name in problems), None)
        tasks.append(Task(one, key, f"{one.name}-{key[:16]}.png", problem))
    return tasks, files


def content(path: Path, name: str) -> bytes:
    """A picture's file as it is; the name is for people."""
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "a device" if path.exists() else "no such file"
            raise ValueError(f"picture must be a PNG, JPEG or WebP file, got {found}: {name!r}")
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"picture must have at most {MOST_BYTES >> 20} MiB: {name!r}")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"picture must be readable, got {error.strerror!r}: {name!r}") from None


def standing(at: Station, task: Task) -> Outcome | None:
    """What is known of an edit before any work; None where it is to be made."""
    path, size = at.out / task.file, at.known.get(task.key)
    if size is not None and path.is_file() and path.stat().st_size == size:
        return Outcome(THERE)
    if task.key in at.known and size is None and not at.retry:
        return Outcome(FAILED_BEFORE)
    if task.problem:
        return failed(task, task.problem)
    return None if task.key in at.known else _found(task, path)


def failed(task: Task, why: Exception | str) -> Outcome:
    """The record of an edit that can't be made."""
    known = isinstance(why, ValueError | str)  # else not a complaint about input: say what kind
    text = " ".join((str(why) if known else f"{type(why).__name__}: {why}").split())
    return Outcome(FAILED, _record(task, "error", {"error": text[:LONGEST]}))


def _found(task: Task, path: Path) -> Outcome | None:
    """A picture that was written by a batch killed before it could note that."""
    try:
        images.open_picture(path)
    except ValueError:
        return None
    return Outcome(FOUND, _record(task, "ok", _sized(task, path.read_bytes())))


def _made(at: Station, start: Start, files: Files, tasks: list[Task]) -> Iterator[Outcome]:
    """The source once, then all edits together; whatever can be told before is."""
    started, good = time.monotonic(), []
    for task in tasks:
        try:
            check_settings(at.editor, start, task.wanted.target)
            good.append(task)
        except ValueError as error:
            yield failed(task, error)
    if not good:
        return
    try:
        source = source_of(at.editor, start, files)
    except Exception as error:  # whatever it is: the other rows go on
        yield from (failed(task, error) for task in good)
        return
    edits = edits_of(at, source, good, files)
    share, rows = round((time.monotonic() - started) / len(good), 3), source.cost.unet_rows
    for task, one in zip(good, edits, strict=True):
        outcome = failed(task, one) if isinstance(one, Exception) else _kept(at, task, source, one)
        told = {**(outcome.record or {}), "source_rows": rows, "seconds": share}
        yield Outcome(outcome.status, told)
        rows = 0  # the source's are told once


def source_of(editor: Editor, start: Start, files: Files) -> Source:
    """The path that a unit's edits read, as `mdp-lite edit` makes it."""
    size = (start.width, start.height)
    if start.image is None:
        return editor.generate(
            start.source_prompt, start.seed or 0, start.steps, start.guidance_scale,
            start.negative_prompt, *size,
        )  # fmt: skip
    return editor.invert(
        images.decoded(io.BytesIO(files[start.image]), repr(start.image)), start.source_prompt,
        start.how, start.steps, start.guidance_scale, start.negative_prompt, *size, start.fit,
    )  # fmt: skip


def request_of(source: Source, target: Target, files: Files) -> Request:
    """An edit, as `mdp-lite edit` asks for it."""
    where = place_of(target, files)
    return Request(
        source, target.prompt, target.variant, target.t_max, target.t_m, target.schedule,
        target.strength, None, target.guidance_scale, None, where, target.paste, target.feather,
        target.proximal,
    )  # fmt: skip


def edits_of(
    at: Station, source: Source, tasks: list[Task], files: Files
) -> Sequence[Edit | Exception]:
    """All at once, each with the bits that it has alone; alone where one spoils it for all."""
    try:
        requests = [request_of(source, task.wanted.target, files) for task in tasks]
        return at.editor.edits(requests, at.most)
    except Exception as error:  # whatever it is: the others go on
        if len(tasks) == 1:
            return [error]
        return [one for task in tasks for one in edits_of(at, source, [task], files)]


def _kept(at: Station, task: Task, source: Source, one: Edit) -> Outcome:
    """The picture of an edit, written whole, and its record."""
    target = task.wanted.target
    asked: Settings = {
        key: getattr(target, key) for key in ("t_max", "t_m", "schedule", "strength", "proximal")
    }
    buffer = io.BytesIO()
    settings = describe_edit(at.editor, source, one, asked)
    images.bare(one.picture).save(buffer, "PNG", pnginfo=images.chunks(settings))
    try:
        atomic.write(at.out / task.file, buffer.getvalue(), at.out / PARTIAL)
    except OSError as error:
        if error.errno not in BAD_NAME:
            raise
        return failed(task, f"name must be that of a new file, got {error.strerror!r}")
    told = {"truncated": source.truncated or one.truncated, "unet_rows": one.cost.unet_rows}
    return Outcome(MADE, _record(task, "ok", _sized(task, buffer.getvalue()) | told))


def _sized(task: Task, data: bytes) -> Record:
    return {"file": task.file, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _record(task: Task, status: str, more: Record) -> Record:
    one = task.wanted
    head = {"key": task.key, "status": status, "row": one.row, "name": one.name}
    return {**head, "prompt": one.target.prompt, **more}
