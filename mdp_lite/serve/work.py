"""The work of a request: making a source or a picture. It runs in a worker thread of its task."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image
from torch import Tensor

from mdp_lite.cli.xl import build_xl
from mdp_lite.editor import Editor
from mdp_lite.method.ddim import x0_between
from mdp_lite.names import DeadlineExceeded
from mdp_lite.pipeline.inpainting import mask_of_source
from mdp_lite.pipeline.inversion_methods import METHODS, Inversion
from mdp_lite.pipeline.likeness import describe_unlike_source
from mdp_lite.pipeline.preview import preview
from mdp_lite.pipeline.provenance import describe_edit, describe_reuse, describe_source
from mdp_lite.pipeline.request import Request
from mdp_lite.pipeline.result import Cost, Source, add_costs
from mdp_lite.pipeline.sources import OnStep
from mdp_lite.pipeline.xl import PLAIN, XLCondition
from mdp_lite.serve.fields import SteeringFields, SweepFields

Size = tuple[int, int] | None  # (width, height); None: the default
OnPreview = Callable[[Image.Image], None]  # is called in the worker thread


class LoraMark(NamedTuple):
    """A LoRA that a source was made with: its name, its weight, and the SHA-256 of its file."""

    name: str
    weight: float
    sha256: str


class PromptRecipe(NamedTuple):
    """How to make a source from a prompt and a seed; None means the model's default."""

    prompt: str
    seed: int
    num_inference_steps: int | None
    guidance_scale: float | None
    negative_prompt: str
    size: Size
    xl: XLCondition = PLAIN
    record_noise: bool = False
    record_direction: bool = False
    loras: tuple[LoraMark, ...] = ()


class PictureRecipe(NamedTuple):
    """How to make a source from an RGB picture."""

    picture: Image.Image
    prompt: str
    inversion: Inversion
    num_inference_steps: int | None
    guidance_scale: float | None
    negative_prompt: str
    size: Size
    fit: str
    xl: XLCondition = PLAIN
    record_direction: bool = False
    loras: tuple[LoraMark, ...] = ()


Recipe = PromptRecipe | PictureRecipe


class EditSpec(NamedTuple):
    """An edit of a source that may not exist yet; end is its deadline on the monotonic clock."""

    prompt: str
    steering: SteeringFields
    guidance_scale: float | None
    negative_prompt: str | None
    mask: Image.Image | None = None
    end: float | None = None
    previews: int = 0
    xl: XLCondition = PLAIN


class PictureResult(NamedTuple):
    """A picture, the settings that it was made with, its cost, and the seconds of each stage.

    notes are sentences on the source that its user should know.
    """

    image: Image.Image
    settings: dict[str, Any]
    cost: Cost
    seed: int | None
    truncated: bool
    finished: bool
    seconds: dict[str, float]
    unknown_words: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def get_or_make_source(
    editor: Editor, origin: Recipe | Source, mask: Image.Image | None = None,
    end: float | None = None, on_step: OnStep | None = None,
) -> Source:  # fmt: skip
    """The source itself, or the one that a recipe makes for an edit with this mask.

    end: its deadline on the monotonic clock. on_step is as in Editor.generate. Raises
    DeadlineExceeded.
    """
    if isinstance(origin, Source):
        return origin
    steps, g, negative = origin.num_inference_steps, origin.guidance_scale, origin.negative_prompt
    size = origin.size or (None, None)
    if isinstance(origin, PromptRecipe):
        return editor.generate(
            origin.prompt, origin.seed, steps, g, negative, *size, on_step, seconds_left(end),
            origin.xl, origin.record_noise, origin.record_direction,
        )  # fmt: skip
    g = inversion_guidance(origin)
    return editor.invert(
        origin.picture, origin.prompt, origin.inversion, steps, g, negative, *size, origin.fit,
        on_step, deadline=seconds_left(end), mask=mask_of_source(editor.models, mask), xl=origin.xl,
        record_direction=origin.record_direction,
    )  # fmt: skip


def seconds_left(end: float | None) -> float | None:
    """Seconds until a deadline, which may have passed; None without one."""
    return None if end is None else max(end - time.monotonic(), 1e-3)


def inversion_guidance(recipe: PictureRecipe) -> float | None:
    """The guidance scale of an inversion; None for a method whose edits do not repeat it."""
    repeats = METHODS[recipe.inversion.method].repeats_guidance
    return recipe.guidance_scale if repeats else None


def edit_picture(
    editor: Editor, origin: Recipe | Source, spec: EditSpec, on_preview: OnPreview,
    on_step: OnStep | None = None,
) -> PictureResult:  # fmt: skip
    """An edit with its previews; at its deadline the result is the best picture so far.

    on_step(done, total, latent) is called after every step of the edit.
    """
    started = time.monotonic()
    source = get_or_make_source(editor, origin, spec.mask, spec.end)
    inverted, deadline, state = time.monotonic(), seconds_left(spec.end), None
    for done, progress in enumerate(editor.steps([build_request(source, spec)], 0, deadline), 1):
        (state,) = progress.states
        if on_step:
            on_step(progress.done, progress.total, state.x)
        if is_preview_due(done, len(state.task.plan.segments), spec.previews):
            on_preview(source.fit.undo(editor.preview(state), source.picture))
    assert state is not None  # a path has at least one step
    edit = editor.result(state)
    seconds = {"invert": inverted - started, "edit": time.monotonic() - inverted}
    cost = edit.cost if isinstance(origin, Source) else add_costs(source.cost, edit.cost)
    settings = describe_edit(editor.models.name, source, edit, window_settings(spec))
    cut, seed = source.truncated or edit.truncated, seed_of(source)
    words = find_unknown_words(editor, source.prompt, spec.prompt)
    notes = tuple(describe_unlike_source(editor.runner, source))
    return PictureResult(
        edit.picture, settings, cost, seed, cut, edit.finished, seconds, words, notes
    )


