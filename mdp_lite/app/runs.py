"""One run: make the form's source unless it is already computed, edit it, write the files."""

import hashlib
import time
from collections.abc import Callable, Generator, Hashable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from mdp_lite.app.form import (
    XL_FIELDS,
    EditForm,
    build_form_xl,
    build_request,
    check_form,
    check_model,
    inversion_of,
    schedule_of,
    source_guidance,
)
from mdp_lite.app.history import History, HistoryItem
from mdp_lite.app.models import PageModel
from mdp_lite.app.results import AppResult, LastEdit
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import OnProgress, RunProgress, stream
from mdp_lite.app.studio import Studio
from mdp_lite.app.wording import say
from mdp_lite.editor import Editor
from mdp_lite.method.ddim import x0_between
from mdp_lite.names import BadInput
from mdp_lite.pictures import images
from mdp_lite.pipeline.preview import preview
from mdp_lite.pipeline.provenance import describe_edit
from mdp_lite.pipeline.result import Edit, Source

PREVIEWS = 8  # of each stage
STAGES = {"picture": say("runs", "inverting"), "prompt": say("runs", "generating")}
EDITING = say("runs", "editing")
MASK_FILE = "mask.png"  # beside an edit with a mask


class Submission(NamedTuple):
    """A form that a visitor sent, with its upright RGB picture, its file name and the mask."""

    form: EditForm
    picture: Image.Image | None = None
    name: str | None = None
    mask: Image.Image | None = None


def run_edit(
    studio: Studio, session: Session, submission: Submission, rows: int = 0
) -> Generator[RunProgress, None, AppResult]:
    """Edit a picture, or one that is generated from the form's prompt and seed.

    rows are the UNet rows that it is expected to compute: other visitors see how long they wait.
    """
    model = studio.find_model(session)
    check_model(model.dry_editor, check_form(submission.form))

    def work(on_progress: OnProgress) -> AppResult:
        with studio.take_turn(on_progress, rows, model) as editor:
            return _run_edit(editor, model, session, submission, on_progress)

    return (yield from stream(work, session.start_run()))


def _run_edit(
    editor: Editor, model: PageModel, session: Session, submission: Submission,
    on_progress: OnProgress,
) -> AppResult:  # fmt: skip
    started, form = time.monotonic(), submission.form
    mask = source_mask(editor, submission)
    source, reused = get_or_make_source(
        Borrowed(editor, model.alias), session, form, submission.picture, on_progress, mask
    )
    source_end = time.monotonic()
    state = None
    for done, total, _, (state,) in editor.steps([build_request(source, form, submission.mask)]):
        image = editor.preview(state) if _has_preview(done, total) else None
        on_progress(RunProgress(EDITING, done, total, image))
    assert state is not None  # a path has at least one step
    edit = editor.result(state)
    end = time.monotonic()
    model.record_speed(edit.cost.unet_rows, end - source_end)
    seconds = {"source": 0.0 if reused else source_end - started, "edit": end - source_end}
    session.last = LastEdit(source, form, edit.mask, submission.name, model.alias)
    settings = edit_settings(editor, source, edit, form)
    files = write_files(session.history.make_folder(), source, edit, settings)
    result = AppResult(session.last, edit, settings, *files, reused, seconds)
    return result._replace(item=add_result(session.history, result))


class Borrowed(NamedTuple):
    """A loaded model for one run, and its alias."""

    editor: Editor
    alias: str


def get_or_make_source(
    model: Borrowed, session: Session, form: EditForm, picture: Image.Image | None,
    on_progress: OnProgress, mask: Image.Image | None = None,
) -> tuple[Source, bool]:  # fmt: skip
    """The form's source, and whether it was already computed."""
    key, editor = source_key(model.alias, form, picture, mask), model.editor
    stored = session.find_source(key)
    if stored is not None:
        return stored, True
    source = make_source(editor, form, picture, _report_steps(editor, form, on_progress), mask)
    session.add_source(key, source)
    return source, False


def source_mask(editor: Editor, submission: Submission) -> Image.Image | None:
    """The painted mask, if the form uses it and the model's sources are recorded with one."""
    painted = submission.form.case == "picture" and submission.form.where == "painted"
    return submission.mask if painted and editor.models.inpaints else None


