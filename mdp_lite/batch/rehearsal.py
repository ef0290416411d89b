"""What would fail in a run and can be found without one: texts, settings, pictures, names."""

import io
from pathlib import Path

from mdp_lite.batch.entries import SourceSpec
from mdp_lite.batch.work import BatchTask, FileContents, Problem, find_own_problem
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from mdp_lite.pictures.fit import Size
from mdp_lite.pipeline import check


def find_problems(
    editor: Editor, out: Path, source: SourceSpec, tasks: list[BatchTask], files: FileContents
) -> list[Problem]:
    """What is wrong with each edit of a source, in the order in which a run finds it.

    These are the problems that depend on more than what decides the cost, so that units of the same
    cost may differ in them.
    """
    settings = [find_own_problem(editor, out, source, task) for task in tasks]
    shared = _find_source_problem(editor, source, files) if None in settings else None
    return [
        own or shared or _find_text_problem(editor, "prompt", task.edit.target.prompt)
        for own, task in zip(settings, tasks, strict=True)
    ]


def read_size(source: SourceSpec, files: FileContents) -> Size | None:
    """The size of the source's picture, which is decoded to its end; None without a picture."""
    if source.image is None:
        return None
    picture = images.decode_picture(io.BytesIO(files[source.image]), repr(source.image))
    return images.rgb(picture).size


def _find_source_problem(editor: Editor, source: SourceSpec, files: FileContents) -> Problem:
    try:
        read_size(source, files)
    except Exception as error:  # of any kind, as in a run
        return error
    return _find_text_problem(editor, "prompt", source.source_prompt) or _find_text_problem(
        editor, "negative_prompt", source.negative_prompt
    )


def _find_text_problem(editor: Editor, name: str, text: str) -> Problem:
    """Why a prompt can't be read. The checks are the run's own, without the text encoder."""
    try:
        check.text(name, text)
        editor.runner.is_truncated(text)
    except Exception as error:
        return error
    return None
