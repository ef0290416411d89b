"""What a row may ask for, as far as it can be told before its source is made."""

import io

from mdp_lite.batch.rows import Start, Target
from mdp_lite.editor import Editor
from mdp_lite.pictures import images
from mdp_lite.pipeline import check
from mdp_lite.pipeline.masks import Where
from mdp_lite.pipeline.request import described


def check_settings(editor: Editor, start: Start, target: Target) -> None:
    """Settings that no picture can make good are refused at the cost of nothing."""
    codec, n = editor.runner, len(editor.runner.grid(start.steps).t)
    described(
        n, editor.models.defaults, target.variant, target.t_max, target.t_m, target.schedule,
        target.strength,
    )  # fmt: skip
    codec.guidance(target.guidance_scale)
    resolve_inversion(start.how, n)
    if start.seed is not None:
        check.seed(start.seed)
    if start.fit != "own":
        codec.sides(start.width, start.height)
    if target.proximal is not None:
        check.quantile("proximal", target.proximal)
    _check_place(target)


def place_of(target: Target, files: dict[str, bytes]) -> Where | None:
    """Where an edit happens; None is everywhere."""
    if target.mask is not None:
        return images.decoded(io.BytesIO(files[target.mask]), repr(target.mask))
    if target.box is not None:
        x0, y0, x1, y1 = target.box
        return (x0, y0, x1, y1)
    return "auto" if target.auto_mask else None


def _check_place(target: Target) -> None:
    given = [target.mask is not None, target.box is not None, target.auto_mask]
    if sum(given) > 1:
        raise ValueError("mask, box and auto_mask say the same thing: give one of them")
    if check.feather(target.feather) and not any(given):
        raise ValueError("feather needs a mask: give mask, box or auto_mask")
