"""What a run does: a source, made or at hand, and edits of it, told step by step."""

import hashlib
import time
from collections.abc import Callable, Generator, Hashable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from mdp_lite.app.form import Form, checked, inversion, request, source_guidance
from mdp_lite.app.made import Last, Made
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import Progress, Tell, streamed
from mdp_lite.app.studio import Studio
from mdp_lite.editor import Editor
from mdp_lite.method.ddim import aimed
from mdp_lite.pictures import images
from mdp_lite.pipeline.preview import preview
from mdp_lite.pipeline.provenance import describe_edit
from mdp_lite.pipeline.result import Edit, Source

LOOKS = 8  # of each stage
STAGES = {"picture": "Inverting the picture", "prompt": "Making the source"}
EDITING = "Editing"
MASK = "mask.png"  # beside an edit that was confined


class Asked(NamedTuple):
    """A form with its upright RGB picture, the name of that, and the mask that was painted."""

    form: Form
    picture: Image.Image | None = None
    name: str | None = None
    mask: Image.Image | None = None


def edited(studio: Studio, session: Session, asked: Asked) -> Generator[Progress, None, Made]:
    """An edit of a picture, or of one made from the form's prompt and seed."""
    checked(asked.form)

    def work(tell: Tell) -> Made:
        with studio.lend() as editor:
            return _edited(editor, studio, session, asked, tell)

    return (yield from streamed(work, session.begin()))


def _edited(editor: Editor, studio: Studio, session: Session, asked: Asked, tell: Tell) -> Made:
    started, form = time.monotonic(), asked.form
    source, reused = sourced(editor, session, form, asked.picture, tell)
    there = time.monotonic()
    at = None
    for done, total, _, (at,) in editor.steps([request(source, form, asked.mask)]):
        tell(Progress(EDITING, done, total, editor.preview(at) if _looks(done, total) else None))
    assert at is not None  # a path has at least one step
    one = editor.result(at)
    end = time.monotonic()
    studio.learn(one.cost.unet_rows, end - there)
    seconds = {"source": 0.0 if reused else there - started, "edit": end - there}
    session.last = Last(source, form, one.mask, asked.name)
    settings = described(editor, source, one, form)
    before, after = kept(session, source, one, settings)
    return Made(session.last, one, settings, before, after, reused, seconds)


def sourced(
    editor: Editor, session: Session, form: Form, picture: Image.Image | None, tell: Tell
) -> tuple[Source, bool]:
    """The form's source, and whether it was made before."""
    key = source_key(form, picture)
    found = session.source(key)
    if found is not None:
        return found, True
    source = made_source(editor, form, picture, _watching(editor, form, tell))
    session.keep(key, source)
    return source, False


def source_key(form: Form, picture: Image.Image | None) -> Hashable:
    """All that a source depends on: equal keys have equal sources."""
    shared = form.source_prompt, form.negative_prompt, form.steps, source_guidance(form)
    if form.case == "prompt":
        return form.case, *shared, form.seed
    assert picture is not None  # a form of the other case
    digest = hashlib.sha256(picture.tobytes()).hexdigest()
    return form.case, *shared, inversion(form), form.fit, picture.size, digest


def made_source(
    editor: Editor, form: Form, picture: Image.Image | None,
    on_step: Callable[[int, int, Tensor], None] | None = None,
) -> Source:  # fmt: skip
    """The form's source."""
    steps, guidance, negative = form.steps, source_guidance(form), form.negative_prompt
    if form.case == "prompt":
        settings = form.source_prompt, form.seed, steps, guidance, negative
        return editor.generate(*settings, on_step=on_step)
    if picture is None:
        raise ValueError("give a picture first: upload one, or pick an example")
    return editor.invert(
        picture, form.source_prompt, inversion(form), steps, guidance, negative, fit=form.fit,
        on_step=on_step,
    )  # fmt: skip


def described(editor: Editor, source: Source, one: Edit, form: Form) -> dict[str, Any]:
    """What goes into the PNG: what the command line writes there, and where the edit happened."""
    by_strength = form.steer == "strength"
    asked: dict[str, Any] = {"schedule": form.schedule}
    asked |= {"strength": form.strength} if by_strength else {"t_max": form.t_max, "t_m": form.t_m}
    masked = {} if form.where == "everywhere" else {"where": form.where, "feather": form.feather}
    return describe_edit(editor.models.name, source, one, asked | masked)


def kept(
    session: Session, source: Source, one: Edit, settings: dict[str, Any]
) -> tuple[Path, Path]:
    """Before and after as PNG files; what was uploaded carries nothing that it came with."""
    folder = session.fresh("edit")
    before, after = folder / "source.png", folder / "edited.png"
    images.bare(source.picture).save(before, "PNG")
    images.save_png(one.picture, after, settings)
    if one.mask:
        images.bare(one.mask).save(folder / MASK, "PNG")
    return before, after


def _watching(editor: Editor, form: Form, tell: Tell) -> Callable[[int, int, Tensor], None]:
    """Tells of a source's steps; looks are of what is made from a prompt, not of noise."""
    codec = editor.runner
    grid, before = codec.grid(form.steps), list[Tensor]()

    def on_step(done: int, total: int, x: Tensor) -> None:
        look = None
        if form.case == "prompt" and before and _looks(done, total):
            x0 = aimed(before[0], x, grid.a[done - 1], grid.b[done - 1])
            look = preview(codec.colours, x0, codec.factor)
        before[:] = [x]
        tell(Progress(STAGES[form.case], done, total, look))

    return on_step


def _looks(done: int, total: int) -> bool:
    """Whether a step is one of those that are shown: the first, and LOOKS more."""
    return done == 1 or LOOKS * done // total > LOOKS * (done - 1) // total
