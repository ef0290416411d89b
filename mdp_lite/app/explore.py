"""Many edits of one source: a sheet of windows or strengths to choose from, and the variants."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mdp_lite.app.form import Form, checked, request
from mdp_lite.app.made import Cell, Last, Sheet
from mdp_lite.app.rival import Rival
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import Progress, Tell, streamed
from mdp_lite.app.studio import Studio
from mdp_lite.app.work import described, sourced
from mdp_lite.editor import Editor
from mdp_lite.engine.estimate import walked
from mdp_lite.method import execute as run
from mdp_lite.names import VARIANTS
from mdp_lite.pictures import images
from mdp_lite.pictures.sheets import sheet
from mdp_lite.pipeline.progress import EditState
from mdp_lite.pipeline.provenance import describe_source
from mdp_lite.pipeline.request import picture_of
from mdp_lite.pipeline.result import Cost, Source

MOST_CELLS, MOST_COLUMNS = 40, 8
REPLAY = "replay"


class Job(NamedTuple):
    """A sheet in the making: with which model, for whom, of what, where its files go."""

    editor: Editor
    session: Session
    of: Last
    folder: Path
    tell: Tell


class Rivalled(NamedTuple):
    """Edits by other methods, what inverting the picture again for them took, and notes."""

    cells: list[Cell]
    again: Cost
    notes: tuple[str, ...]


def windows(form: Form, variants: Sequence[str], t_max: str, t_m: str) -> list[Form]:
    """Every variant with every window whose edges are listed, as "44, 47, 50"."""
    pairs = list(product(numbers("t_max", t_max), numbers("t_m", t_m)))
    fitting = [(high, wide) for high, wide in pairs if wide <= high]
    if not fitting:
        raise ValueError("at least one t_m must be at most a t_max, got none")
    return _checked([
        replace(form, variant=variant, steer="window", t_max=high, t_m=wide)
        for variant in variants for high, wide in fitting
    ])  # fmt: skip


def strengths(form: Form, variants: Sequence[str], count: int) -> list[Form]:
    """Every variant with so many strengths from the source to the prompt alone."""
    if not 2 <= count <= MOST_COLUMNS:
        raise ValueError(f"strengths must be 2 to {MOST_COLUMNS}, got {count}")
    return _checked([
        replace(form, variant=variant, steer="strength", strength=round(k / (count - 1), 4))
        for variant in variants for k in range(count)
    ])  # fmt: skip


def compared(form: Form) -> list[Form]:
    """The form with each of the variants."""
    return _checked([replace(form, variant=variant) for variant in VARIANTS])


def numbers(name: str, text: str) -> list[float]:
    """Numbers between commas, each once."""
    try:
        found = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"{name} must be numbers like 44, 47, 50, got {text!r:.80}") from None
    if not found:
        raise ValueError(f"{name} must be at least one number, got none")
    return list(dict.fromkeys(found))


def last(session: Session) -> Last:
    """What a visitor's last edit was of."""
    if session.last is None:
        raise ValueError("edit a picture first: its source is what this page starts from")
    return session.last


def swept(
    studio: Studio, session: Session, forms: Sequence[Form], kind: str,
    rivals: Sequence[Rival] = (),
) -> Generator[Progress, None, Sheet]:  # fmt: skip
    """All these edits of the last edit's source, and those of rivals in the first one's place.

    What they have in common is computed once.
    """
    of = last(session)

    def work(tell: Tell) -> Sheet:
        with studio.lend() as editor:
            at = _walked(editor, of, forms, tell)
            job = Job(editor, session, of, session.fresh(kind), tell)
            return _sheet(job, at, _variants(job, forms, at), _rivals(job, rivals, at[0]))

    session.sheets.pop(kind, None)  # its files make way
    session.sheets[kind] = made = yield from streamed(work, session.begin())
    return made


def _walked(editor: Editor, of: Last, forms: Sequence[Form], tell: Tell) -> tuple[EditState, ...]:
    """All edits at their ends; a mask that was found is not looked for again."""
    where = "painted" if of.mask else "everywhere"
    asked = [request(of.source, replace(form, where=where), of.mask) for form in forms]
    ends: tuple[EditState, ...] = ()
    for progress in editor.steps(asked):
        tell(Progress("Editing", progress.done, progress.total))
        ends = progress.at
    return ends