def find_unknown_words(editor: Editor, *prompts: str) -> tuple[str, ...]:
    """Words of the prompts that the model was not trained on, each once."""
    return tuple(dict.fromkeys(w for p in prompts for w in editor.runner.find_unknown_words(p)))


def generate_picture(
    editor: Editor, recipe: PromptRecipe, previews: int, on_preview: OnPreview,
    end: float | None = None,
) -> PictureResult:  # fmt: skip
    """A picture from a prompt and a seed, with its previews. Raises DeadlineExceeded."""
    started, runner = time.monotonic(), editor.runner
    grid = runner.grid(recipe.num_inference_steps)
    previous: list[Tensor] = []

    def on_step(done: int, total: int, x: Tensor) -> None:
        if previous and is_preview_due(done, total, previews):
            x0 = x0_between(previous[0], x, grid.a[done - 1], grid.b[done - 1])
            on_preview(preview(runner.preview_map, x0, runner.factor))
        previous[:] = [x]

    source = editor.generate(
        recipe.prompt, recipe.seed, recipe.num_inference_steps, recipe.guidance_scale,
        recipe.negative_prompt, *(recipe.size or (None, None)), on_step, seconds_left(end),
        xl=recipe.xl,
    )  # fmt: skip
    seconds = {"generate": time.monotonic() - started}
    settings, cut = describe_source(editor.models.name, source), source.truncated
    words, cost = find_unknown_words(editor, source.prompt), source.cost
    return PictureResult(source.image, settings, cost, source.seed, cut, True, seconds, words)


def sweep_pictures(
    editor: Editor, source: Source, fields: SweepFields, max_rows: int, end: float | None = None,
    report_step: OnStep | None = None,
) -> tuple[list[PictureResult], Cost]:  # fmt: skip
    """Every cell of a sweep, and the cost of all of them together. Raises DeadlineExceeded."""
    started = time.monotonic()

    def on_step(done: int, total: int, x: Tensor) -> None:
        if report_step:
            report_step(done, total, x)
        if end is not None and done < total and time.monotonic() >= end:
            raise DeadlineExceeded(f"the deadline passed after {done} of {total} steps")

    sweep = editor.sweep(
        source, fields.prompts, fields.variants, fields.windows, fields.schedules,
        fields.guidance_scales, max_rows, on_step, xl=build_xl(dict(fields)),
        guidance_every=fields.guidance_every,
    )  # fmt: skip
    seconds = {"edit": time.monotonic() - started}
    name, seed = editor.models.name, seed_of(source)
    notes = tuple(describe_unlike_source(editor.runner, source))
    results = [
        PictureResult(
            edit.picture, describe_edit(name, source, edit, cell_settings(cell)), edit.cost, seed,
            source.truncated or edit.truncated, True, seconds,
            find_unknown_words(editor, source.prompt, edit.prompt), notes,
        )
        for cell, edit in zip(sweep.cells, sweep.edits, strict=True)
    ]  # fmt: skip
    return results, sweep.cost


def is_preview_due(done: int, total: int, previews: int) -> bool:
    """Whether step `done` of `total` shows a preview; previews are spread evenly over the steps."""
    last, now = ((previews + 1) * k // total for k in (done - 1, done))
    return last < now <= previews


def build_request(source: Source, spec: EditSpec) -> Request:
    """The edit as a request to the Editor."""
    by, mask = spec.steering, "auto" if spec.steering.mask_auto else spec.mask
    return Request(
        source, spec.prompt, by.variant, by.t_max, by.t_m, by.schedule, by.strength, None,
        spec.guidance_scale, spec.negative_prompt, mask, True, by.feather, by.proximal, spec.xl,
        by.weight, by.guidance_every,
    )  # fmt: skip


def cell_settings(cell: Request) -> dict[str, Any]:
    """The settings in which a cell of a sweep differs from the others."""
    names = ("variant", "t_max", "t_m", "schedule")
    settings = {name: getattr(cell, name) for name in names}
    return settings | describe_reuse(cell.guidance_every)


def window_settings(spec: EditSpec) -> dict[str, Any]:
    """The settings of an edit that are written into its picture file."""
    names = ("t_max", "t_m", "schedule", "strength", "proximal", "weight")
    settings = {name: getattr(spec.steering, name) for name in names}
    return settings | describe_reuse(spec.steering.guidance_every)


def seed_of(source: Source) -> int | None:
    """The seed that a source was made with, if any."""
    how = source.inversion
    return source.seed if source.generated or how is None else how.seed
