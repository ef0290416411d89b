"""What would fail in a run and can be found without one: texts, settings, pictures, names.

A dry run and a run both ask this before they make a source, so that they name the same problems,
and an entry that can't be edited costs no source.
"""

import io
from pathlib import Path

from PIL import Image

from mdp_lite.batch.entries import BatchTask, FileContents, SourceSpec
from mdp_lite.batch.output import check_place
from mdp_lite.batch.settings import check_settings, read_mask
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import Fit, Size, plan_fit
from mdp_lite.pipeline import check, masks

Problem = Exception | None  # why an edit can't be made


def find_problems(
    editor: Editor, out: Path, source: SourceSpec, tasks: list[BatchTask], files: FileContents
) -> list[Problem]:
    """What is wrong with each edit of a source: its own texts and settings, the source, its mask.

    These are the problems that depend on more than what decides the cost, so that units of the same
    cost may differ in them.
    """
    problems = [_find_own_problem(editor, out, source, task) for task in tasks]
    if None not in problems:
        return problems
    try:
        fit = _plan_source(editor, source, files)
    except Exception as error:  # of any kind, as in a run: it is the record of all edits
        return [own or error for own in problems]
    return [
        own or _find_mask_problem(editor, fit, task, files)
        for own, task in zip(problems, tasks, strict=True)
    ]


def read_size(source: SourceSpec, files: FileContents) -> Size | None:
    """The size of the source's picture, which is decoded to its end; None without a picture."""
    picture = _read_picture(source, files)
    return picture and picture.size


def _find_own_problem(editor: Editor, out: Path, source: SourceSpec, task: BatchTask) -> Problem:
    """What is wrong with an edit's settings, its name or its prompt, found without any picture."""
    try:
        check_settings(editor, source, task.edit.target)
        check_place(out, task.file)
        _check_text(editor, "prompt", task.edit.target.prompt)
    except Exception as error:
        return error
    return None


def _plan_source(editor: Editor, source: SourceSpec, files: FileContents) -> Fit:
    """How the source's picture will be fitted. Raises what making the source would raise."""
    _check_text(editor, "prompt", source.source_prompt)
    _check_text(editor, "negative_prompt", source.negative_prompt)
    picture, size = _read_picture(source, files), (source.width, source.height)
    if picture is not None:
        return editor.runner.fit(picture, source.fit, *size)
    width, height = editor.runner.image_size(*size)
    return plan_fit("own", (width, height), (width, height))


def _read_picture(source: SourceSpec, files: FileContents) -> Image.Image | None:
    if source.image is None:
        return None
    name = repr(source.image)
    return images.rgb(images.decode_picture(io.BytesIO(files[source.image]), name))


def _find_mask_problem(editor: Editor, fit: Fit, task: BatchTask, files: FileContents) -> Problem:
    try:
        mask = read_mask(task.edit.target, files)
        if mask not in (None, "auto"):  # finding an automatic one is work
            masks.read_mask(mask, fit, editor.runner.factor)
    except Exception as error:
        return error
    return None


def _check_text(editor: Editor, name: str, text: str) -> None:
    """Raise what reading a prompt would raise; the text encoder is not called."""
    check.text(name, text)
    editor.runner.is_truncated(text)