def _variants(job: Job, forms: Sequence[Form], at: Sequence[EditState]) -> list[Cell]:
    """The edits by forms, decoded."""
    cells = []
    for k, (form, one) in enumerate(zip(forms, at, strict=True), 1):
        made = job.editor.result(one)
        settings = described(job.editor, job.of.source, made, form)
        file = job.folder / f"edit-{k:02d}.png"
        cells.append(_cell(job, caption(form), form, file, made.picture, settings, made.cost))
        job.tell(Progress("Decoding", k, len(forms)))
    return cells


def _rivals(job: Job, rivals: Sequence[Rival], like: EditState) -> Rivalled:
    """The edits by rivals, under the conditions of an edit and put where it was put."""
    if not rivals or like.task.to.null is None:
        left = [f"{one.name} is left out: it needs guidance other than 1." for one in rivals]
        return Rivalled([], Cost(0, 0), tuple(left))
    source, again = _followed(job)
    made = [_rivalled(job, one, source, like) for one in rivals]
    rows, names = again.unet_rows, ", ".join(one.name for one in rivals)
    notes = (f"For {names} the picture was inverted again, by {REPLAY}: {rows} UNet rows.",)
    return Rivalled(made, again, notes if rows else ())


def _followed(job: Job) -> tuple[Source, Cost]:
    """A source that any method can follow, and what was spent on it now.

    Where the picture has a noise of its own at every step, which no DDIM step leads along, it is
    inverted again as the comparison of `mdp-lite bench edits` does for its rivals.
    """
    if job.of.source.path.noise is None:
        return job.of.source, Cost(0, 0)
    form, picture = replace(job.of.form, method=REPLAY), job.of.source.picture
    source, reused = sourced(job.editor, job.session, form, picture, job.tell)
    return source, Cost(0, 0) if reused else source.cost


def _rivalled(job: Job, rival: Rival, source: Source, like: EditState) -> Cell:
    """The edit by a rival."""
    form, editor = job.of.form, job.editor
    watch = lambda done, total: job.tell(Progress(rival.name, done, total))  # noqa: E731
    x, cost = rival.edit(editor, source, form.prompt, like.task.to, watch)
    picture = picture_of(like.asked, editor.runner.decode(x))
    settings = describe_source(editor.models.name, source) | {
        "prompt": form.prompt, "source_prompt": source.prompt,
        "guidance_scale": form.guidance_scale, "variant": rival.name, **rival.settings,
    }  # fmt: skip
    file = job.folder / f"{rival.name.lower()}.png"
    return _cell(job, rival.name, None, file, picture, settings, cost)


def _cell(
    job: Job, name: str, form: Form | None, file: Path, picture: Image.Image,
    settings: dict[str, Any], cost: Cost,
) -> Cell:  # fmt: skip
    images.save_png(picture, file, settings)
    return Cell(name, form, file, images.psnr(picture, job.of.source.picture), cost)


def _sheet(job: Job, at: Sequence[EditState], cells: list[Cell], beside: Rivalled) -> Sheet:
    before, source, tasks = job.folder / "source.png", job.of.source, [one.task for one in at]
    images.bare(source.picture).save(before, "PNG")
    every, others = (*cells, *beside.cells), [one.cost for one in beside.cells]
    loops = [walked(task.weights, task.to.null is not None) for task in tasks]
    naive = total(*others, *(Cost(one.unet_rows, one.unet_calls) for one in loops))
    shared = total(Cost(*run.cost(run.tree(tasks))), *others, beside.again)
    whole = _whole(job.folder, source, every)
    return Sheet(before, every, whole, shared, naive, job.of.name, beside.notes)


def _whole(folder: Path, source: Source, cells: Sequence[Cell]) -> Path:
    """All cells on one labelled picture, the source first."""
    shown = [("source", source.picture)]
    shown += [(cell.name, images.open_picture(cell.file)) for cell in cells]
    rows = [shown[k : k + MOST_COLUMNS] for k in range(0, len(shown), MOST_COLUMNS)]
    file = folder / "sheet.png"
    sheet(rows).save(file, "PNG")
    return file


def caption(form: Form) -> str:
    """A cell in few words."""
    if form.steer == "strength":
        return f"{form.variant}, strength {form.strength:g}"
    return f"{form.variant}, t_max {form.t_max:g}, t_m {form.t_m:g}"


def _checked(forms: list[Form]) -> list[Form]:
    if not forms:
        raise ValueError("choose at least one variant")
    if len(forms) > MOST_CELLS:
        raise ValueError(f"a sheet must have at most {MOST_CELLS} cells, got {len(forms)}")
    return [checked(form) for form in forms]