def source_key(
    alias: str, form: EditForm, picture: Image.Image | None, mask: Image.Image | None = None
) -> Hashable:
    """Everything that a source depends on: equal keys have equal sources. alias: of its model."""
    common = alias, form.source_prompt, form.negative_prompt, form.steps, source_guidance(form)
    common += tuple(getattr(form, name) for name in XL_FIELDS if name != "prompt_2")
    if form.case == "prompt":
        return form.case, *common, form.seed
    assert picture is not None  # the other case is a prompt
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    key = form.case, *common, inversion_of(form), form.fit, picture.size, digest
    return key if mask is None else (*key, hashlib.sha256(mask.tobytes()).hexdigest())


def make_source(
    editor: Editor, form: EditForm, picture: Image.Image | None,
    on_step: Callable[[int, int, Tensor], None] | None = None, mask: Image.Image | None = None,
) -> Source:  # fmt: skip
    """Generate the form's source, or invert its picture."""
    steps, guidance, negative = form.steps, source_guidance(form), form.negative_prompt
    xl = build_form_xl(form, "source_prompt_2")
    if form.case == "prompt":
        settings = form.source_prompt, form.seed, steps, guidance, negative
        return editor.generate(*settings, on_step=on_step, xl=xl)
    if picture is None:
        raise BadInput(say("picture", "missing_file"))
    return editor.invert(
        picture, form.source_prompt, inversion_of(form), steps, guidance, negative, fit=form.fit,
        on_step=on_step, mask=mask, xl=xl,
    )  # fmt: skip


def edit_settings(editor: Editor, source: Source, edit: Edit, form: EditForm) -> dict[str, Any]:
    """The settings for the PNG: those that the command line writes, and where the edit happened."""
    by_strength = form.steer == "strength"
    window: dict[str, Any] = {"schedule": schedule_of(form)}
    window |= {"strength": form.strength} if by_strength else {"t_max": form.t_max, "t_m": form.t_m}
    masked = {} if form.where == "everywhere" else {"where": form.where, "feather": form.feather}
    return describe_edit(editor.models.name, source, edit, window | masked)


def add_result(history: History, result: AppResult) -> HistoryItem:
    """Add an edit to the results of its visit."""
    mask = result.edit_file.with_name(MASK_FILE) if result.last.mask else None
    files = result.source_file, result.edit_file, mask
    seconds = sum(result.seconds.values())
    last = result.last
    return history.add(last.form, *files, last.name, seconds, result.cost.unet_rows, last.model)


def write_files(
    folder: Path, source: Source, edit: Edit, settings: dict[str, Any]
) -> tuple[Path, Path]:
    """Write source and edit as PNG files; metadata of the upload is not copied."""
    source_file, edit_file = folder / "source.png", folder / "edited.png"
    images.save_png(images.strip_metadata(source.picture), source_file, None)
    images.save_png(edit.picture, edit_file, settings)
    if edit.mask:
        images.save_png(images.strip_metadata(edit.mask), folder / MASK_FILE, None)
    return source_file, edit_file


def _report_steps(
    editor: Editor, form: EditForm, on_progress: OnProgress
) -> Callable[[int, int, Tensor], None]:
    """An on_step that reports the steps of a source.

    Only a generated source has previews; those of an inversion would show noise.
    """
    runner = editor.runner
    grid, last = runner.grid(form.steps), list[Tensor]()

    def on_step(done: int, total: int, x: Tensor) -> None:
        image = None
        if form.case == "prompt" and last and _has_preview(done, total):
            x0 = x0_between(last[0], x, grid.a[done - 1], grid.b[done - 1])
            image = preview(runner.preview_map, x0, runner.factor)
        last[:] = [x]
        on_progress(RunProgress(STAGES[form.case], done, total, image))

    return on_step


def _has_preview(done: int, total: int) -> bool:
    """Whether a step has a preview: the first one, and PREVIEWS more."""
    return done == 1 or PREVIEWS * done // total > PREVIEWS * (done - 1) // total
