"""What a request will cost, in UNet rows, before any work: bad windows and sizes are found here."""

from mdp_lite.editor import Editor
from mdp_lite.method.plan import Known, plan
from mdp_lite.method.schedule import Grid
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.masks import LOOKS
from mdp_lite.pipeline.request import described
from mdp_lite.pipeline.result import Source
from mdp_lite.serve.fields import Steering, SweepFields
from mdp_lite.serve.work import Drawn, Origin, Steered


def rows_of_source(editor: Editor, origin: Origin) -> int:
    """UNet rows that making a source takes; one that is there takes none."""
    if isinstance(origin, Source):
        return 0
    codec, n = editor.runner, len(editor.runner.grid(origin.steps).t)
    codec.sides(*(origin.size or (None, None)))
    if isinstance(origin, Drawn):
        return n * (1 if codec.guidance(origin.guidance) == 1 else 2)
    given = origin.guidance if METHODS[origin.how.method].repeats else None
    own = METHODS[origin.how.method].guidance if given is None else given
    return inverting(resolve_inversion(origin.how, n), n, codec.guidance(own))


def inverting(how: Inversion, n: int, g: float) -> int:
    """UNet rows of an inversion of n steps under guidance g, at most."""
    guided, up = 1 if g == 1 else 2, how.inversion_steps or n
    return {
        "replay": n * guided,
        "fixed-point": n * guided * (how.iterations or 1),
        "ddim": up + n * guided,
        "negative-prompt": up + n,  # both prompts are one
        "direct": n + n * guided,
        "edit-friendly": n * guided,
    }[how.method]


def rows_of_edit(editor: Editor, origin: Origin, to: Steered) -> int:
    """UNet rows of an edit, at most: what its source spares is not known yet."""
    grid = origin.grid if isinstance(origin, Source) else editor.runner.grid(origin.steps)
    g = editor.runner.guidance_scale(to.guidance)
    return _planned(editor, grid, to.by, g) + (2 * LOOKS if to.by.mask_auto else 0)


def rows_of_sweep(editor: Editor, source: Source, fields: SweepFields) -> int:
    """UNet rows of a sweep if its cells had nothing in common."""
    rows, shape = 0, Steering()
    for variant in fields.variants:
        for t_max, t_m in fields.windows:
            for schedule in fields.schedules:
                update = {"variant": variant, "t_max": t_max, "t_m": t_m, "schedule": schedule}
                one = shape.model_copy(update=update)
                for g in fields.guidance_scales:
                    rows += _planned(editor, source.grid, one, editor.runner.guidance_scale(g))
    return rows * len(fields.prompts)


def _planned(editor: Editor, grid: Grid, by: Steering, g: float) -> int:
    window = by.t_max, by.t_m, by.schedule, by.strength
    weights = described(len(grid.t), editor.models.defaults, by.variant, *window)
    return plan(weights, grid, Known(guided=g != 1, exact=False)).unet_rows
