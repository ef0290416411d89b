"""The UNet rows of a sheet before it is made; of the models only the text encoder runs."""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from mdp_lite.app.forecast import dry_run_source
from mdp_lite.app.form import EditForm, build_request
from mdp_lite.app.rival import Rival
from mdp_lite.app.sheet_start import SheetStart
from mdp_lite.editor import Editor
from mdp_lite.method.execute import build_tree, tree_cost
from mdp_lite.names import BadInput
from mdp_lite.pictures import images

RIVAL_ROWS = 3  # of each step, as Prompt-to-Prompt takes


def count_sheet_rows(
    dry_editor: Editor, start: SheetStart, forms: Sequence[EditForm],
    rivals: Sequence[Rival] = (), inversions: Sequence[str] = (),
) -> int:  # fmt: skip
    """The rows of a sheet whose source is already computed, by models that answer zeros.

    Those of null-text inversion are the most that it may take. Raises BadInput as the run would.
    """
    picture, mask = _open_files(start)
    source = dry_run_source(dry_editor, start.form, picture)
    where = "everywhere" if mask is None else "painted"
    requests = [build_request(source, replace(one, where=where), mask) for one in forms]
    rows = tree_cost(build_tree(dry_editor.tasks(requests)))[0]
    rows += RIVAL_ROWS * start.form.steps * len(rivals)
    if start.form.case == "picture":
        rows += sum(_count_inversion(dry_editor, start.form, picture, one) for one in inversions)
    return rows


def _open_files(start: SheetStart) -> tuple[Image.Image | None, Image.Image | None]:
    """The picture of a start, None for one that is made from words, and its mask."""
    if start.item is None:
        assert start.last is not None  # find_start found one of the two
        picture, mask = start.last.source.picture, start.last.mask
    else:
        picture, file = images.open_picture(start.item.source_file), start.item.mask_file
        mask = images.open_picture(file).convert("L") if file else None
    return picture if start.form.case == "picture" else None, mask


def _count_inversion(
    dry_editor: Editor, form: EditForm, picture: Image.Image | None, method: str
) -> int:
    """The rows of an edit and of its inversion, unless it is the form's; none if it can't be."""
    try:
        other = replace(form, method=method, where="everywhere")
        source = dry_run_source(dry_editor, other, picture)
        request = build_request(source, other, None)
        (task,) = dry_editor.tasks([request])
    except BadInput:
        return 0
    return task.plan.unet_rows + (0 if method == form.method else source.cost.unet_rows)
