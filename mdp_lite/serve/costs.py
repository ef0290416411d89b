"""The cost of a request, before any work; bad windows and sizes are found here.

UNet rows are what an answer's usage counts. Limits and turns count work, in FLOPs: a row of a
larger picture is more work.
"""

from mdp_lite.editor import Editor
from mdp_lite.engine.work import count_work
from mdp_lite.method.plan import EditFacts, plan
from mdp_lite.method.samplers import adds_noise
from mdp_lite.method.schedule import Grid
from mdp_lite.pipeline.inversion_methods import Inversion, resolve_inversion
from mdp_lite.pipeline.masks import MASK_STEPS
from mdp_lite.pipeline.method_checks import default_guidance
from mdp_lite.pipeline.noise import will_record_noise
from mdp_lite.pipeline.request import build_weights
from mdp_lite.pipeline.result import Source
from mdp_lite.serve.fields import SteeringFields, SweepFields
from mdp_lite.serve.work import EditSpec, PromptRecipe, Recipe, inversion_guidance


def work_of_source(editor: Editor, origin: Recipe | Source) -> int:
    """FLOPs of making a source; 0 if it exists."""
    if isinstance(origin, Source):
        return 0
    work, cells = count_work(editor.models), _cells(editor, origin)
    encode = 0 if isinstance(origin, PromptRecipe) else work.encode(cells)
    return rows_of_source(editor, origin) * work.row(cells) + encode


def work_of_edit(editor: Editor, origin: Recipe | Source, spec: EditSpec) -> int:
    """FLOPs of an edit and its picture, at most."""
    work, cells = count_work(editor.models), _cells(editor, origin)
    return rows_of_edit(editor, origin, spec) * work.row(cells) + work.decode(cells)


def work_of_generation(editor: Editor, recipe: PromptRecipe) -> int:
    """FLOPs of a picture from a prompt and a seed."""
    decode = count_work(editor.models).decode(_cells(editor, recipe))
    return work_of_source(editor, recipe) + decode


def work_of_sweep(editor: Editor, source: Source, fields: SweepFields, pictures: int) -> int:
    """FLOPs of a sweep of so many pictures if its cells had nothing in common."""
    work, cells = count_work(editor.models), _cells(editor, source)
    return rows_of_sweep(editor, source, fields) * work.row(cells) + pictures * work.decode(cells)


def _cells(editor: Editor, origin: Recipe | Source) -> int:
    """Cells of the latent of a source."""
    if isinstance(origin, Source):
        return origin.path.x[0, 0, 0].numel()
    width, height = editor.runner.image_size(*(origin.size or (None, None)))
    return width * height // editor.runner.factor**2


def rows_of_source(editor: Editor, origin: Recipe | Source) -> int:
    """UNet rows of making a source; 0 if it exists."""
    if isinstance(origin, Source):
        return 0
    runner, n = editor.runner, len(editor.runner.grid(origin.num_inference_steps).t)
    runner.image_size(*(origin.size or (None, None)))
    if isinstance(origin, PromptRecipe):
        rows = n * (2 if _is_guided(editor, origin.guidance_scale) else 1)
        again = origin.record_noise and not adds_noise(editor.models.scheduler)
        return rows + (_rows_of_inversion(editor, Inversion(), n, None) if again else 0)
    return _rows_of_inversion(editor, origin.inversion, n, inversion_guidance(origin))


def _rows_of_inversion(editor: Editor, how: Inversion, n: int, g: float | None) -> int:
    """UNet rows of an inversion at a guidance scale; None is the method's."""
    g = default_guidance(editor.runner, how.method) if g is None else g
    g = editor.runner.guidance_scale(g) if _is_guided(editor, g) else 1.0
    return rows_of_inversion(resolve_inversion(how, n), n, g)


def _is_guided(editor: Editor, guidance_scale: float | None) -> bool:
    """Whether this scale, or the model's for None, needs a null row."""
    runner = editor.runner
    return not runner.embeds_guidance and runner.guidance_scale(guidance_scale) != 1


def rows_of_inversion(how: Inversion, n: int, g: float) -> int:
    """UNet rows of an inversion of n steps at guidance scale g, at most."""
    guided, up = 1 if g == 1 else 2, how.inversion_steps or n
    return {
        "replay": n * guided,
        "fixed-point": n * guided * (how.iterations or 1),
        "ddim": up + n * guided,
        "negative-prompt": up + n,  # both prompts are one
        "direct": n + n * guided,
        "edit-friendly": n * guided,
    }[how.method]


def rows_of_edit(editor: Editor, origin: Recipe | Source, spec: EditSpec) -> int:
    """UNet rows of an edit, at most: rows that its source makes needless are not known yet."""
    exists = isinstance(origin, Source)
    grid = origin.grid if exists else editor.runner.grid(origin.num_inference_steps)
    g = editor.runner.guidance_scale(spec.guidance_scale)
    mask_rows = 2 * MASK_STEPS if spec.steering.mask_auto else 0
    return _rows_of_plan(editor, grid, spec.steering, g, _has_noise(editor, origin)) + mask_rows


def _has_noise(editor: Editor, origin: Recipe | Source) -> bool:
    """Whether the source's path has recorded noise, or will have."""
    if isinstance(origin, Source):
        return origin.path.noise is not None
    generated = isinstance(origin, PromptRecipe)
    method, record = (None, origin.record_noise) if generated else (origin.inversion.method, False)
    return will_record_noise(editor.models.scheduler, method, record)


def rows_of_sweep(editor: Editor, source: Source, fields: SweepFields) -> int:
    """UNet rows of a sweep if its cells had nothing in common."""
    rows, noisy = 0, _has_noise(editor, source)
    default = SteeringFields(guidance_every=fields.guidance_every)
    for variant in fields.variants:
        for t_max, t_m in fields.windows:
            for schedule in fields.schedules:
                update = {"variant": variant, "t_max": t_max, "t_m": t_m, "schedule": schedule}
                cell = default.model_copy(update=update)
                for scale in fields.guidance_scales:
                    g = editor.runner.guidance_scale(scale)
                    rows += _rows_of_plan(editor, source.grid, cell, g, noisy)
    return rows * len(fields.prompts)


def _rows_of_plan(editor: Editor, grid: Grid, by: SteeringFields, g: float, noisy: bool) -> int:
    window = by.t_max, by.t_m, by.schedule, by.strength, by.weight
    weights = build_weights(len(grid.t), editor.models.defaults, by.variant, *window, noisy)
    facts = EditFacts(guided=_is_guided(editor, g), exact=False)
    return plan(weights, grid, facts, by.guidance_every).unet_rows
