"""Many edits of one source: a sheet of windows or strengths to choose from, and the variants."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from mdp_lite import images, run
from mdp_lite.app.form import Form, checked, request
from mdp_lite.app.made import Cell, Last, Sheet
from mdp_lite.app.sessions import Session
from mdp_lite.app.streaming import Progress, Tell, streamed
from mdp_lite.app.studio import Studio
from mdp_lite.app.work import described
from mdp_lite.arguments import VARIANTS
from mdp_lite.editor import Editor
from mdp_lite.estimate import walked
from mdp_lite.results import Cost, Source
from mdp_lite.sheets import sheet
from mdp_lite.steps import Standing

MOST_CELLS, MOST_COLUMNS = 40, 8


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
    studio: Studio, session: Session, forms: Sequence[Form], kind: str
) -> Generator[Progress, None, Sheet]:
    """All these edits of the last edit's source; what they have in common is computed once."""
    of = last(session)

    def work(tell: Tell) -> Sheet:
        with studio.lend() as editor:
            at = _walked(editor, of, forms, tell)
            return _sheet(editor, session.fresh(kind), of, forms, at, tell)

    session.sheets.pop(kind, None)  # its files make way
    session.sheets[kind] = made = yield from streamed(work, session.begin())
    return made


def _walked(editor: Editor, of: Last, forms: Sequence[Form], tell: Tell) -> tuple[Standing, ...]:
    """All edits at their ends; a mask that was found is not looked for again."""
    where = "painted" if of.mask else "everywhere"
    asked = [request(of.source, replace(form, where=where), of.mask) for form in forms]
    ends: tuple[Standing, ...] = ()
    for progress in editor.steps(asked):
        tell(Progress("Editing", progress.done, progress.total))
        ends = progress.at
    return ends


def _sheet(
    editor: Editor, folder: Path, of: Last, forms: Sequence[Form], at: Sequence[Standing],
    tell: Tell,
) -> Sheet:  # fmt: skip
    cells = []
    for k, (form, one) in enumerate(zip(forms, at, strict=True), 1):
        made, file = editor.result(one), folder / f"edit-{k:02d}.png"
        images.save_png(made.picture, file, described(editor, of.source, made, form))
        cells.append(Cell(form, file, images.psnr(made.picture, of.source.picture), made.cost))
        tell(Progress("Decoding", k, len(forms)))
    before, tasks = folder / "source.png", [one.task for one in at]
    images.bare(of.source.picture).save(before, "PNG")
    shared = Cost(*run.cost(run.tree(tasks)))
    loops = [walked(task.weights, task.to.null is not None) for task in tasks]
    naive = Cost(sum(one.unet_rows for one in loops), sum(one.unet_calls for one in loops))
    return Sheet(before, tuple(cells), _whole(folder, of.source, cells), shared, naive, of.name)


def _whole(folder: Path, source: Source, cells: Sequence[Cell]) -> Path:
    """All cells on one labelled picture, the source first."""
    shown = [("source", source.picture)]
    shown += [(caption(cell.form), images.open_picture(cell.file)) for cell in cells]
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
